"""Whether passes that load experts unevenly are the slow ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from tierwise.mixture.load import Load
from tierwise.runs.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tierwise.moe.routed import RoutedPass

FEWEST = 20
"""Passes below which no correlation is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Third:
    """A third of the passes, by how even their load is."""

    name: str
    passes: int
    balancedness: float
    """The mean over passes and layers."""
    p50: float | None
    """Seconds between two pieces of an answer, over all pauses of these passes; right to 9 %."""
    p99: float | None
    """As above; None with fewer than 368 pauses, of which it would be no more than the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Imbalance beside inter-token latency."""

    thirds: Sequence[Third]
    """From the most even to the least."""
    correlation: float | None
    """Spearman's, of balancedness and a pass's mean pause: negative where uneven passes are slow; None with few
    passes, and where one of the two never changes."""
    low: float | None
    high: float | None
    """Its 95 % interval, by a bootstrap over passes."""


_ENOUGH_PAUSES = 368


def tail(passes: Sequence[RoutedPass], *, draws: int = 2000, seed: int = 0) -> Tail:
    """Set the balance of each pass beside its pauses. A correlation is no cause: long prompts may be behind both."""
    known = [(_balancedness(one), one) for one in passes if one.gaps.count]
    known.sort(key=lambda pair: -pair[0])
    cuts = [0, *(round(len(known) * share / 3) for share in (1, 2, 3))]
    names = ("most even", "middle", "least even")
    thirds = [_third(name, known[i:j]) for name, (i, j) in zip(names, pairwise(cuts), strict=True) if i < j]
    even = np.array([balance for balance, _ in known])
    pause = np.array([one.gaps.seconds / one.gaps.count for _, one in known])
    if len(known) < FEWEST or not np.ptp(even) or not np.ptp(pause):
        return Tail(thirds=thirds, correlation=None, low=None, high=None)
    rng = np.random.default_rng(seed)
    drawn = [_spearman(even[picked], pause[picked]) for picked in rng.integers(len(known), size=(draws, len(known)))]
    low, high = (float(bound) for bound in np.nanquantile(drawn, (0.025, 0.975)))
    return Tail(thirds=thirds, correlation=_spearman(even, pause), low=low, high=high)


def _balancedness(one: RoutedPass) -> float:
    return fmean(layer.balancedness or 0.0 for layer in Load([one.routing]).layers)


def _third(name: str, part: list[tuple[float, RoutedPass]]) -> Third:
    gaps = sum((one.gaps for _, one in part), Durations())
    return Third(
        name=name,
        passes=len(part),
        balancedness=fmean(balance for balance, _ in part),
        p50=gaps.quantile(0.5),
        p99=gaps.quantile(0.99) if gaps.count >= _ENOUGH_PAUSES else None,
    )


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation; NaN where one side is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean ranks, so that ties share theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return ranks
