"""Whether passes that load experts less evenly are slower."""

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
"""The smallest number of passes for a correlation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Third:
    """A third of the passes, ordered by balancedness."""

    name: str
    passes: int
    balancedness: float
    """Mean over passes and layers."""
    p50: float | None
    """Seconds between two pieces of an answer, over all gaps of these passes; accurate to 9 %."""
    p99: float | None
    """As above; None with fewer than 368 gaps, which are too few for an interval of p99."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Balancedness and inter-token latency of passes."""

    thirds: Sequence[Third]
    """From most to least even."""
    correlation: float | None
    """Spearman's rank correlation of a pass's balancedness and its mean gap: negative if less even passes are slower.
    None with fewer than `FEWEST` passes, or where one of the two is constant."""
    low: float | None
    high: float | None
    """The 95 % interval, from a bootstrap over passes."""


_ENOUGH_GAPS = 368


def tail(passes: Sequence[RoutedPass], *, draws: int = 2000, seed: int = 0) -> Tail:
    """Compare the balancedness of passes with their gaps.

    A correlation does not show causation: long prompts may explain both.
    """
    known = [(_balancedness(one), one) for one in passes if one.gaps.count]
    known.sort(key=lambda pair: -pair[0])
    cuts = [0, *(round(len(known) * share / 3) for share in (1, 2, 3))]
    names = ("most even", "middle", "least even")
    thirds = [_third(name, known[i:j]) for name, (i, j) in zip(names, pairwise(cuts), strict=True) if i < j]
    even = np.array([balance for balance, _ in known])
    gap = np.array([one.gaps.seconds / one.gaps.count for _, one in known])
    if len(known) < FEWEST or not np.ptp(even) or not np.ptp(gap):
        return Tail(thirds=thirds, correlation=None, low=None, high=None)
    rng = np.random.default_rng(seed)
    drawn = [_spearman(even[picked], gap[picked]) for picked in rng.integers(len(known), size=(draws, len(known)))]
    low, high = (float(bound) for bound in np.nanquantile(drawn, (0.025, 0.975)))
    return Tail(thirds=thirds, correlation=_spearman(even, gap), low=low, high=high)


def _balancedness(one: RoutedPass) -> float:
    return fmean(layer.balancedness or 0.0 for layer in Load([one.routing]).layers)


def _third(name: str, part: list[tuple[float, RoutedPass]]) -> Third:
    gaps = sum((one.gaps for _, one in part), Durations())
    return Third(
        name=name,
        passes=len(part),
        balancedness=fmean(balance for balance, _ in part),
        p50=gaps.quantile(0.5),
        p99=gaps.quantile(0.99) if gaps.count >= _ENOUGH_GAPS else None,
    )


def _spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation; NaN where one of the two is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks; ties get their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: NDArray[np.float64] = (ends - (counts - 1) / 2)[inverse]
    return ranks
