"""What exporters write: one row of a run, with its tasks."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import OUTCOME_KEY, safe_name
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError
from tierwise.workloads.task import read_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.runs.directory import Manifest, Planned, RunDirectory
    from tierwise.runs.records import TrialRecord
    from tierwise.workloads.task import Task

STOPS = {"length": "max_tokens", "stop": "stop", "tool_calls": "tool_calls", "content_filter": "content_filter"}
"""How an answer ended, in the words of Inspect, which EvalScope has too; any other is `unknown`."""

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
    def model(self) -> str:
        """The model's name in a log: the tier, or the name of the row if the run has several modes of the tier."""
        modes = sum(planned.tier == self.planned.tier for planned in self.manifest.variants)
        return self.planned.tier if modes == 1 else self.name

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

    def messages(self, name: str) -> list[dict[str, str]]:
        """A task's messages as `role` (system, user or assistant) and `content`; empty if they are not known.

        The content of a message with parts or tool calls is the whole message as JSON text.
        """
        task = self.tasks.get(name)
        return [] if task is None else [_message(one) for one in task.messages]

    def target(self, name: str) -> str:
        """A task's check, as JSON; empty if it is not known."""
        task = self.tasks.get(name)
        return "" if task is None or task.check is None else msgspec.json.encode(task.check).decode()


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    content = message.get("content")
    role = message.get("role")
    text = content if isinstance(content, str) else msgspec.json.encode(dict(message)).decode()
    known = role if role in ("system", "user", "assistant") else "system" if role == "developer" else "user"
    return {"role": known, "content": text}


def named_outcome(one: TrialRecord) -> dict[str, str]:
    """The outcome under the key of `importers.imported`, if there is no answer; for a log where that is a wrong one."""
    is_scored = one.outcome in (TrialOutcome.CORRECT, TrialOutcome.INCORRECT)
    return {} if is_scored or not one.is_graded else {OUTCOME_KEY: one.outcome.value}


def labels(one: TrialRecord) -> dict[str, Any]:
    """The tags and the cluster of a record's task, under the keys `tags` and `cluster`."""
    return {"tags": one.kinds, **({} if one.cluster is None else {"cluster": one.cluster})}


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent do not exceed, interpolated linearly as NumPy and pandas do by default.

    Args:
        values: at least one.
        percent: 1 to 99.
    """
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


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
