"""The trials of a run, their order and their seeds, all derived from the workload and one seed."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One task to run on one variant."""

    task: Task
    variant: TierVariant
    seed: int
    repeat: int = 0
    warm_up: int | None = None
    """Its index among the warm-up trials, which are not recorded; None for a measured trial."""


def variants(
    most_passes: Mapping[str, int], wanted: Literal["average", "max", "both"], composed: AbstractSet[str] = frozenset()
) -> tuple[TierVariant, ...]:
    """The variants to measure, given each tier's maximum passes. A tier that asks other tiers has no average mode."""
    modes: tuple[Mode, ...] = ("average", "max") if wanted == "both" else (wanted,)

    def of(name: str) -> tuple[Mode, ...]:
        if most_passes[name] == 1:
            return ("both",)
        return ("max",) if name in composed else modes

    return tuple(TierVariant(tier=name, mode=mode) for name in most_passes for mode in of(name))


def schedule(tasks: Sequence[Task], variants: Sequence[TierVariant], seed: int, repeats: int = 1) -> list[Trial]:
    """Every task with every variant, in rounds. A round has each task once, and each variant equally often.

    So a change in the machine's speed affects all variants equally, and a task recurs only in a later round, when it
    is less likely to be in an engine's cache. Variants share a task's seed. Repeats have different seeds and run one
    after the other, so that a run that ends early has few incomplete repeats.
    """
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    trials = []
    for repeat in range(repeats):
        rows = rng.sample(tasks, len(tasks))
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
            trials += rng.sample(
                asked, len(asked)
            )  # shuffled, so that a variant does not always run beside the same other one
    return trials


def chains(tasks: Sequence[Task], variants: Sequence[TierVariant], seed: int, draws: int) -> list[list[list[Trial]]]:
    """The trials of a pool: for each variant, one chain for each task, of its draws one after the other.

    The draws of a task follow each other, so that an engine computes its prompt once. Variants follow each other, so
    that the times of one deployment do not depend on the load of another.
    """
    rng = random.Random(seed)  # noqa: S311 - an order, not a secret
    return [
        [
            [Trial(task=task, variant=one, seed=task_seed(seed, task.id, draw), repeat=draw) for draw in range(draws)]
            for task in rng.sample(tasks, len(tasks))
        ]
        for one in variants
    ]


def warm_up(trials: Sequence[Trial], number: int, seed: int, *, before: int = 0) -> list[Trial]:
    """`number` warm-up trials, taken from the end of the schedule: their prompts recur last, when caches have aged.

    They are numbered from `before`.
    """
    return [
        replace(trial, seed=task_seed(seed, f"warm-up {one}/{trial.task.id}"), warm_up=one)
        for one, trial in enumerate(islice(cycle(reversed(trials)), number), start=before)
    ]
