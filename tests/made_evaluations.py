"""Evaluations with a known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tierwise.tuning.evaluated import Evaluated

if TYPE_CHECKING:
    from collections.abc import Sequence


def evaluated(
    harm: Sequence[Sequence[float]] | np.ndarray,
    dollars: Sequence[float],
    *,
    gain: np.ndarray | None = None,
    kept: np.ndarray | None = None,
    seconds: np.ndarray | None = None,
    units: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    orders: int = 1,
) -> Evaluated:
    """Settings with this harm of each task and these dollars of an action; a harmed answer is wrong, the rest right."""
    harms = np.asarray(harm, dtype=np.float64)
    shape = harms.shape
    kept = np.ones(shape) if kept is None else kept
    return Evaluated(
        names=tuple(f"setting {index}" for index in range(shape[0])),
        tasks=tuple(f"task {index}" for index in range(shape[1])),
        units=np.arange(shape[1]) if units is None else np.asarray(units, dtype=np.int64),
        weights=np.ones(shape[1]) if weights is None else np.asarray(weights, dtype=np.float64),
        correct=1 - harms,
        harm=harms,
        gain=np.zeros(shape) if gain is None else gain,
        first_harm=np.round(harms),
        disagreement=harms,
        kept=kept,
        kept_wrong=np.minimum(kept, harms),
        dollars=np.repeat(np.asarray(dollars, dtype=np.float64)[:, None], shape[1], axis=1),
        seconds=np.ones((*shape, orders)) if seconds is None else seconds,
    )


def routes(tasks: int, *, steps: int = 40, cheap_wrong: float = 0.31, seed: int = 0) -> Evaluated:
    """Routes by a threshold of an informative score: the cheap answer is wrong on a share of tasks, more often where
    the score is low, and a looser threshold serves more of them.
    """
    rng = np.random.default_rng(seed)
    score = rng.random(tasks)
    wrong = rng.random(tasks) < np.minimum(1.0, 3 * cheap_wrong * (1 - score) ** 2)
    thresholds = np.linspace(0, 1, steps)
    served = score[None, :] >= thresholds[:, None]
    return evaluated(served & wrong[None, :], [0.1 + 0.9 * (1 - one.mean()) for one in served], kept=served * 1.0)
