"""Tests that may be looked at before their end, and stop as soon as they know: wrong in at most 2.5 % of runs, in each
direction, over all their looks.

`alpha_spending.py` sets when one looks, and how much must be seen then. A loss at all, and the side of a quantile, are
judged by exact counts; a loss of less than a margin by Tango's score test; means of seconds and dollars by t tests with
the skewness taken out, for large samples. The intervals are repeated ones (Jennison & Turnbull 1989, JRSS B 51:305):
all of them together hold the truth in 95 % of runs.
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
"""Values from which on a mean is looked at: its test holds only for large samples."""

_STEPS = 24
"""Of halving, to find an end of an interval to a millionth."""

_NEVER = 1e-24


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingPoint:
    """The look at which a test stopped, or the last one so far."""

    verdict: Settled | None
    tasks: int
    """That had been seen then; 0 before the first look."""
    width: float
    """Of an interval at that look, to each side, in standard errors; infinite before the first look."""
    needed: int | None
    """How many tasks more settle it if what was seen is the truth; None when it is settled, or nothing grows."""


def paired(differences: Sequence[int], margin: float, planned: int, *, is_last: bool) -> StoppingPoint:
    """Whether a candidate solves at most `margin` less than its baseline, or is worse at all.

    PASS rejects that it lost `margin` or more, FAIL that it lost nothing.

    Args:
        differences: candidate minus baseline for each task, in an order that says nothing: -1, 0 or 1.
        margin: of the share solved.
        planned: tasks of the whole test.
        is_last: whether no more will come.
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
    """Every difference that is not rejected at the look where a test stopped; None before the first one.

    Consistent with `paired`: its lower end lies above `-margin` exactly where PASS is settled, and its upper end not
    above 0 where FAIL is.
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
    """How many standard errors the wins lie above what a difference of shares would bring.

    Tango's score test for pairs (1998, Statistics in Medicine 17:891).
    """
    b = -wins - losses + (2 * n - wins + losses) * difference
    c = -losses * difference * (1 - difference)
    share_lost = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    spread = n * (2 * share_lost + difference * (1 - difference))
    over = wins - losses - n * difference
    return over / math.sqrt(spread) if spread > 0 else 0.0


def share(hits: Sequence[bool], least: float, planned: int, *, is_last: bool) -> StoppingPoint:
    """Whether a share of at least `least` is reached by all tasks like these: of a quantile, the side that it is on."""
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
    """Whether the mean of values like these lies below zero (PASS) or above (FAIL)."""
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
    if variance <= _NEVER * max(1.0, mean * mean):  # all the same, which from `LEAST` values on speaks for itself
        return mean, mean, math.inf if mean else 0.0
    error = math.sqrt(variance / (n - 1))
    bend = float((away**3).mean()) / variance**1.5 / math.sqrt(n)
    t = -float(special.stdtrit(n - 1, special.ndtr(-width)))
    return mean - error * monotone(t, bend), mean - error * monotone(-t, bend), abs(mean) / error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looks:
    """Where a test is looked at, and what it takes there."""

    seen: int
    tasks: list[int]
    spent: list[float]
    widths: tuple[float, ...]
    later: list[tuple[int, float]]
    """Tasks and width of the looks that are planned and still to come."""
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
        """How many so far, at each look."""
        return [int(values[:tasks].sum()) for tasks in self.tasks]

    def first(self, passes: Sequence[bool], fails: Sequence[bool], strength: Sequence[float]) -> StoppingPoint:
        """The first look that settles it; `strength` is how many standard errors it is away from what is rejected."""
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
