"""What is measured, in which order, with which seeds: all of it follows from the workload and one number."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from tierwise.bench.workload import Task

Mode = Literal["average", "max", "both"]
"""One pass · all passes that the policy may spend · a policy of one pass, measured once, for which both are one."""

MOST_REPEATS = 1000

_STRIDE = 0x9E37_79B1  # odd, so that the first 2³¹ repeats of a task all have seeds of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A tier in one mode: what a row of the result speaks of."""

    tier: str
    mode: Mode

    @property
    def name(self) -> str:
        """`fast`, `max · average`."""
        return self.tier if self.mode == "both" else f"{self.tier} · {self.mode}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One task to be asked of one variant."""

    task: Task
    variant: Variant
    seed: int
    repeat: int = 0
    warm_up: int | None = None
    """Its number among those that are asked first and do not count; None for one that counts."""


def variants(
    most_passes: Mapping[str, int], wanted: Literal["average", "max", "both"], composed: AbstractSet[str] = frozenset()
) -> tuple[Variant, ...]:
    """What there is to measure, given the most passes of each tier. A tier that asks others has no average mode."""
    modes: tuple[Mode, ...] = ("average", "max") if wanted == "both" else (wanted,)

    def of(name: str) -> tuple[Mode, ...]:
        if most_passes[name] == 1:
            return ("both",)
        return ("max",) if name in composed else modes

    return tuple(Variant(tier=name, mode=mode) for name in most_passes for mode in of(name))


def schedule(tasks: Sequence[Task], variants: Sequence[Variant], seed: int, repeats: int = 1) -> list[Trial]:
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


def task_seed(seed: int, task: str, repeat: int = 0) -> int:
    """The seed that is sent with a task: different for each repeat, and below 2³¹, which every engine accepts."""
    digest = hashlib.blake2b(f"{seed}/{task}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + repeat * _STRIDE) & 0x7FFF_FFFF
