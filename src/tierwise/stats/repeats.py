"""What repeats of the same tasks show: pass@k, pass^k, and the share that the same tasks would solve if asked again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tierwise.spec.errors import SpecError
from tierwise.stats.design import Sample
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence


_TAIL = 0.025
_LEAST = 10
"""Repeats of each task, below which percentile intervals of resamples are too narrow, by at least √((n - 1) / n)."""


def pass_at(solved: Sequence[int], repeats: Sequence[int], k: int, sample: Sample | None = None) -> Estimate | None:
    """The chance that one of `k` passes solves a task: mean of 1 - C(n-c, k) / C(n, k) (Chen 2021, arXiv 2107.03374).

    Unbiased. The interval is that of `clusters.rate` over the tasks' values.

    Args:
        solved: c, of each task.
        repeats: n, of each task.
        k: passes.
        sample: the tasks' clusters and weights; independent with equal weights if not given.

    Raises:
        SpecError: some task has fewer than `k` repeats.
    """
    return _mean([at_least_one(c, n, k) for c, n in _checked(solved, repeats, k)], repeats, sample)


def pass_all(solved: Sequence[int], repeats: Sequence[int], k: int, sample: Sample | None = None) -> Estimate | None:
    """pass^k, the chance that all of `k` passes solve a task: mean of C(c, k) / C(n, k) (Yao 2024, arXiv 2406.12045).

    Arguments and errors as for `pass_at`.
    """
    return _mean([math.comb(c, k) / math.comb(n, k) for c, n in _checked(solved, repeats, k)], repeats, sample)


def at_least_one(solved: int, repeats: int, k: int) -> float:
    """For one task: the share of its subsets of `k` repeats that contain a solved one."""
    return 1 - math.comb(repeats - solved, k) / math.comb(repeats, k)


def _checked(solved: Sequence[int], repeats: Sequence[int], k: int) -> list[tuple[int, int]]:
    if k < 1:
        raise SpecError(f"k is {k}; it must be 1 or more", field="k")
    if repeats and k > min(repeats):
        raise SpecError(f"k is {k}, but a task has {min(repeats)} repeats; k must not be larger", field="k")
    return list(zip(solved, repeats, strict=True))


def _mean(values: Sequence[float], repeats: Sequence[int], sample: Sample | None) -> Estimate | None:
    """A task's information is at most that of its repeats."""
    if not values:
        return None
    each = math.fsum(repeats) / len(repeats)
    return (sample or Sample.alone(len(values))).share(values, each=each, is_graded=True)


def again(
    solved: Sequence[int], repeats: Sequence[int], weights: Sequence[float] | None = None, *, draws: int = 2000
) -> Estimate | None:
    """The share solved by these same tasks if asked again, with a percentile interval over resampled repeats.

    Davison & Hinkley 1997, §3.8: the repeats of each task are resampled, and the tasks are fixed.

    Args:
        solved: of each task.
        repeats: of each task; there is no interval below ten.
        weights: how much each task counts; equal if not given.
        draws: resamples.
    """
    if not repeats:
        return None
    each = np.asarray(repeats)
    shares = np.asarray(solved) / each
    value = float(np.average(shares, weights=weights))
    drawn = np.random.default_rng(0).binomial(each, shares, size=(draws, len(each))) / each
    low, high = np.quantile(np.average(drawn, axis=1, weights=weights), (_TAIL, 1 - _TAIL))
    interval = Interval(float(low), float(high)) if low < high and min(repeats) >= _LEAST else None
    return Estimate(value=value, interval=interval, n=len(each), population="repeats")
