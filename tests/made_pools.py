"""Pools made up in a line: the directory of a recording, without a model."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fake_runs import manifest
from tierwise.bench.drawing import facts_of
from tierwise.pools.reading import Pool, read_pool
from tierwise.runs.directory import ConfigSource, Planned, RunDirectory, RunSettings
from tierwise.runs.draws import DrawFacts, PoolSettings, TokenTrace
from tierwise.runs.records import PassSpend, TrialOutcome, TrialRecord
from tierwise.runs.seeds import task_seed
from tierwise.spec.call import Completion
from tierwise.spec.reading import Reading
from tierwise.workloads.files import Task

CONFIG = """
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", model: small, slots: 4}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large, slots: 2}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0.7}}
  best: {deployment: large, policy: {best_of_n: {n: 3}}, sampling: {temperature: 0.8, max_tokens: 40}}
routes:
  auto: {cascade: [fast, best]}
prices:
  small: {prompt: 1, completion: 2, dollars_per_hour: 3}
  large: {prompt: 5, cached: 1, completion: 9}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one draw says."""

    text: str = "4"
    tokens: int = 5
    first: float = 0.1
    seconds: float = 0.6
    prompt: int = 20
    cached: int = 0
    outcome: str = "correct"
    finish: str = "stop"
    logprob: float | None = None
    alternatives: tuple[float, ...] = ()
    """Log-probabilities of each token's alternatives."""
    why: str = ""
    thinking: str = ""
    began: float = 0.0
    lost: tuple[int, float, float] | None = None
    """Tokens, first token and seconds of a pass before it, which was lost to `thinking`."""


def question(number: int, **more: Any) -> Task:
    values = {
        "id": f"t{number}",
        "messages": [{"role": "user", "content": f"{number}+?"}],
        "check": {"number": {"equals": 4}},
        **more,
    }
    found = Reading().read(Task, values, "")
    assert found is not None
    return found


def make(
    path: Path,
    tasks: Sequence[Task],
    said: Callable[[int, str, int], Said | None],
    *,
    draws: int = 4,
    config: str = CONFIG,
    tiers: Mapping[str, int] | None = None,
    top_logprobs: int = 0,
) -> RunDirectory:
    """Write a pool.

    Args:
        path: its directory.
        tasks: of its workload.
        said: what a draw says, given the task's index, the tier and the draw; None for one that is missing.
        draws: planned for each task.
        config: the recorded config file.
        tiers: most passes of each tier through which draws are recorded; `fast` and `best` if not given.
        top_logprobs: as of the recording.
    """
    tiers = {"fast": 1, "best": 3} if tiers is None else tiers
    directory = RunDirectory.create(path)
    variants = [
        Planned(tier=name, mode="both" if most == 1 else "average", most_passes=most) for name, most in tiers.items()
    ]
    source = ConfigSource(path="tierwise.yaml", sha256=hashlib.sha256(config.encode()).hexdigest(), text=config)
    plan = msgspec.structs.replace(
        manifest([task.id for task in tasks]),
        config=source,
        variants=variants,
        settings=RunSettings(
            seed=0, concurrency=4, timeout=600.0, repeats=draws, pool=PoolSettings(top_logprobs=top_logprobs)
        ),
    )
    directory.write_tasks(tasks)
    directory.write_manifest(plan)
    records = [
        record(task, row, draw, one)
        for row in variants
        for index, task in enumerate(tasks)
        for draw in range(draws)
        if (one := said(index, row.tier, draw)) is not None
    ]
    directory.write_records(records)
    return directory


def record(task: Task, row: Planned, draw: int, one: Said) -> TrialRecord:
    spent = PassSpend(
        role="draft",
        candidate=True,
        tier=row.tier,
        outcome="finished",
        started=0.0,
        first_token=one.first,
        seconds=one.seconds,
        prompt_tokens=one.prompt,
        cached_tokens=one.cached,
        completion_tokens=one.tokens,
        dollars=0.001,
    )
    passes = [spent]
    if one.lost is not None:
        tokens, first, seconds = one.lost
        lost = msgspec.structs.replace(
            spent,
            outcome="lost_to_thinking",
            first_token=first,
            seconds=seconds,
            completion_tokens=tokens,
            finish="length",
        )
        again = msgspec.structs.replace(spent, number=1, role="recovery", started=seconds, finish=one.finish)
        passes = [lost, again]
    elif one.outcome == "lost_to_thinking":
        passes = [msgspec.structs.replace(spent, outcome="lost_to_thinking", finish=one.finish)]
    has_answer = one.outcome in ("correct", "incorrect", "unlabelled")
    return TrialRecord(
        action=f"run/{task.id}/{row.tier}/{row.mode}/{draw}",
        task=task.id,
        tags=[],
        tier=row.tier,
        mode=row.mode,
        repeat=draw,
        seed=task_seed(0, task.id, draw),
        outcome=TrialOutcome(one.outcome),
        why=one.why,
        answer=one.text if has_answer else "",
        finish=one.finish,
        began=one.began,
        first_output=one.first,
        seconds=sum(done.seconds for done in passes),
        prompt_tokens=sum(done.prompt_tokens for done in passes),
        cached_tokens=sum(done.cached_tokens for done in passes),
        completion_tokens=sum(done.completion_tokens for done in passes),
        dollars=0.001,
        passes=passes,
        draw=facts(task, one) if has_answer or one.thinking else None,
    )


def facts(task: Task, one: Said) -> DrawFacts:
    found = asyncio.run(facts_of(task, Completion(text=one.text, reasoning=one.thinking, finish=one.finish)))
    return msgspec.structs.replace(found, tokens=trace(one))


def trace(one: Said) -> TokenTrace | None:
    """Tokens of equal log-probabilities and length; none if the draw has none."""
    if one.logprob is None:
        return None
    thought = 0 if one.lost is None else one.lost[0]
    lengths = [*lengths_of(one.thinking, thought), *lengths_of(one.text, one.tokens)]
    return TokenTrace(
        chosen=[round(-1000 * one.logprob)] * len(lengths),
        top=[[round(-1000 * value) for value in one.alternatives]] * len(lengths),
        lengths=lengths,
        answer=thought,
    )


def lengths_of(text: str, tokens: int) -> list[int]:
    """Characters of each of so many tokens."""
    ends = [round(len(text) * token / max(1, tokens)) for token in range(tokens + 1)]
    return [after - before for before, after in itertools.pairwise(ends)]


def pool(path: Path, tasks: Sequence[Task], said: Callable[[int, str, int], Said | None], **more: Any) -> Pool:
    """As `make`, and read it."""
    return read_pool(make(path, tasks, said, **more))
