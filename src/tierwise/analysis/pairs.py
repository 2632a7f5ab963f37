"""Two paired rows: the tasks that they have in common, their values, and the groups that these tasks form."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tierwise.analysis.arms import Arm
from tierwise.analysis.refusals import refusals
from tierwise.analysis.workload_diff import workload_diff
from tierwise.runs.records import MAX_ERROR_SHARE, TrialOutcome, Unit
from tierwise.spec.errors import SpecError
from tierwise.stats.paired_effects import Groups

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from tierwise.runs.records import TrialRecord
    from tierwise.stats.estimand import Population

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The tasks that two rows have in common, and what is missing."""

    base: Arm
    other: Arm
    planned: int
    """Tasks that either run was to measure, as often as both asked them."""
    units: tuple[Unit, ...]
    """The actions that have a record in both, in the order in which the other row began them."""
    not_run_base: int
    not_run_other: int
    changed: Mapping[str, list[str]]
    """Tasks that differ between the runs, as intended, with the keys that differ."""

    @property
    def graded(self) -> tuple[Unit, ...]:
        """The actions that were graded in both."""
        return tuple(unit for unit in self.units if all(record.is_graded for record in self.both(unit)))

    @property
    def checked(self) -> tuple[Unit, ...]:
        """Those of tasks that have a check; an answer without one is neither right nor wrong."""
        return tuple(unit for unit in self.graded if self.has_check(unit))

    @property
    def agents(self) -> tuple[str, str] | None:
        """The agents of both rows, if they are known to differ; "none" where each task was one action.

        Only what differs of one agent is named. A run of an earlier version does not say which version it was, and
        neither do the logs of most tools.
        """
        base, other = self.base, self.other
        is_known = all(bool(arm.harness) or not (arm.runner or arm.is_imported) for arm in (base, other))
        if base.runner == other.runner and (base.harness == other.harness or not is_known):
            return None
        alike = set(base.harness.items() & other.harness.items()) if base.runner == other.runner else set()
        return _agent(base, alike), _agent(other, alike)

    def has_check(self, unit: Unit) -> bool:
        return all(record.outcome != TrialOutcome.UNLABELLED for record in self.both(unit))

    @property
    def not_run(self) -> int:
        """Actions that were not run in at least one of the two."""
        return self.planned - len(self.units)

    @property
    def has_ended(self) -> bool:
        """Whether both runs have ended, so that no records will be added."""
        return self.base.has_ended and self.other.has_ended

    def require_answers(self) -> None:
        """Refuse rows whose results say nothing about the model.

        Raises:
            SpecError: a server refused the requests of one of them.
        """
        found = [why for arm in (self.base, self.other) if (why := refusals(arm.name, arm.records.values()))]
        if found:
            raise SpecError(
                "; ".join(found) + ". A refused request is not a wrong answer, so no verdict follows from it: mend the "
                "settings, and measure again"
            )

    def both(self, unit: Unit) -> tuple[TrialRecord, TrialRecord]:
        return self.base.records[unit], self.other.records[unit]


def pair(base: Arm, other: Arm, *, common: bool = False, changed_tasks: Collection[str] = ()) -> Pairs:
    """Pair two rows.

    Args:
        base: the baseline.
        other: the candidate.
        common: allow tasks that were not run in one of them, and requests that a server refused.
        changed_tasks: tasks whose messages, check or other keys differ between the runs, as intended.

    Raises:
        SpecError: they have no task in common, more than 2 % of the tasks were not run in one of them, a server
            refused the requests of one of them, or a task that both have differs and is not in `changed_tasks`.
    """
    repeats = min(base.repeats, other.repeats)
    planned = {Unit(task, repeat) for task in base.tasks | other.tasks for repeat in range(repeats)}
    units = sorted(
        planned & base.records.keys() & other.records.keys(),
        key=lambda unit: (other.records[unit].began, _lot(unit.task)),
    )
    pairs = Pairs(
        base=base,
        other=other,
        planned=len(planned),
        units=tuple(units),
        not_run_base=len(planned - base.records.keys()),
        not_run_other=len(planned - other.records.keys()),
        changed=workload_diff(base, other, changed_tasks),
    )
    if not common:
        pairs.require_answers()
    if not units:
        some, more = (", ".join(sorted(unit.task for unit in arm.records)[:2]) for arm in (base, other))
        raise SpecError(f"{base.run} and {other.run} have no task in common: {some}, … and {more}, …")
    if pairs.not_run > MAX_ERROR_SHARE * pairs.planned and not common:
        raise SpecError(
            f"{pairs.not_run} of {pairs.planned} tasks were not run in both ({pairs.not_run_base} not in {base.name}, "
            f"{pairs.not_run_other} not in {other.name}); more than {MAX_ERROR_SHARE:.0%} missing can hide a difference"
            ". Run the rest, or compare the tasks in common with --common"
        )
    return pairs


def _lot(task: str) -> bytes:
    """An order independent of the tasks' content, for records without start times."""
    return hashlib.blake2b(task.encode(), digest_size=8).digest()


def solved(pairs: Pairs, units: Sequence[Unit]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """1 where the base, and where the other, solved the task."""
    base, other = (
        np.array([arm.records[unit].is_solved for unit in units], dtype=np.int64) for arm in (pairs.base, pairs.other)
    )
    return base, other


def timed(pairs: Pairs) -> list[Unit]:
    """The pairs that both answered, with measured times, on an engine that served nothing else."""
    if not (pairs.base.is_timed and pairs.other.is_timed):
        return []
    return [
        unit
        for unit in pairs.units
        if all(
            record.was_served and record.taken == "request" and record.seconds is not None
            for record in pairs.both(unit)
        )
    ]


def begun(pairs: Pairs, units: Sequence[Unit]) -> list[Unit]:
    """Those of some pairs whose first output is known in both."""
    return [unit for unit in units if all(record.first_output is not None for record in pairs.both(unit))]


def priced(pairs: Pairs) -> list[Unit]:
    """The pairs that were both graded, with known costs."""
    return [unit for unit in pairs.graded if all(record.dollars is not None for record in pairs.both(unit))]


def values(pairs: Pairs, units: Sequence[Unit], name: Literal["seconds", "first_output", "dollars"]) -> Floats:
    """Two rows: the base's and the other's."""
    found = [[getattr(record, name) for record in pairs.both(unit)] for unit in units]
    return np.array(found, dtype=float).reshape(-1, 2).T


def grouping(pairs: Pairs, units: Sequence[Unit], population: Population | None) -> Groups:
    """The groups of some pairs.

    Raises:
        SpecError: clusters are requested, and there are none.
    """
    named = {**pairs.base.clusters, **pairs.other.clusters}
    names = [named.get(unit.task) for unit in units]
    has_clusters = None not in names and len(set(names)) > 1
    if population == "clusters" and units and not has_clusters:
        raise SpecError(
            f"{pairs.other.name} has no clusters to estimate for: not every task has one, or all have the same"
        )
    tasks = [unit.task for unit in units]
    return Groups(
        tasks=_numbered(tasks) if len(set(tasks)) < len(tasks) else None,
        clusters=_numbered([str(name) for name in names]) if has_clusters and population != "tasks" else None,
    )


def _agent(arm: Arm, alike: Collection[tuple[str, str]]) -> str:
    """An agent with what is known of it, but for what both have alike."""
    known = ", ".join(f"{name} {version}" for name, version in arm.harness.items() if (name, version) not in alike)
    if known and arm.runner:
        return f"{arm.runner} ({known})"
    return known or arm.runner or ("unknown" if arm.is_imported else "none")


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
