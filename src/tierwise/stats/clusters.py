"""Shares and paired differences where observations come in clusters: repeats of a task, tasks of a repository.

All use one construction: Wilson's score interval at the effective sample size, with Student's t at G - 1 degrees of
freedom for G clusters. For unequal sizes, G is Kish's effective number. With clusters of one observation it is Wilson's
interval with t for z. It is never empty, also at 0 of n. `benchmarks/coverage.py` measures how often it covers the
truth; docs/statistics.md shows the figure, and the cases in which coverage is too low.

Functions of arrays work on many samples at once, element by element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tierwise.spec.errors import SpecError
from tierwise.stats.estimand import Population
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

Floats = NDArray[np.float64]

_TAIL = 0.025
_LEAST_EFFECT = 0.2
"""The smallest design effect. Without it, clusters that agree by chance would suggest certainty."""
_FEW, _FEW_GRADED = 4.0, 10.0
"""Fewer effective successes (or failures) say little about how similar the members of a cluster are. Values between 0
and 1 need more, because few tasks may hold nearly all of the sum."""
_POISSON = 3.0
"""Up to this many effective successes, the lower end is that of the exact one-sided interval."""
_NEVER = 1e-12
_LEAST_KEPT, _LEAST_FREEDOM = 0.1, 0.5
"""Where one cluster holds nearly everything, the others say little, and the interval is wide but finite."""
_LEAST_OWN = 0.001
"""The sample's smallest part of a design effect that is otherwise assumed, so that degrees of freedom are finite."""


@dataclass(frozen=True, slots=True)
class Shares:
    """A share in each sample, and the number of independent observations with the same information."""

    share: Floats
    effective: Floats
    scatter: Floats
    """Σ (sum - size · share)² over clusters."""
    freedom: Floats
    """Degrees of freedom of the effective size: G - 1, with Kish's (Σ size)² / Σ size² for G. More where the design
    effect is assumed more than estimated from the sample."""


def shares(totals: Floats, squares: Floats, sizes: Floats, *, is_graded: bool = False) -> Shares:
    """The shares of samples whose clusters have the same sizes in all samples.

    Args:
        totals: Σ of the clusters' sums, one for each sample.
        squares: Σ (sum - size · share)², one for each sample.
        sizes: of each cluster.
        is_graded: observations are values between 0 and 1, not successes and failures.
    """
    n, second, third = (float((sizes**power).sum()) for power in (1, 2, 3))
    alike = second / n  # the design effect if all members of a cluster were equal (Kish 1965, §5.4)
    share = totals / n
    spread = share * (1 - share)
    varies = spread > _NEVER
    raw = squares / np.where(varies, n * spread, 1.0)
    most = np.maximum(raw, alike)
    # The part of the scatter that remains once the share is fitted: 1 - 1/G if all sizes are equal.
    kept = 1 - 2 * third / (n * second) + second / n**2
    effect = np.where(varies, np.minimum(raw / max(kept, _LEAST_KEPT), most), alike)
    few = _FEW_GRADED if is_graded else _FEW
    effect, weight = _cautious(effect, np.minimum(share, 1 - share) * n / few, most)
    freedom = max(_LEAST_FREEDOM, n * n / second - 1) / np.maximum(_LEAST_OWN, 1 - weight) ** 2
    return Shares(share, n / effect, squares, freedom)


def _cautious(effect: Floats, rare: Floats, most: Floats) -> tuple[Floats, Floats]:
    """The design effect, shrunk towards the largest possible one where few successes or failures were seen, and the
    weight.

    Two solved tasks do not show whether repeats of one task are similar. Without this, the intervals cover only 80 to
    92 % where n·p is below 5 and the correlation within clusters is high. `rare` counts the rarer of successes and
    failures, in units of `_FEW`.

    The sample decides only a part of such an effect, so it varies less: its logarithm by 1 - weight. Degrees of freedom
    are twice the square of a variance over its own variance (Satterthwaite 1946), so they grow by the square.
    """
    effect = np.maximum(effect, _LEAST_EFFECT)
    weight = np.where(effect < most, (1 + rare / effect) ** -2, 0.0)
    return effect ** (1 - weight) * most**weight, weight


def bounds(of: Shares) -> tuple[Floats, Floats]:
    """Both ends of the score interval (Wilson 1927) at the effective sample size, with t for z.

    The effective size is scaled by (z / t)², as in Korn & Graubard (1998, Survey Methodology 24:193). Near 0 and 1 the
    inner end is the exact one-sided one (after Brown, Cai & DasGupta 2001, Statistical Science 16:101, §4.1.1); without
    it, coverage falls to 84 % there.
    """
    t = special.stdtrit(of.freedom, 1 - _TAIL)
    z = float(special.ndtri(1 - _TAIL))
    n = of.effective * (z / t) ** 2
    low = _lower_end(of.share, n, z)
    high = 1 - _lower_end(1 - of.share, n, z)
    return np.where(of.share <= _NEVER, 0.0, low), np.where(of.share >= 1 - _NEVER, 1.0, high)


def _lower_end(share: Floats, n: Floats, z: float) -> Floats:
    spread = z * z / n
    half = z * np.sqrt(np.maximum(share * (1 - share), 0) / n + spread / (4 * n))
    wilson = (share + spread / 2 - half) / (1 + spread)
    x = share * n
    exact = special.betaincinv(np.maximum(x, _NEVER), np.maximum(n - x, 0) + 1, 2 * _TAIL)
    return np.where(x <= _POISSON, np.minimum(wilson, exact), wilson)


def paired_bounds(first: Shares, second: Shares, cross: Floats) -> tuple[Floats, Floats]:
    """Both ends for the difference of two shares on the same clusters.

    Newcombe 1998 (Statistics in Medicine 17:2635, method 10), with the intervals above in place of his two, and the
    correlation of the clusters in place of his φ, with his correction for continuity.

    Args:
        first: the first arm.
        second: the second arm.
        cross: Σ of the products of both arms' residuals over clusters.
    """
    spread = np.sqrt(first.share * (1 - first.share) * second.share * (1 - second.share))
    known = (first.scatter * second.scatter > _NEVER) & (spread > _NEVER)
    phi = cross / np.sqrt(np.where(known, first.scatter * second.scatter, 1.0))
    continuity = 1 / (2 * np.sqrt(first.effective * second.effective) * np.where(known, spread, 1.0))
    phi = np.where(known, np.where(phi > 0, np.maximum(0.0, phi - continuity), phi), 0.0)
    low1, high1 = bounds(first)
    low2, high2 = bounds(second)
    difference = first.share - second.share
    low = difference - _joined(first.share - low1, high2 - second.share, phi)
    high = difference + _joined(high1 - first.share, second.share - low2, phi)
    return np.maximum(-1.0, low), np.minimum(1.0, high)


def _joined(one: Floats, other: Floats, phi: Floats) -> Floats:
    return np.sqrt(np.maximum(0.0, one**2 - 2 * phi * one * other + other**2))


def rate(
    sums: Sequence[float], sizes: Sequence[float], population: Population = "clusters", *, is_graded: bool = False
) -> Estimate | None:
    """The share solved, over all observations.

    Args:
        sums: solved in each cluster.
        sizes: observations in each cluster.
        population: `tasks` where the clusters are repeats of a task.
        is_graded: observations are values between 0 and 1, not successes and failures.

    Returns:
        None without observations; an estimate without an interval for a single cluster.
    """
    total, n = math.fsum(sums), math.fsum(sizes)
    if not n:
        return None
    if len(sizes) == 1:
        return Estimate(value=total / n, interval=None, n=1, population=population)
    residuals = _residuals(sums, sizes)
    low, high = bounds(_one(sums, residuals, sizes, is_graded=is_graded))
    return Estimate(value=total / n, interval=Interval(low.item(), high.item()), n=len(sizes), population=population)


def difference(
    first: Sequence[float], second: Sequence[float], sizes: Sequence[float], population: Population = "clusters"
) -> Estimate | None:
    """The first arm's share minus the second's, on the same clusters. Arguments as for `rate`."""
    n = math.fsum(sizes)
    if not n:
        return None
    value = (math.fsum(first) - math.fsum(second)) / n
    if len(sizes) == 1:
        return Estimate(value=value, interval=None, n=1, population=population)
    one, other = _residuals(first, sizes), _residuals(second, sizes)
    low, high = paired_bounds(
        _one(first, one, sizes), _one(second, other, sizes), np.asarray((one * other).sum(), dtype=np.float64)
    )
    return Estimate(value=value, interval=Interval(low.item(), high.item()), n=len(sizes), population=population)


def robust_error(sums: Sequence[float], sizes: Sequence[float]) -> float:
    """The cluster-robust standard error of a mean (Miller 2024, arXiv 2411.00640, §2.2), times √(G / (G - 1)).

    For shares and for paired differences. The naive error of a share is √(p(1-p)/n); on SWE-bench Pro by repository
    this one is 1.3 to 3.1 times as large.
    """
    groups = len(sizes)
    if groups < 2:
        raise SpecError(f"a standard error between clusters needs at least 2 clusters, and there is {groups}")
    squares = float((_residuals(sums, sizes) ** 2).sum())
    return math.sqrt(squares * groups / (groups - 1)) / math.fsum(sizes)


def effective(sums: Sequence[float], sizes: Sequence[float]) -> float:
    """The number of independent observations with the same information about the share. Arguments as for `rate`."""
    return _one(sums, _residuals(sums, sizes), sizes).effective.item()


def gather(values: Sequence[float], labels: Sequence[Hashable]) -> tuple[list[float], list[float]]:
    """Sums and sizes of the labelled clusters, in order of first appearance."""
    sums: dict[Hashable, float] = {}
    sizes: dict[Hashable, float] = {}
    for value, label in zip(values, labels, strict=True):
        sums[label] = sums.get(label, 0.0) + value
        sizes[label] = sizes.get(label, 0.0) + 1
    return list(sums.values()), list(sizes.values())


def _residuals(sums: Sequence[float], sizes: Sequence[float]) -> Floats:
    share = math.fsum(sums) / math.fsum(sizes)
    return np.asarray(sums, dtype=np.float64) - np.asarray(sizes, dtype=np.float64) * share


def _one(sums: Sequence[float], residuals: Floats, sizes: Sequence[float], *, is_graded: bool = False) -> Shares:
    total = np.asarray(math.fsum(sums), dtype=np.float64)
    squares = np.asarray((residuals**2).sum(), dtype=np.float64)
    return shares(total, squares, np.asarray(sizes, dtype=np.float64), is_graded=is_graded)
