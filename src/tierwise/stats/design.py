"""Observations with their dependence and weights. Repeats, clusters and weights are handled here."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import special

from tierwise.stats import clusters, estimates
from tierwise.stats.estimand import Population
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Design:
    """How the tasks of a workload depend on each other, and therefore which population its figures describe."""

    weights: Mapping[str, float]
    """How many tasks of the population each task represents; 1 if not given."""
    clusters: Mapping[str, str]
    """The cluster of each task; empty unless every task has one, and there are several."""

    @property
    def population(self) -> Population:
        return "clusters" if self.clusters else "tasks"

    @property
    def is_weighted(self) -> bool:
        return len(set(self.weights.values())) > 1

    def sample(self, tasks: Sequence[str]) -> Sample:
        """Observations of these tasks; a task that is listed repeatedly was asked repeatedly."""
        return Sample(
            labels=tuple(self.clusters.get(task, task) for task in tasks),
            weights=_normed([self.weights.get(task, 1.0) for task in tasks]),
            tasks=len(set(tasks)),
            population=self.population,
        )


def _normed(weights: Sequence[float]) -> tuple[float, ...]:
    """Scaled to an average of 1, so that they count observations; only their spread sets the effective sample size."""
    total = math.fsum(weights)
    return tuple(weight * len(weights) / total for weight in weights)


@dataclass(frozen=True, slots=True)
class Sample:
    """Some observations. Every list of values below has one value for each observation, in their order."""

    labels: tuple[str, ...]
    """The group of each observation: its task, or its task's cluster."""
    weights: tuple[float, ...]
    """1 on average."""
    tasks: int
    """The number of different tasks."""
    population: Population

    @classmethod
    def alone(cls, number: int) -> Self:
        """This many tasks of equal weight, each asked once."""
        return cls(tuple(map(str, range(number))), (1.0,) * number, number, "tasks")

    @property
    def is_plain(self) -> bool:
        """Whether observations are independent and have equal weights."""
        return len(set(self.labels)) == len(self.labels) and len(set(self.weights)) <= 1

    def share(self, values: Sequence[float], *, each: float = 1.0, is_graded: bool = False) -> Estimate | None:
        """The share solved (`clusters.rate`).

        Args:
            values: 1 or 0, or between them if graded.
            each: how many draws a value represents.
            is_graded: whether values are graded.
        """
        sizes = self._totals([each] * len(values))
        return clusters.rate(
            self._totals([value * each for value in values]), sizes, self.population, is_graded=is_graded
        )

    def mean(self, values: Sequence[float], *, least: float = -math.inf) -> Estimate | None:
        return estimates.mean(self._totals(values), self._sizes, least=least, population=self.population)

    def ratio(self, spent: Sequence[float], solved: Sequence[float]) -> Estimate | None:
        """Total over total (`estimates.ratio`)."""
        return estimates.ratio(self._totals(spent), self._totals(solved), population=self.population)

    def per(self, gained: Sequence[float], extra: Sequence[float]) -> Estimate | None:
        """Total over total where both may be negative (`estimates.per`)."""
        return estimates.per(self._totals(gained), self._totals(extra), population=self.population)

    def difference(self, first: Sequence[float], second: Sequence[float]) -> Estimate | None:
        """The first arm's share minus the second's (`clusters.difference`)."""
        return clusters.difference(self._totals(first), self._totals(second), self._sizes, self.population)

    def p_value(self, first: Sequence[float], second: Sequence[float]) -> float:
        """Of no difference, two-sided.

        Exact McNemar. Where observations depend on each other or have unequal weights, the t test between their groups
        (Miller 2024, arXiv 2411.00640, §2.2).
        """
        changes = Counter(one - other for one, other in zip(first, second, strict=True))
        if self.is_plain:
            return estimates.mcnemar(changes[1], changes[-1])
        sums = self._totals([one - other for one, other in zip(first, second, strict=True)])
        centre = math.fsum(sums) / math.fsum(self._sizes)
        if len({one / size for one, size in zip(sums, self._sizes, strict=True)}) == 1:  # their spread is not known
            return estimates.mcnemar(sum(one > 0 for one in sums), sum(one < 0 for one in sums))
        freedom = estimates.effective_number(self._sizes) - 1
        return 2 * float(special.stdtr(freedom, -abs(centre) / clusters.robust_error(sums, self._sizes)))

    def quantile(self, values: Sequence[float], q: Fraction) -> Estimate | None:
        """A quantile (`estimates.quantile`); None where there are too few tasks for an interval.

        Where observations depend on each other or have unequal weights, the ranks are those of the number of
        independent observations with the same information about the share below the quantile (Woodruff 1952, JASA
        47:635), and never of more than there are tasks.
        """
        if not values:
            return None
        if self.is_plain:
            found = estimates.quantile(values, q)
            return found if found is not None and found.interval is not None else None
        seen = np.asarray(values, dtype=np.float64)
        order = np.argsort(seen, kind="stable")
        reached = np.cumsum(np.asarray(self.weights)[order])

        def at(share: float) -> float:
            return float(seen[order[min(len(seen) - 1, int(np.searchsorted(reached, share * reached[-1] - 1e-9)))]])

        value = at(float(q))
        independent = clusters.effective(self._totals([float(one <= value) for one in values]), self._sizes)
        n = min(self.tasks, int(independent))
        ranks = estimates.quantile_ranks(n, q) if n else None
        if ranks is None:
            return None
        interval = Interval(at(ranks[0] / n), at(ranks[1] / n))
        return Estimate(value=value, interval=interval, n=n, population=self.population)

    @property
    def _sizes(self) -> list[float]:
        return self._totals([1.0] * len(self.labels))

    def _totals(self, values: Sequence[float]) -> list[float]:
        """Weighted sums of the groups, in order of first appearance."""
        sums: dict[str, float] = {}
        for label, weight, value in zip(self.labels, self.weights, values, strict=True):
            sums[label] = sums.get(label, 0.0) + weight * value
        return list(sums.values())
