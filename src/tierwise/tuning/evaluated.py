"""What every setting does to every task of a workload: the arrays that search and certification read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Settings × tasks. A value is the mean over the orders of the task's draws, unless it says otherwise.

    Harm, gain and disagreement compare a setting with the reference on the same order of the draws.
    """

    names: tuple[str, ...]
    """Of the settings."""
    tasks: tuple[str, ...]
    units: Numbers
    """Of each task, the number of the independent unit that it belongs to: its cluster, or itself."""
    weights: Floats
    """Of each task."""
    correct: Floats
    """The share of orders in which the final answer is right."""
    harm: Floats
    """The share of orders in which the final answer is wrong and the reference's is right."""
    gain: Floats
    """The share of orders in which the final answer is right and the reference's is wrong."""
    first_harm: Floats
    """As `harm`, in the recorded order alone: 0 or 1."""
    disagreement: Floats
    """The share of orders in which the two answers differ."""
    kept: Floats
    """The share of orders in which the answer was not passed on to the last tier."""
    kept_wrong: Floats
    """The share of orders in which it was not, and is wrong."""
    dollars: Floats
    """Of an action."""
    seconds: Floats
    """Of an action; settings × tasks × orders."""

    missed: Floats | None = None
    """With a judge, the share of orders in which the final answer is wrong and the reference's right by the task's own
    check, and not by the judge; not a number for tasks without one. None where losses are told otherwise."""
    first_missed: Floats | None = None
    """As `missed`, in the recorded order alone."""

    def __post_init__(self) -> None:
        wanted = (len(self.names), len(self.tasks))
        for name in ("correct", "harm", "gain", "first_harm", "disagreement", "kept", "kept_wrong", "dollars"):
            if getattr(self, name).shape != wanted:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, and settings × tasks are {wanted}")
        if self.seconds.ndim != 3 or self.seconds.shape[:2] != wanted:
            raise ValueError(f"seconds have shape {self.seconds.shape}, and settings × tasks are {wanted}")

    def mean(self, values: Floats, tasks: Sequence[int] | Numbers) -> Floats:
        """The weighted mean over some tasks, for each setting."""
        weights = self.weights[tasks]
        found: Floats = values[:, tasks] @ weights / weights.sum()
        return found
