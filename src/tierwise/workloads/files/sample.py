"""Draws a stratified random sample of a workload, and reports its strata."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.workloads.task import Task

Allocation = Literal["proportional", "equal"]
"""In proportion to the strata's sizes · the same number from each stratum, as far as it has enough tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """The tasks with one set of tags."""

    name: str
    size: int
    drawn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSample:
    """The drawn tasks and their strata."""

    tasks: tuple[Task, ...]
    """In the workload's order. Weights correct for strata that are not drawn in proportion to their sizes."""
    strata: tuple[Stratum, ...]


def sample(
    tasks: Sequence[Task],
    count: int,
    *,
    seed: int,
    allocation: Allocation = "proportional",
    whole_clusters: bool = False,
) -> DrawnSample:
    """Draw tasks from every stratum, without replacement.

    Args:
        tasks: the tasks to draw from. A task's stratum is its set of tags.
        count: number of tasks; fewer are drawn if whole clusters do not fit.
        seed: the same seed draws the same tasks.
        allocation: how `count` is divided among the strata.
        whole_clusters: draw all tasks of a cluster, or none; its first task determines its stratum.

    Raises:
        SpecError: `count` is below 1 or above the number of tasks.
    """
    if not 0 < count <= len(tasks):
        raise SpecError(f"cannot draw {count} of {len(tasks)} tasks; allowed: 1 to {len(tasks)}", field="--count")
    units = _units(tasks, whole_clusters=whole_clusters)
    strata: dict[str, list[tuple[Task, ...]]] = {}
    for unit in units:
        strata.setdefault(" + ".join(sorted(unit[0].tags)) or "(no tags)", []).append(unit)
    sizes = {name: sum(map(len, members)) for name, members in strata.items()}
    wanted = _shares(sizes, count, allocation)
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    drawn: dict[str, Task] = {}
    summary = []
    for name in sorted(strata):
        taken = _take(strata[name], wanted[name], rng)
        summary.append(Stratum(name=name, size=sizes[name], drawn=len(taken)))
        factor = sizes[name] / len(taken) * count / len(tasks) if taken and allocation == "equal" else 1.0
        drawn |= {task.id: msgspec.structs.replace(task, weight=task.weight * factor) for task in taken}
    return DrawnSample(tasks=tuple(drawn[task.id] for task in tasks if task.id in drawn), strata=tuple(summary))


def _units(tasks: Sequence[Task], *, whole_clusters: bool) -> list[tuple[Task, ...]]:
    """Units of sampling: clusters or single tasks."""
    if not whole_clusters:
        return [(task,) for task in tasks]
    clusters: dict[str, list[Task]] = {}
    for task in tasks:
        clusters.setdefault(f"cluster {task.cluster}" if task.cluster is not None else f"task {task.id}", []).append(
            task
        )
    return [tuple(members) for members in clusters.values()]


def _shares(sizes: Mapping[str, int], count: int, allocation: Allocation) -> dict[str, int]:
    """The number of tasks per stratum, by the largest-remainder method."""
    if allocation == "equal":
        shares = dict.fromkeys(sizes, 0)
        for _ in range(count):
            name = min((name for name in sizes if shares[name] < sizes[name]), key=lambda one: (shares[one], one))
            shares[name] += 1
        return shares
    total = sum(sizes.values())
    shares = {name: count * size // total for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(count * sizes[name] % total), name))
    for name in by_remainder[: count - sum(shares.values())]:
        shares[name] += 1
    return shares


def _take(units: Sequence[tuple[Task, ...]], wanted: int, rng: random.Random) -> list[Task]:
    """Take units in random order, skipping those that no longer fit."""
    taken: list[Task] = []
    for unit in rng.sample(units, len(units)):
        if len(taken) + len(unit) <= wanted:
            taken += unit
    return taken
