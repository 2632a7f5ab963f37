"""Checks that two runs asked the same tasks: equal ids are not enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.workloads.content import canonical_hashes, different_parts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tierwise.analysis.arms import Arm

_SHOWN = 5


def workload_diff(base: Arm, other: Arm, meant: Collection[str] = ()) -> dict[str, list[str]]:
    """The tasks that differ between two runs, with the keys that differ.

    Args:
        base: a row of the first run.
        other: a row of the second run.
        meant: the tasks whose difference is intended.

    Raises:
        SpecError: another task differs, a task in `meant` does not, or the tasks of a run are not known.
    """
    if not (base.contents and other.contents):
        _require_same_file(base, other)
    both = base.contents.keys() & other.contents.keys()
    found = _different(base, other, [task for task in sorted(both) if base.contents[task] != other.contents[task]])
    if unmeant := [task for task in found if task not in meant]:
        raise SpecError(
            f"{base.run} and {other.run} measured different workloads: of {len(both)} tasks that both have, "
            f"{len(unmeant)} differ: {_named(unmeant, found)}. Measure both runs on one workload, or name each "
            f"task whose difference is meant: {_options(unmeant)}"
        )
    if same := [task for task in meant if task not in found]:
        raise SpecError(f"the task {same[0]!r} does not differ between the runs", field="--changed-task")
    return found


def _different(base: Arm, other: Arm, tasks: Sequence[str]) -> dict[str, list[str]]:
    """The keys that differ, of tasks that were written differently."""
    if not tasks:
        return {}
    then, now = (canonical_hashes(RunDirectory(arm.run).tasks_path, tasks) for arm in (base, other))
    return {task: parts for task in tasks if (parts := different_parts(then[task], now[task]))}


def _require_same_file(base: Arm, other: Arm) -> None:
    """The tasks of a run without `workload.jsonl` are known only by the hash of their file."""
    if base.workload and other.workload and base.workload != other.workload:
        missing = base.run if not base.contents else other.run
        raise SpecError(
            f"{base.run} and {other.run} measured workload files with different hashes, and {missing} has no "
            "workload.jsonl that says which tasks differ; restore that file, or measure again"
        )


def _named(tasks: Sequence[str], found: Mapping[str, Sequence[str]]) -> str:
    some = ", ".join(f"{task} ({', '.join(found[task])})" for task in tasks[:_SHOWN])
    return f"{some}, … {len(tasks) - _SHOWN} more" if len(tasks) > _SHOWN else some


def _options(tasks: Sequence[str]) -> str:
    some = " ".join(f"--changed-task {task}" for task in tasks[:_SHOWN])
    return f"{some} …" if len(tasks) > _SHOWN else some
