"""What exporters write: one row of a run, with its tasks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

import msgspec

from tierwise.runs.importers.imported import safe_name
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError
from tierwise.workloads.task import read_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.runs.directory import Manifest, Planned, RunDirectory
    from tierwise.runs.records import TrialRecord
    from tierwise.workloads.task import Task

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedRow:
    """A tier in one mode."""

    manifest: Manifest
    planned: Planned
    name: str
    """Of its files: the tier, and its mode if the run has several."""
    suite: str
    names: Sequence[str]
    """The tasks' ids, in the run's order."""
    tasks: Mapping[str, Task]
    """Empty where the run has none, as an imported one."""
    records: Sequence[TrialRecord]
    """Of each task and repeat, in the order of `names`."""

    @property
    def repeats(self) -> int:
        return self.manifest.settings.repeats

    @property
    def began(self) -> datetime:
        """When the run began."""
        return datetime.fromisoformat(self.manifest.began).astimezone(UTC)

    def question(self, name: str) -> str:
        """A task's messages as text: that of the only message, else JSON; empty if it is not known."""
        task = self.tasks.get(name)
        if task is None:
            return ""
        only = task.messages[0].get("content") if len(task.messages) == 1 else None
        return only if isinstance(only, str) else msgspec.json.encode(task.messages).decode()

    def target(self, name: str) -> str:
        """A task's check, as JSON; empty if it is not known."""
        task = self.tasks.get(name)
        return "" if task is None or task.check is None else msgspec.json.encode(task.check).decode()


def rows_of(directory: RunDirectory) -> list[ExportedRow]:
    """The rows of a run.

    Raises:
        NotFound: it is no run.
        SpecError: it is not complete, or has answers without a grade.
    """
    manifest, records = directory.read_manifest(), directory.read_records()
    missing = manifest.keys() - {record.key for record in records}
    if missing:
        ids = ", ".join(sorted({key.task for key in missing})[:_SHOWN])
        raise SpecError(
            f"{directory.path} lacks {len(missing)} of its actions ({ids}, …), and another tool's log has no place for "
            "what was not run; finish it with --resume"
        )
    if unlabelled := [record.task for record in records if record.outcome == TrialOutcome.UNLABELLED]:
        raise SpecError(
            f"{directory.path} has {len(unlabelled)} answers without a grade ({', '.join(unlabelled[:_SHOWN])}, …); "
            "a log has scores: give the tasks checks"
        )
    tasks = read_tasks(directory.tasks_path) if directory.tasks_path.exists() else ()
    place = {name: number for number, name in enumerate(manifest.tasks)}
    suite = PurePath(manifest.workload.path).stem if manifest.suite is None else manifest.suite.name
    several = len({planned.tier for planned in manifest.variants}) < len(manifest.variants)
    return [
        ExportedRow(
            manifest=manifest,
            planned=planned,
            name=safe_name(planned.tier, planned.mode if several else ""),
            suite=suite or "tasks",
            names=manifest.tasks,
            tasks={task.id: task for task in tasks},
            records=sorted(
                (one for one in records if one.variant == planned.variant),
                key=lambda one: (place[one.task], one.repeat),
            ),
        )
        for planned in manifest.variants
    ]
