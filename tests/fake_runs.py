"""Runs made up in a line: a manifest and records without an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tierwise.runs.directory import ConfigSource, Manifest, Planned, RunSettings, SourceFile
from tierwise.runs.machine import RunMachine
from tierwise.runs.records import Mode, PassSpend, TrialOutcome, TrialRecord
from tierwise.spec.reading import Reading
from tierwise.workloads.files import Task


def spent(role: str = "draft", outcome: str = "finished", dollars: float = 0.001, tokens: int = 10) -> PassSpend:
    return PassSpend(
        role=role,
        outcome=outcome,
        prompt_tokens=tokens,
        cached_tokens=0,
        completion_tokens=tokens,
        seconds=0.5,
        dollars=dollars,
    )


def record(task: str, outcome: str = "correct", *, tier: str = "fast", mode: Mode = "both", **more: Any) -> TrialRecord:
    """One action; its cost is that of its passes."""
    passes: Sequence[PassSpend] = more.setdefault("passes", [spent()]) or []
    values: dict[str, Any] = {
        "tags": [],
        "seed": 1,
        "why": "",
        "began": 0.0,
        "first_output": 0.2,
        "seconds": 1.0,
        "prompt_tokens": sum(done.prompt_tokens for done in passes),
        "cached_tokens": 0,
        "completion_tokens": sum(done.completion_tokens for done in passes),
        "dollars": sum(done.dollars for done in passes),
        **more,
    }
    return TrialRecord(
        action=f"run/{task}/{tier}/{mode}", task=task, tier=tier, mode=mode, outcome=TrialOutcome(outcome), **values
    )


def task(id_: str, question: str = "2+2?", **more: Any) -> Task:
    values = {
        "id": id_,
        "messages": [{"role": "user", "content": question}],
        "check": {"number": {"equals": 4}},
        **more,
    }
    found = Reading().read(Task, values, "")
    assert found is not None
    return found


def manifest(tasks: Sequence[str], *rows: tuple[str, Mode, int], path: Path | str = "tasks.jsonl") -> Manifest:
    """Rows are tier, mode and most passes; one tier `fast` of one pass when none is given."""
    return Manifest(
        run="01234567",
        began="2026-11-22T10:00:00+00:00",
        ended="2026-11-22T10:05:00+00:00",
        url="",
        config=ConfigSource(path="tierwise.yaml", sha256="0" * 64, text="tiers: {}\n"),
        workload=SourceFile(path=str(path), sha256="1" * 64),
        tasks=list(tasks),
        variants=[
            Planned(tier=tier, mode=mode, most_passes=most) for tier, mode, most in rows or (("fast", "both", 1),)
        ],
        settings=RunSettings(seed=0, concurrency=4, timeout=600.0),
        versions={"tierwise": "0"},
        machine=RunMachine(cpu="AMD EPYC", cores=2, memory_bytes=2**33, load=0.5, system="Linux"),
    )
