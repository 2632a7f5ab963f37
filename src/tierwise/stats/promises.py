"""Tests of a promise: that the risk of a population is at most a limit, from a sample of its losses.

A loss is a number from 0 to 1 for each task, such as whether a route harmed it. The null hypothesis is that the risk,
the weighted mean loss of the population, is above the limit. A small p-value rejects it, so the promise holds. Three
tests are valid at any sample size, each under its own conditions (`Losses.method`):

- *exact*: the binomial tail. For losses that are 0 or 1, of independent tasks with equal weights.
- *betting*: the largest wealth of a bet against the null hypothesis (Waudby-Smith and Ramdas 2024, JRSS B 86:1). Bets
  depend on earlier losses only, or are all of one size that was declared on other data. For any losses, clusters and
  weights: the unit is the cluster, and the ratio of weighted losses to weights is tested.
- *hoeffding-bentkus*: the smaller of two bounds on the tail of a mean (Bates et al. 2021, J. ACM 68:43). For any losses
  of independent units with equal weights. It does not depend on an order.

Several hypotheses are tested in an order that was fixed on other data (`fixed_sequence`), as in Learn then Test
(Angelopoulos et al. 2021, arXiv 2110.01052) and Pareto testing (Laufer-Goldenberg et al. 2022, arXiv 2210.07913).
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Method = Literal["exact", "betting", "hoeffding-bentkus"]

_LARGEST_BET = 0.75
"""Part of the bet at which one whole loss would end the wealth."""
_MOST_TASKS = 10**7
_STEPS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The losses of a sample, by independent unit: the cluster, or the task where there are no clusters.

    Raises:
        ValueError: a loss is outside 0 to 1, a weight is not positive, or lengths differ.
    """

    values: tuple[float, ...]
    """Of each unit: the weighted mean of its tasks' losses."""
    weights: tuple[float, ...]
    """Of each unit: the sum of its tasks' weights."""
    is_plain: bool
    """Whether every unit is one task, asked once, and all weights are equal."""
    tasks: int
    most_weight: float = field(default=0.0)
    """The largest weight that a unit of the population may have, declared before the losses were seen; the largest of
    the sample if 0, which is valid only if weights are part of the design."""
    bet: float = field(default=0.0)
    """Of every unit, if the test is a bet: the part of the largest one, declared before the losses were seen. 0 for
    bets that follow the losses."""

    def __post_init__(self) -> None:
        if len(self.values) != len(self.weights):
            raise ValueError(f"{len(self.values)} losses have {len(self.weights)} weights")
        values, weights = np.array(self.values), np.array(self.weights)
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError("a loss is a number from 0 to 1")
        if not ((weights > 0) & (weights < np.inf)).all():
            raise ValueError("a weight is a positive number")
        if self.most_weight and self.weights and max(self.weights) > self.most_weight * (1 + 1e-9):
            raise ValueError(f"a unit weighs {max(self.weights):g}, more than the declared {self.most_weight:g}")
        if not 0 <= self.bet <= 1:
            raise ValueError(f"a bet is a part of the largest one, from 0 to 1, not {self.bet:g}")

    @property
    def risk(self) -> float:
        """The weighted mean loss of the sample; 0 without units."""
        total = math.fsum(self.weights)
        return math.fsum(v * w for v, w in zip(self.values, self.weights, strict=True)) / total if total else 0.0

    @property
    def method(self) -> Method:
        """The test with the most power among those that are valid for this sample."""
        return "exact" if self.is_plain and set(self.values) <= {0.0, 1.0} else "betting"

    def p_value(self, limit: float, *, seed: int = 0, delta: float = 0.05, method: Method | None = None) -> float:
        """The p-value of "the risk is above the limit"; 1 without units.

        Args:
            limit: from 0 to 1, both excluded.
            seed: of the order in which a bet sees the units; part of a certificate.
            delta: the level at which a bet is to reject soonest. The p-value is valid at every level.
            method: a valid one other than `self.method`.

        Raises:
            ValueError: the limit is not between 0 and 1, or the method is not valid for this sample.
        """
        if not 0 < limit < 1:
            raise ValueError(f"a limit is between 0 and 1, not {limit:g}")
        match method or self.method:
            case "exact":
                if self.method != "exact":
                    raise ValueError("the exact test needs losses of 0 or 1, one for each task, and equal weights")
                return exact(round(math.fsum(self.values)), len(self.values), limit)
            case "hoeffding-bentkus":
                if len(set(self.weights)) > 1:
                    raise ValueError("the Hoeffding-Bentkus test needs equal weights")
                return hoeffding_bentkus(self.risk, len(self.values), limit)
            case "betting":
                most = self.most_weight or max(self.weights, default=1.0)
                excesses = np.array(self.weights) / most * (np.array(self.values) - limit)
                return betting(excesses[_order(len(excesses), seed)], limit, delta=delta, bet=self.bet)

    def upper_bound(self, delta: float, *, seed: int = 0) -> float:
        """The smallest limit that is rejected at level `delta`: with confidence 1 - delta, the risk is at most this.

        1 if none is.
        """
        low, high = self.risk, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if 0 < middle < 1 and self.p_value(middle, seed=seed, delta=delta) <= delta:
                high = middle
            else:
                low = middle
        return high


def losses_of(
    losses: Mapping[str, Sequence[float]],
    *,
    clusters: Mapping[str, Hashable] | None = None,
    weights: Mapping[str, float] | None = None,
    most_weight: float = 0.0,
) -> Losses:
    """The losses of a sample of tasks.

    Args:
        losses: by task, one for each time that it was asked. They are averaged: repeated draws of a task are not
            independent, and taken as such they reject falsely in 15 to 25 % of cases where 5 % are allowed.
        clusters: of each task; each is its own if not given.
        weights: of each task; 1 if not given.
        most_weight: as in `Losses`, of a cluster.
    """
    clusters, weights = clusters or {}, weights or {}
    sums: dict[Hashable, list[float]] = {}
    for task, several in losses.items():
        weight = weights.get(task, 1.0)
        unit = sums.setdefault(clusters.get(task, ("task", task)), [0.0, 0.0, 0.0])
        unit[0] += weight * math.fsum(several) / len(several)
        unit[1] += weight
        unit[2] += 1
    return Losses(
        values=tuple(min(1.0, max(0.0, total / weight)) for total, weight, _ in sums.values()),
        weights=tuple(weight for _, weight, _ in sums.values()),
        is_plain=len({weight for _, weight, _ in sums.values()}) <= 1
        and all(tasks == 1 for *_, tasks in sums.values())
        and all(len(several) == 1 for several in losses.values()),
        tasks=len(losses),
        most_weight=most_weight,
    )


def exact(losses: int, n: int, limit: float) -> float:
    """P(Bin(n, limit) ≤ losses): how likely so few losses are if the risk is at the limit."""
    return 1.0 if losses >= n else float(special.bdtr(losses, n, limit))


def hoeffding_bentkus(mean: float, n: int, limit: float) -> float:
    """The smaller of Hoeffding's and Bentkus's bounds on P(a mean of n losses is as small as this)."""
    if n == 0 or mean >= limit:
        return 1.0
    hoeffding = math.exp(-n * _divergence(min(mean, limit), limit))
    bentkus = math.e * exact(math.ceil(n * mean - 1e-9), n, limit)
    return min(1.0, hoeffding, bentkus)


def _divergence(a: float, b: float) -> float:
    """Of two Bernoulli distributions (Kullback and Leibler)."""
    heads = a * math.log(a / b) if a > 0 else 0.0
    tails = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return max(0.0, heads + tails)


def betting(excesses: Iterable[float], limit: float, *, delta: float = 0.05, bet: float = 0.0) -> float:
    """1 / the largest wealth of a gambler who bets that excesses are below zero on average.

    Args:
        excesses: in a random order, from -limit to 1 - limit: of each unit, its share of the largest weight times its
            loss minus the limit.
        limit: the limit.
        delta: the level that sets the size of the bets.
        bet: part of the largest bet, 1 / (1 - limit), if all are to have one size; it may not depend on the excesses.
    """
    values = np.fromiter(excesses, dtype=np.float64)
    n = len(values)
    if n == 0:
        return 1.0
    if bet:
        return math.exp(-max(0.0, float(np.cumsum(winnings(values, limit, bet)).max())))
    seen = np.arange(1, n + 1)
    means = np.cumsum(values) / (seen + 1)  # of the excesses so far, with one made-up unit
    before = np.concatenate(([0.0], means[:-1]))
    spreads = 0.25 + np.concatenate(([0.0], np.cumsum((values - before) * (values - means))[:-1]))
    bets = np.minimum(np.sqrt(2 * math.log(1 / delta) * seen / (n * spreads)), _LARGEST_BET / (1 - limit))
    return math.exp(-max(0.0, float(np.cumsum(np.log1p(-bets * values)).max())))


def winnings(excesses: NDArray[np.float64], limit: float, bet: float) -> NDArray[np.float64]:
    """The logarithm of what a bet of one size multiplies the wealth by, for each excess (`betting`).

    Without a loss, the largest bet needs no more equal units than the exact test: 1 / (1 - limit) for each, which no
    valid test beats. One whole loss of the heaviest unit then leaves nothing, so a smaller bet is better where such
    losses are likely.
    """
    with np.errstate(divide="ignore"):
        found: NDArray[np.float64] = np.log1p(np.maximum(-1.0, -bet / (1 - limit) * excesses))
    return found


@lru_cache(maxsize=64)
def _order(n: int, seed: int) -> NDArray[np.int64]:
    order = list(range(n))
    random.Random(seed).shuffle(order)  # noqa: S311 - an order, not a secret
    return np.array(order, dtype=np.int64)


def fixed_sequence(p_values: Iterable[float], delta: float) -> int:
    """How many hypotheses are rejected, in the given order, before the first that is not.

    With probability 1 - delta none of them is true, if the order does not depend on the data of the p-values.
    """
    rejected = 0
    for p_value in p_values:
        if p_value > delta:
            break
        rejected += 1
    return rejected


def labels_needed(limit: float, delta: float, *, losses: int = 0, method: Method = "exact", bet: float = 0.0) -> int:
    """The fewest tasks, or equal clusters, with which a promise can be kept if this many losses are seen.

    Args:
        limit: the promised risk.
        delta: 1 - confidence.
        losses: those that are seen; with `betting` they are the last ones, which is the best case.
        method: the test.
        bet: of `betting`.

    Raises:
        ValueError: limit or delta is not between 0 and 1.
    """
    if not (0 < limit < 1 and 0 < delta < 1):
        raise ValueError("limit and delta are between 0 and 1")

    def p_value(n: int) -> float:
        match method:
            case "exact":
                return exact(losses, n, limit)
            case "hoeffding-bentkus":
                return hoeffding_bentkus(losses / n, n, limit)
            case "betting":
                return betting([-limit] * (n - losses) + [1 - limit] * losses, limit, delta=delta, bet=bet)

    high = losses + 1
    while p_value(high) > delta and high < _MOST_TASKS:
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if p_value(max(middle, losses + 1)) <= delta else (middle, high)
    return high
