"""A stratified subset of a workload, drawn with a seed, and a statement of what was drawn."""

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
"""As many of each stratum as it has of the whole · the same number of each, as far as it has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Tasks with the same tags."""

    name: str
    size: int
    drawn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnSample:
    """What was drawn."""

    tasks: tuple[Task, ...]
    """In the order of the workload. Where strata are drawn unlike their sizes, weights make up for it."""
    strata: tuple[Stratum, ...]


def sample(
    tasks: Sequence[Task],
    count: int,
    *,
    seed: int,
    allocation: Allocation = "proportional",
    whole_clusters: bool = False,
) -> DrawnSample:
    """Draw tasks from every stratum without putting back.

    Args:
        tasks: a task's stratum is the set of its tags.
        count: how many are wanted; fewer come where whole clusters do not fit.
        seed: the same seed draws the same tasks.
        allocation: how many of each stratum.
        whole_clusters: draw a cluster with all of its tasks or not at all; its first task decides on its stratum.

    Raises:
        SpecError: more are wanted than there are, or none.
    """
    if not 0 < count <= len(tasks):
        raise SpecError(f"{count} tasks cannot be drawn of {len(tasks)}", field="--count")
    units = _units(tasks, whole_clusters=whole_clusters)
    strata: dict[str, list[tuple[Task, ...]]] = {}
    for unit in units:
        strata.setdefault(" + ".join(sorted(unit[0].tags)) or "(no tags)", []).append(unit)
    sizes = {name: sum(map(len, members)) for name, members in strata.items()}
    wanted = _shares(sizes, count, allocation)
    chance = random.Random(seed)  # noqa: S311 - a sample, not a secret
    drawn: dict[str, Task] = {}
    told = []
    for name in sorted(strata):
        taken = _take(strata[name], wanted[name], chance)
        told.append(Stratum(name=name, size=sizes[name], drawn=len(taken)))
        factor = sizes[name] / len(taken) * count / len(tasks) if taken and allocation == "equal" else 1.0
        drawn |= {task.id: msgspec.structs.replace(task, weight=task.weight * factor) for task in taken}
    return DrawnSample(tasks=tuple(drawn[task.id] for task in tasks if task.id in drawn), strata=tuple(told))


def _units(tasks: Sequence[Task], *, whole_clusters: bool) -> list[tuple[Task, ...]]:
    """What is drawn at one go."""
    if not whole_clusters:
        return [(task,) for task in tasks]
    clusters: dict[str, list[Task]] = {}
    for task in tasks:
        clusters.setdefault(f"cluster {task.cluster}" if task.cluster is not None else f"task {task.id}", []).append(
            task
        )
    return [tuple(members) for members in clusters.values()]


def _shares(sizes: Mapping[str, int], count: int, allocation: Allocation) -> dict[str, int]:
    """How many of each stratum: the largest remainders get what is left over."""
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


def _take(units: Sequence[tuple[Task, ...]], wanted: int, chance: random.Random) -> list[Task]:
    """Units in a random order, each taken where it still fits."""
    taken: list[Task] = []
    for unit in chance.sample(units, len(units)):
        if len(taken) + len(unit) <= wanted:
            taken += unit
    return taken
