"""What a workload can detect, before money is spent: differences, tasks, dollars and minutes.

A paired comparison of two variants depends on the tasks on which they disagree: a share ψ, the discordance. Everything
here is at 80 % power and two-sided 5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable

POWER = 0.8

_TAIL = 0.025
_MOST_TASKS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDesign:
    """How a workload is measured, and the assumptions about it."""

    discordance: float
    """The share of tasks that exactly one of two variants solves, each asked once."""
    repeats: int = 1
    steady: float = 0.5
    """The share of the disagreement that returns with every repeat; only the rest can be averaged out."""
    members: float = 1.0
    """Tasks per cluster."""
    icc: float = 0.0
    """The correlation of differences within a cluster."""

    def __post_init__(self) -> None:
        """Reject values that are not shares, or counts below one."""
        shares = {"discordance": self.discordance, "steady": self.steady, "icc": self.icc}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise SpecError(f"{share} is not a share between 0 and 1", field=name)
        if self.discordance == 0:
            raise SpecError("two variants that never disagree have no difference to detect", field="discordance")
        if self.repeats < 1 or self.members < 1:
            raise SpecError("repeats and tasks per cluster must be 1 or more", field="repeats")

    @property
    def effect(self) -> float:
        """By how much repeats and clusters change the variance of a difference (Kish 1965 · Miller 2024, §5)."""
        return (self.steady + (1 - self.steady) / self.repeats) * (1 + (self.members - 1) * self.icc)

    @property
    def is_plain(self) -> bool:
        """Whether tasks are independent and asked once, so that McNemar's test is the one to plan for."""
        return self.repeats == 1 and self.is_independent

    @property
    def is_independent(self) -> bool:
        """Whether tasks are independent of each other."""
        return self.members == 1 or self.icc == 0


def detectable(tasks: int, design: PairedDesign) -> float | None:
    """The smallest true difference that is detected, by Connor's formula; None where even full discordance is too
    little.

    Connor 1987, Biometrics 43:207: √n·δ = z₁√ψ + z₂√(ψ - δ²), solved for δ.
    """
    return _smallest(lambda delta: needed(delta, design, tasks / design.members) <= tasks, design.discordance)


def needed(difference: float, design: PairedDesign, clusters: float = math.inf) -> float:
    """The number of tasks that detects a true difference (Connor 1987); fractional.

    Args:
        difference: between 0 and the discordance.
        design: of the measurement.
        clusters: for t quantiles at one degree of freedom less; z for infinitely many.
    """
    psi = design.discordance
    if not 0 < difference <= psi:
        raise SpecError(
            f"a difference of {difference:g} is impossible; it must be more than 0, and at most the share of tasks on "
            f"which the two disagree, {psi:g}",
            field="difference",
        )
    one, two = _quantiles(clusters, design)
    root = one * math.sqrt(psi) + two * math.sqrt(max(0.0, psi - difference**2))
    return float(root**2 / difference**2 * design.effect)


def _quantiles(clusters: float, design: PairedDesign) -> tuple[float, float]:
    if math.isinf(clusters) or design.is_independent:
        return float(special.ndtri(1 - _TAIL)), float(special.ndtri(POWER))
    freedom = max(1.0, clusters - 1)
    return float(special.stdtrit(freedom, 1 - _TAIL)), float(special.stdtrit(freedom, POWER))


def tasks_needed(difference: float, design: PairedDesign) -> int | None:
    """The number of whole tasks that detects a true difference, with as many clusters as they fill, if any does."""
    low, high = 1, 1
    while needed(difference, design, high / design.members) > high:
        low, high = high, high * 2
        if high > _MOST_TASKS:
            return None
    while low < high:
        middle = (low + high) // 2
        enough = needed(difference, design, middle / design.members) <= middle
        low, high = (low, middle) if enough else (middle + 1, high)
    return high


def exact_power(tasks: int, discordance: float, difference: float) -> float:
    """The probability that the exact McNemar test gives p ≤ 5 %, over all possible tables (Duffy 1984)."""
    found = np.arange(tasks + 1)
    weight = stats.binom.pmf(found, tasks, discordance)
    critical = stats.binom.ppf(_TAIL, found, 0.5)
    critical = np.where(stats.binom.cdf(critical, found, 0.5) > _TAIL, critical - 1, critical)
    towards = min(1.0, (discordance + difference) / (2 * discordance))
    rejects = stats.binom.cdf(critical, found, 1 - towards) + stats.binom.cdf(critical, found, towards)
    return float((weight * rejects).sum())


def exactly_detectable(tasks: int, discordance: float) -> float | None:
    """As `detectable`, for the exact test that `tierwise bench` reports; it needs a slightly larger difference."""
    return _smallest(lambda delta: exact_power(tasks, discordance, delta) >= POWER, discordance)


def _smallest(is_found: Callable[[float], bool], most: float) -> float | None:
    """By bisection: `is_found` must be monotone."""
    if not is_found(most):
        return None
    low, high = 0.0, most
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (low, middle) if is_found(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCost:
    """What one task costs, for both variants together, asked once."""

    dollars: float | None
    seconds: float | None
    concurrency: int = 1
    """Actions in flight at any moment."""

    def minutes(self, tasks: int, repeats: int) -> float | None:
        return None if self.seconds is None else tasks * repeats * self.seconds / self.concurrency / 60

    def bill(self, tasks: int, repeats: int) -> float | None:
        """In dollars; None where the price is unknown, as the minutes where the time is."""
        return None if self.dollars is None else tasks * repeats * self.dollars
