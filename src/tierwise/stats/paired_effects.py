"""Changes of shares, means, totals and quantiles on the same tasks, with intervals for tasks or for clusters."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from tierwise.stats import clusters, estimates
from tierwise.stats.alpha_spending import TAIL
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tierwise.stats.estimand import Population

    Floats = NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """The group of each observation of a sample, as numbers from 0; None where observations are independent."""

    tasks: NDArray[np.int64] | None
    """Repeats of one task."""
    clusters: NDArray[np.int64] | None
    """Tasks of one cluster; None where clusters are not used, or not every task has one."""

    @property
    def count(self) -> int | None:
        return None if self.clusters is None else int(self.clusters.max()) + 1

    @property
    def shown(self) -> NDArray[np.int64] | None:
        return self.tasks if self.clusters is None else self.clusters

    @property
    def population(self) -> Population:
        return "tasks" if self.clusters is None else "clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference, for each population that it can be estimated for."""

    tasks: Estimate
    clusters: Estimate | None = None

    @property
    def shown(self) -> Estimate:
        """For clusters where tasks have them, else for tasks."""
        return self.clusters or self.tasks

    @property
    def population(self) -> Population:
        return "tasks" if self.clusters is None else "clusters"

    @property
    def direction(self) -> Literal["up", "down", ""]:
        """The direction of the change, where the interval excludes zero."""
        interval = self.shown.interval
        if interval is None:
            return ""
        return "up" if interval.low > 0 else "down" if interval.high is not None and interval.high < 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """How seconds or dollars changed, on the same tasks."""

    base: float
    """The mean, as in `other`."""
    other: float
    difference: Change
    ratio: Estimate | None
    """Total over total."""


def crossed(base: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """How many both arms, only the other, only the base, and neither solved."""
    table = Counter(zip(other.tolist(), base.tolist(), strict=True))
    return table[1, 1], table[1, 0], table[0, 1], table[0, 0]


def quality_change(base: NDArray[np.int64], other: NDArray[np.int64], groups: Groups) -> Change:
    """The difference of two shares on the same tasks (Newcombe 1998), or on the same groups of tasks."""
    return Change(
        tasks=_difference(base, other, groups.tasks),
        clusters=None if groups.clusters is None else _difference(base, other, groups.clusters, "clusters"),
    )


def _difference(
    base: NDArray[np.int64],
    other: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    population: Population = "tasks",
) -> Estimate:
    if groups is None:
        both, only_other, only_base, neither = crossed(base, other)
        found: Estimate | None = estimates.paired_difference(both, only_other, only_base, neither)
    else:
        first, second = (np.bincount(groups, weights=won).tolist() for won in (other, base))
        found = clusters.difference(first, second, np.bincount(groups).tolist(), population)
    assert found is not None, "there are pairs"  # noqa: S101
    return found


def share(won: NDArray[np.int64], groups: Groups) -> Estimate:
    """The share solved: Wilson's interval, over groups where tasks are not independent."""
    if groups.shown is None:
        found: Estimate | None = estimates.rate(int(won.sum()), len(won))
    else:
        sums, sizes = np.bincount(groups.shown, weights=won), np.bincount(groups.shown)
        found = clusters.rate(sums.tolist(), sizes.tolist(), groups.population)
    assert found is not None, "there are pairs"  # noqa: S101
    return found


def mean(values: Floats, groups: NDArray[np.int64] | None, population: Population = "tasks") -> Estimate | None:
    """A mean with its t interval; each group is one observation of G (Miller 2024, arXiv 2411.00640)."""
    if groups is None:
        return estimates.mean(values.tolist())
    if not len(values):
        return None
    count = int(groups.max()) + 1
    centre, variance = float(values.mean()), covariance(values, values, groups)
    if count < 2 or variance <= 0:
        return Estimate(value=centre, interval=None, n=count, population=population)
    half = estimates.t_quantile(count - 1) * math.sqrt(variance)
    return Estimate(value=centre, interval=Interval(centre - half, centre + half), n=count, population=population)


def covariance(x: Floats, y: Floats, groups: NDArray[np.int64] | None) -> float:
    """The covariance of two means, by cluster, with the correction G / (G - 1); a task is a cluster if None."""
    n = len(x)
    if groups is None:
        groups = np.arange(n)
    count = int(groups.max()) + 1
    if count < 2:
        return math.nan
    in_x = np.bincount(groups, weights=x - x.mean(), minlength=count)
    in_y = np.bincount(groups, weights=y - y.mean(), minlength=count)
    return float(in_x @ in_y) * count / (count - 1) / n / n


def p_clustered(differences: NDArray[np.int64], groups: NDArray[np.int64] | None) -> float:
    """The two-sided p value of no difference between groups of tasks (t with G - 1 df)."""
    values = differences.astype(float)
    variance = covariance(values, values, groups)
    if variance <= 0:  # all clusters agree to the last digit, so their spread is unknown
        return estimates.mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    freedom = len(differences) - 1 if groups is None else int(groups.max())
    return 2 * float(special.stdtr(freedom, -abs(float(values.mean())) / math.sqrt(variance)))


def ratio(over: Floats, under: Floats, groups: NDArray[np.int64] | None, width: float | None = None) -> Estimate | None:
    """Total over total on the same tasks, with Fieller's interval (1954); None where the denominator is zero.

    Args:
        over: the numerators.
        under: the denominators, of the same tasks.
        groups: the cluster of each task.
        width: of the interval on each side, in standard errors; Student's t if not given.
    """
    n = len(over)
    if not n or under.sum() <= 0:
        return None
    value = float(over.sum() / under.sum())
    count = n if groups is None else int(groups.max()) + 1
    if count < 2:
        return Estimate(value=value, interval=None, n=n)
    scale = (estimates.t_quantile(count - 1) if width is None else width) ** 2
    x, y = float(over.mean()), float(under.mean())
    # The ratios r for which the mean of over - r·under may be zero: a·r² - 2·b·r + c ≤ 0.
    a = y * y - scale * covariance(under, under, groups)
    b = x * y - scale * covariance(over, under, groups)
    c = x * x - scale * covariance(over, over, groups)
    root = math.sqrt(max(0.0, b * b - a * c))
    if a <= 0:
        low = c / (b + root) if b + root > 0 else 0.0
        return Estimate(value=value, interval=Interval(max(0.0, low), None), n=n)
    return Estimate(value=value, interval=Interval(max(0.0, (b - root) / a), (b + root) / a), n=n)


def spend(spent: Floats, groups: Groups) -> Spend | None:
    """From values as `pairs.values` returns them; None without values."""
    base, other = spent
    if not len(base):
        return None
    alone = mean(other - base, groups.tasks)
    assert alone is not None, "there are pairs"  # noqa: S101
    return Spend(
        base=float(base.mean()),
        other=float(other.mean()),
        difference=Change(
            tasks=alone, clusters=None if groups.clusters is None else mean(other - base, groups.clusters, "clusters")
        ),
        ratio=ratio(other, base, groups.shown),
    )


def quantile_changes(seen: Floats, levels: Sequence[float]) -> list[Estimate | None]:
    """The differences of quantiles of the same actions, by resampling the tasks (Efron 1979, percentile interval).

    The 95th percentile has no interval below 72 actions, where the largest value alone would decide it.
    """
    n = seen.shape[1]
    if not n:
        return [None for _ in levels]
    ranks = [math.ceil(level * n) - 1 for level in levels]
    drawn = np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))
    spread = np.quantile(_ordered(seen[1][drawn], ranks) - _ordered(seen[0][drawn], ranks), [TAIL, 1 - TAIL], axis=0)
    values = _ordered(seen[1:], ranks)[0] - _ordered(seen[:1], ranks)[0]
    least = [math.ceil(math.log(TAIL) / math.log(max(level, 1 - level))) for level in levels]
    return [
        Estimate(value=float(value), interval=Interval(float(low), float(high)) if n >= enough else None, n=n)
        for value, low, high, enough in zip(values, *spread, least, strict=True)
    ]


def _ordered(rows: Floats, ranks: Sequence[int]) -> Floats:
    """The values at some ranks in each row."""
    return np.partition(rows, ranks, axis=1)[:, ranks]
