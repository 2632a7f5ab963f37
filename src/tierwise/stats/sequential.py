"""Tests that may be evaluated before their end, and stop once they are decided: wrong in at most 2.5 % of runs, in each
direction, over all looks.

`alpha_spending.py` defines the looks, and the boundaries at each. Whether there is any loss, and on which side of a
limit a quantile lies, is tested by exact counts; a loss of less than a margin by Tango's score test; means of seconds
and dollars by t tests corrected for skewness, for large samples. The intervals are repeated confidence intervals
(Jennison & Turnbull 1989, JRSS B 51:305): all of them together cover the truth in 95 % of runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from scipy import special

from tierwise.stats import alpha_spending
from tierwise.stats.estimates import Interval, monotone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Settled = Literal["PASS", "FAIL"]

LEAST = 50
"""The smallest number of values at which a mean is tested; the test is valid only for large samples."""

_STEPS = 24
"""Bisection steps, to find an end of an interval to a millionth."""

_NEVER = 1e-24


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingPoint:
    """The look at which a test stopped, or the last one so far."""

    verdict: Settled | None
    tasks: int
    """Tasks seen at that look; 0 before the first look."""
    width: float
    """Of an interval at that look, on each side, in standard errors; infinite before the first look."""
    needed: int | None
    """How many more tasks decide the test if the observed effect is the true one; None when it is decided, or the
    effect is zero."""


def paired(differences: Sequence[int], margin: float, planned: int, *, is_last: bool) -> StoppingPoint:
    """Whether a candidate solves at most `margin` less than its baseline, or is worse at all.

    PASS rejects that it lost `margin` or more, FAIL that it lost nothing.

    Args:
        differences: candidate minus baseline for each task, in an order independent of them: -1, 0 or 1.
        margin: of the share solved.
        planned: tasks of the whole test.
        is_last: whether no more tasks will come.
    """
    values = np.asarray(differences, dtype=np.int64)
    at = _Looks.of(len(values), planned, is_last=is_last)
    won, lost = at.counted(values > 0), at.counted(values < 0)
    too_many = alpha_spending.counts([sum(pair) for pair in zip(won, lost, strict=True)], 0.5, at.spent)
    kept = [score(*seen, -margin) for seen in zip(won, lost, at.tasks, strict=True)]
    worse = [score(*seen, 0.0) for seen in zip(lost, won, at.tasks, strict=True)]
    return at.first(
        passes=[z >= width for z, width in zip(kept, at.widths, strict=True)],
        fails=[losses >= edge for losses, edge in zip(lost, too_many, strict=True)],
        strength=[max(pair) for pair in zip(kept, worse, strict=True)],
    )


def paired_interval(wins: int, losses: int, n: int, stop: StoppingPoint) -> Interval | None:
    """All differences that are not rejected at the look where a test stopped; None before the first look.

    Consistent with `paired`: its lower end is above `-margin` exactly where the verdict is PASS, and its upper end is
    at most 0 where it is FAIL.
    """
    if not n:
        return None

    def low(wins: int, losses: int) -> float:
        rejected, kept = -1.0, (wins - losses) / n
        for _ in range(_STEPS):
            middle = (rejected + kept) / 2
            is_rejected = score(wins, losses, n, middle) >= stop.width
            rejected, kept = (middle, kept) if is_rejected else (rejected, middle)
        return rejected

    high = -low(losses, wins)
    return Interval(low(wins, losses), min(high, 0.0) if stop.verdict == "FAIL" else max(high, 0.0))


def score(wins: int, losses: int, n: int, difference: float) -> float:
    """How many standard errors the wins are above what a difference of shares would give.

    Tango's score test for pairs (1998, Statistics in Medicine 17:891).
    """
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    share_lost = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    spread = n * (2 * share_lost + difference * (1 - difference))
    over = wins - losses - n * difference
    return over / math.sqrt(spread) if spread > 0 else 0.0


def share(hits: Sequence[bool], least: float, planned: int, *, is_last: bool) -> StoppingPoint:
    """Whether all tasks like these reach a share of at least `least`; for a quantile, its side of a limit."""
    values = np.asarray(hits, dtype=bool)
    at = _Looks.of(len(values), planned, is_last=is_last)
    hit = at.counted(values)
    missed = [n - k for k, n in zip(hit, at.tasks, strict=True)]
    enough = alpha_spending.counts(at.tasks, least, at.spent)
    too_many = alpha_spending.counts(at.tasks, 1 - least, at.spent)
    return at.first(
        passes=[k >= edge for k, edge in zip(hit, enough, strict=True)],
        fails=[k >= edge for k, edge in zip(missed, too_many, strict=True)],
        strength=[abs(k - n * least) / math.sqrt(n * least * (1 - least)) for k, n in zip(hit, at.tasks, strict=True)],
    )


def mean_below_zero(values: Sequence[float], planned: int, *, is_last: bool) -> StoppingPoint:
    """Whether the mean of values like these is below zero (PASS) or above (FAIL)."""
    seen = np.asarray(values, dtype=float)
    at = _Looks.of(len(seen), planned, is_last=is_last, least=LEAST)
    passes, fails, strength = [], [], []
    for n, width in zip(at.tasks, at.widths, strict=True):
        low, high, away = _mean_ends(seen[:n], width)
        passes.append(high <= 0)
        fails.append(low > 0)
        strength.append(away)
    return at.first(passes=passes, fails=fails, strength=strength)


def _mean_ends(values: Floats, width: float) -> tuple[float, float, float]:
    """The ends of a mean's interval, and how many standard errors zero is away."""
    n, mean = len(values), float(values.mean())
    away = values - mean
    variance = float(away @ away) / n
    if variance <= _NEVER * max(1.0, mean * mean):  # at least `LEAST` equal values need no test
        return mean, mean, math.inf if mean else 0.0
    error = math.sqrt(variance / (n - 1))
    bend = float((away**3).mean()) / variance**1.5 / math.sqrt(n)
    t = -float(special.stdtrit(n - 1, special.ndtr(-width)))
    return mean - error * monotone(t, bend), mean - error * monotone(-t, bend), abs(mean) / error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looks:
    """The looks of a test, and the boundaries there."""

    seen: int
    tasks: list[int]
    spent: list[float]
    widths: tuple[float, ...]
    later: list[tuple[int, float]]
    """Tasks and width of the planned looks that are still to come."""
    least: int

    @classmethod
    def of(cls, seen: int, planned: int, *, is_last: bool, least: int = 1) -> Self:
        tasks = alpha_spending.looks(seen, planned, is_last=is_last, least=least)
        spent = alpha_spending.spent(tasks, planned, is_last=is_last)
        whole = alpha_spending.looks(planned, planned, is_last=True, least=least)
        wide = alpha_spending.widths(tuple(whole), tuple(alpha_spending.spent(whole, planned, is_last=True)))
        return cls(
            seen=seen,
            tasks=tasks,
            spent=spent,
            widths=alpha_spending.widths(tuple(tasks), tuple(spent)),
            later=[] if is_last else [one for one in zip(whole, wide, strict=True) if one[0] > seen],
            least=least,
        )

    def counted(self, values: NDArray[np.bool_]) -> list[int]:
        """How many are true so far, at each look."""
        return [int(values[:tasks].sum()) for tasks in self.tasks]

    def first(self, passes: Sequence[bool], fails: Sequence[bool], strength: Sequence[float]) -> StoppingPoint:
        """The first look that decides the test; `strength` is the distance from the null hypothesis, in standard
        errors.
        """
        for tasks, width, is_good, is_bad in zip(self.tasks, self.widths, passes, fails, strict=True):
            if is_good or is_bad:
                return StoppingPoint(verdict="PASS" if is_good else "FAIL", tasks=tasks, width=width, needed=None)
        if not self.tasks:
            first = self.later[0][0] if self.later else self.least
            return StoppingPoint(verdict=None, tasks=0, width=math.inf, needed=max(1, first - self.seen))
        needed = self._needed(self.tasks[-1], strength[-1])
        return StoppingPoint(verdict=None, tasks=self.tasks[-1], width=self.widths[-1], needed=needed)

    def _needed(self, tasks: int, strength: float) -> int | None:
        """Standard errors shrink with √n."""
        if strength <= 0:
            return None
        for later, width in self.later:
            if strength * math.sqrt(later / tasks) >= width:
                return later - self.seen
        last = self.later[-1][1] if self.later else self.widths[-1]
        return max(1, math.ceil(tasks * (last / strength) ** 2) - self.seen)
