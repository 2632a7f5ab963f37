"""How certain it is that a tier is on the Pareto frontier of quality, latency and dollars, given a sample of tasks."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tierwise.stats.clusters import Floats

MEDIAN = Fraction(1, 2)

_SAME = 1e-12
"""Sums of the same values in another order differ by rounding. Such differences do not count as dominance."""


def on_frontier(
    quality: Mapping[str, Sequence[float]],
    seconds: Mapping[str, Sequence[float]],
    dollars: Mapping[str, Sequence[float]],
    *,
    latency: Fraction | None = MEDIAN,
    labels: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """The share of joint resamples in which no other tier is at least as good in all three and better in one.

    Tasks are drawn whole, with the results of every tier, so that a hard task is hard for all tiers in the same draw.
    The result describes tasks like these, or clusters like these where labels are given.

    Args:
        quality: of each tier, a value for each task; here and below, tasks are the same and in the same order for all.
        seconds: of the action.
        dollars: of the action.
        latency: the quantile of the seconds that is compared; their mean if None.
        labels: the cluster of each task, from 0; clusters are then drawn whole.
        weights: how much each task counts; equal if not given.
        draws: resamples.
        seed: of the draws.

    Raises:
        SpecError: the tiers were not measured on equally many tasks.
    """
    tiers = list(quality)
    lengths = {len(table[tier]) for table in (quality, seconds, dollars) for tier in tiers}
    if len(lengths) > 1:
        raise SpecError(f"tiers are compared on the same tasks, and these have {sorted(lengths)} of them")
    if not tiers or not max(lengths):
        return {}
    drawn = _drawn(max(lengths), labels, draws, np.random.default_rng(seed))
    if weights is not None:
        drawn *= np.asarray(weights, dtype=np.float64)
    worse = [
        np.stack([-_mean(drawn, quality[tier]) for tier in tiers]),
        np.stack([_latency(drawn, seconds[tier], latency) for tier in tiers]),
        np.stack([_mean(drawn, dollars[tier]) for tier in tiers]),
    ]
    return {tier: float(1 - _is_dominated(worse, position).mean()) for position, tier in enumerate(tiers)}


def _drawn(n: int, labels: Sequence[int] | None, draws: int, rng: np.random.Generator) -> Floats:
    """How often each task is in each resample; draws × tasks."""
    of = np.arange(n) if labels is None else np.asarray(labels)
    groups = int(of.max()) + 1
    counts: NDArray[np.int64] = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)
    return counts[:, of].astype(np.float64)


def _mean(drawn: Floats, values: Sequence[float]) -> Floats:
    means: Floats = drawn @ np.asarray(values, dtype=np.float64) / drawn.sum(axis=1)
    return means


def _latency(drawn: Floats, values: Sequence[float], q: Fraction | None) -> Floats:
    if q is None:
        return _mean(drawn, values)
    ordered = np.argsort(values)
    below = np.cumsum(drawn[:, ordered], axis=1)
    first = (below >= float(q) * below[:, -1:] - _SAME).argmax(axis=1)
    chosen: Floats = np.asarray(values, dtype=np.float64)[ordered][first]
    return chosen


def _is_dominated(worse: Sequence[Floats], position: int) -> NDArray[np.bool_]:
    """For each resample, whether another tier dominates. `worse` has tiers × draws values, where smaller is better."""
    excess = np.stack([axis - axis[position] for axis in worse])
    margin = _SAME * np.stack([np.abs(axis[position]) + 1 for axis in worse])[:, None, :]
    no_worse, better = np.all(excess <= margin, axis=0), np.any(excess < -margin, axis=0)
    return np.asarray(np.any(no_worse & better, axis=0), dtype=np.bool_)
