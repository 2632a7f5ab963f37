"""What is measured, in which order, with which seeds: all of it follows from the workload and one number."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Literal

from tierwise.runs.records import Mode, TierVariant
from tierwise.runs.seeds import task_seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from tierwise.workloads.files import Task

MOST_REPEATS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One task to be asked of one variant."""

    task: Task
    variant: TierVariant
    seed: int
    repeat: int = 0
    warm_up: int | None = None
    """Its number among those that are asked first and do not count; None for one that counts."""


def variants(
    most_passes: Mapping[str, int], wanted: Literal["average", "max", "both"], composed: AbstractSet[str] = frozenset()
) -> tuple[TierVariant, ...]:
    """What there is to measure, given the most passes of each tier. A tier that asks others has no average mode."""
    modes: tuple[Mode, ...] = ("average", "max") if wanted == "both" else (wanted,)

    def of(name: str) -> tuple[Mode, ...]:
        if most_passes[name] == 1:
            return ("both",)
        return ("max",) if name in composed else modes

    return tuple(TierVariant(tier=name, mode=mode) for name in most_passes for mode in of(name))


def schedule(tasks: Sequence[Task], variants: Sequence[TierVariant], seed: int, repeats: int = 1) -> list[Trial]:
    """Every task with every variant, in rounds: each round asks every task once, and every variant equally often.

    A machine that slows down meets all variants alike, and a task comes back only in another round, when an engine's
    memory of it has aged. Variants get the same seed for a task, so that they differ in nothing else; repeats get
    seeds of their own, and come after each other, so that a run that ends early has few of them half done.
    """
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    trials = []
    for repeat in range(repeats):
        rows = chance.sample(tasks, len(tasks))
        for round_ in range(len(variants)):
            asked = [
                Trial(
                    task=task,
                    variant=variants[(row + round_) % len(variants)],
                    seed=task_seed(seed, task.id, repeat),
                    repeat=repeat,
                )
                for row, task in enumerate(rows)
            ]
            trials += chance.sample(asked, len(asked))  # else each variant would always run beside the same neighbour
    return trials


def warm_up(trials: Sequence[Trial], number: int, seed: int) -> list[Trial]:
    """So many trials to begin with, taken from the end: what an engine remembers of them ages longest."""
    return [
        replace(trial, seed=task_seed(seed, f"warm-up {one}/{trial.task.id}"), warm_up=one)
        for one, trial in enumerate(islice(cycle(reversed(trials)), number))
    ]
