"""The form in which importers return another tool's results, and its conversion to a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.runs.directory import (
    IMPORTED,
    ConfigSource,
    Manifest,
    Planned,
    RunDirectory,
    RunSettings,
    SourceFile,
    new_run,
    timestamp,
)
from tierwise.runs.machine import RunMachine, versions
from tierwise.runs.records import TrialOutcome, TrialRecord, tags_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedResult:
    """The result of one task."""

    task: str
    outcome: TrialOutcome
    why: str = ""
    cluster: str = ""
    """The task's cluster, such as its repository; empty if unknown."""

    @property
    def is_graded(self) -> bool:
        return self.outcome != TrialOutcome.ERROR

    @property
    def is_solved(self) -> bool:
        return self.outcome == TrialOutcome.CORRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One run of another tool."""

    path: Path
    name: str
    """Name of the measured model or system. It becomes the tier's name."""
    suite: str
    size: int | None
    """Number of tasks in the suite; None if unknown. A run may have fewer or more."""
    results: tuple[ImportedResult, ...]
    absent: tuple[str, ...] = ()
    """Tasks that the file lists as not run."""

    @property
    def clusters(self) -> Mapping[str, str]:
        return {result.task: result.cluster for result in self.results}


def write(imported: Imported, path: Path) -> RunDirectory:
    """Write a run directory like that of `tierwise bench`, without times and costs, which the file does not have.

    Raises:
        SpecError: the directory already holds a run, or cannot be written.
    """
    directory = RunDirectory.create(path)
    raw = imported.path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    run = new_run()
    records = [_record(result, imported.name, run) for result in imported.results]
    with directory.recorder() as recorder:
        for record in records:
            recorder.write(record)
    directory.write_manifest(
        Manifest(
            run=run,
            began=timestamp(),
            ended=timestamp(),
            url="",
            config=ConfigSource(path=str(imported.path), sha256=digest, text=""),
            workload=SourceFile(path=imported.suite, sha256=""),
            tasks=[record.task for record in records] + list(imported.absent),
            variants=[Planned(tier=imported.name, mode="both", most_passes=1)],
            settings=RunSettings(seed=0, concurrency=0, timeout=0.0, arrival=IMPORTED),
            versions=versions(),
            machine=RunMachine(cpu="", cores=0, memory_bytes=0, load=0.0, system="not known: imported"),
        )
    )
    return directory


def _record(result: ImportedResult, tier: str, run: str) -> TrialRecord:
    return TrialRecord(
        action=f"{run}/{result.task}/{tier}/both",
        task=result.task,
        tags=tags_of((), result.cluster or None),
        tier=tier,
        mode="both",
        seed=0,
        outcome=result.outcome,
        why=result.why,
        began=0.0,
        first_output=None,
        seconds=None,
    )
