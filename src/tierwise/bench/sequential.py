"""Tests that may be looked at after every task, and stop as soon as they know: wrong in 2.5 % of runs however often one
looks, in each direction.

Each direction is a bet against its null hypothesis, whose wealth grows only where the hypothesis is wrong: at 40 times
the stake it is rejected (Ville 1939). Shares and differences of pass and fail use the betting of Waudby-Smith & Ramdas
(2023, JRSS B 86:1), the stake spread over a fixed grid of bets (Cover 1991), so that the wealth follows from counts
alone and holds for any sample size. Means of seconds and dollars, which nothing bounds, use the asymptotic confidence
sequences of Waudby-Smith et al. (2024, Annals of Statistics 52:2613).

A plain test at the planned end would be sharper than any bet that had to hold all the way. So three tenths of the
error are kept for a single look at the end, when every planned task is in; both together stay below 2.5 % (Bonferroni).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Settled = Literal["PASS", "FAIL"]

TAIL = 0.025
"""How often a verdict may be wrong, in each direction."""

EARLY, LAST = 0.7 * TAIL, 0.3 * TAIL
"""What of it the walk may spend, and what the look at the end."""

LEAST = 50
"""Values from which on a mean is looked at: its test holds only for large samples."""

_NEVER = 1e-30
_BETS = 8
_BOLDEST = 0.98
"""The largest bet, as a share of the one that could lose everything."""

_WIDEST = 0.35
"""The share of tasks on which two runs differ, beyond which no bet is tuned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where a test stopped, or how far it came."""

    verdict: Settled | None
    tasks: int
    """That it needed, or has seen."""
    to_pass: float
    """The logarithm of the wealth of the bet against "bad"; `GOAL` is enough. NaN where the test is none of wealth."""
    to_fail: float

    @property
    def needed(self) -> int | None:
        """How many tasks more settle it if evidence grows on as it has grown; None when it does not grow."""
        most = max(self.to_pass, self.to_fail)
        if self.verdict is not None or not most > 0:
            return None
        return max(1, math.ceil(self.tasks * (GOAL - most) / most))


GOAL = math.log(1 / EARLY)


def paired(differences: Sequence[int], margin: float, *, is_last: bool) -> Stop:
    """Whether a candidate solves at most `margin` less than its baseline, or is worse at all.

    PASS rejects that it lost `margin` or more, FAIL that it lost nothing.

    Args:
        differences: candidate minus baseline for each task, in an order that says nothing: -1, 0 or 1.
        margin: of the share solved.
        is_last: whether these are all tasks that were planned.
    """
    values = np.asarray(differences, dtype=np.int64)
    won, lost = _counted(values > 0), _counted(values < 0)
    same = np.arange(1, len(values) + 1) - won - lost
    shy = shyest(margin)
    to_pass = wealth([(won, margin + 1), (same, margin), (lost, margin - 1)], shy)
    to_fail = wealth([(won, -1.0), (lost, 1.0)], shy)
    stop = _first(to_pass, to_fail)
    if stop.verdict is None and is_last and len(values):
        n, wins, losses = len(values), int(won[-1]), int(lost[-1])
        passes = noninferior(wins, losses, n, margin) <= LAST
        fails = float(special.bdtr(wins, wins + losses, 0.5)) <= LAST if wins + losses else False
        return _at_end(stop, passes=passes, fails=fails)
    return stop


def paired_interval(wins: int, losses: int, n: int, margin: float) -> tuple[float, float]:
    """Every difference that the bets have not rejected after these tasks; it may be looked at after each.

    Consistent with `paired`: its lower end lies above `-margin` exactly where PASS is settled.
    """
    shy = shyest(margin)

    def low(wins: int, losses: int) -> float:
        def is_rejected(difference: float) -> bool:
            counts = ((wins, 1.0), (n - wins - losses, 0.0), (losses, -1.0))
            steps = [(np.array([count]), gain - difference) for count, gain in counts]
            return float(wealth(steps, shy)[0]) >= GOAL

        rejected, kept = -1.0, (wins - losses) / n
        for _ in range(22):  # to a millionth
            middle = (rejected + kept) / 2
            rejected, kept = (middle, kept) if is_rejected(middle) else (rejected, middle)
        return rejected

    return low(wins, losses), -low(losses, wins)


def noninferior(wins: int, losses: int, n: int, margin: float) -> float:
    """The p value of "lost `margin` or more", by Tango's score test (1998, Statistics in Medicine 17:891)."""
    b = -wins - losses - (2 * n - wins + losses) * margin
    c = losses * margin * (1 + margin)
    share_lost = (math.sqrt(b * b - 8 * n * c) - b) / (4 * n)
    spread = n * (2 * share_lost - margin - margin * margin)
    return float(special.ndtr(-(wins - losses + n * margin) / math.sqrt(spread))) if spread > 0 else 1.0


def share(hits: Sequence[bool], least: float, *, is_last: bool) -> Stop:
    """Whether a share of at least `least` is reached by all tasks like these: of a quantile, the side that it is on."""
    values = np.asarray(hits, dtype=bool)
    hit = _counted(values)
    missed = np.arange(1, len(values) + 1) - hit
    to_pass = wealth([(hit, 1 - least), (missed, -least)], 0.05)
    to_fail = wealth([(hit, least - 1), (missed, least)], 0.02)
    stop = _first(to_pass, to_fail)
    if stop.verdict is None and is_last and len(values):
        n, some = len(values), int(hit[-1])
        passes = 1 - float(special.bdtr(some - 1, n, least)) <= LAST if some else False
        return _at_end(stop, passes=passes, fails=float(special.bdtr(some, n, least)) <= LAST)
    return stop


def mean_below_zero(values: Sequence[float], planned: int, *, is_last: bool) -> Stop:
    """Whether the mean of values like these lies below zero (PASS) or above (FAIL)."""
    seen = np.asarray(values, dtype=float)
    n = np.arange(1, len(seen) + 1)
    mean = np.cumsum(seen) / n
    variance = np.maximum(0, np.cumsum(seen * seen) / n - mean * mean)
    error, most = np.sqrt(variance / n), width(n, planned)
    third = np.cumsum(seen**3) / n - 3 * mean * np.cumsum(seen * seen) / n + 2 * mean**3
    bend = np.where(variance > _NEVER, third, 0) / np.where(variance > _NEVER, variance, 1) ** 1.5 / np.sqrt(n)
    is_open = n < LEAST
    to_pass = np.where(is_open | (mean - error * straightened(-most, bend) > 0), -math.inf, math.inf)
    to_fail = np.where(is_open | (mean - error * straightened(most, bend) <= 0), -math.inf, math.inf)
    stop = _first(to_pass, to_fail)
    if stop.verdict is None and is_last and len(seen) >= LEAST:
        t, last = float(special.stdtrit(len(seen) - 1, 1 - LAST)), math.sqrt(variance[-1] / (len(seen) - 1))
        high, low = (mean[-1] - last * straightened(np.array([side]), bend[-1:])[0] for side in (-t, t))
        return _at_end(stop, passes=bool(high <= 0), fails=bool(low > 0))
    return stop


def straightened(t: Floats, bend: Floats) -> Floats:
    """Where a mean of skewed values really is, in standard errors, when a plain one would be at `t` (Hall 1992).

    As `statistics.mean` does it. Without this, means of log-normal values (σ = 1) pass wrongly in 12 % of runs.

    Args:
        t: standard errors.
        bend: skewness / √n.
    """
    small = np.abs(bend) < 1e-9
    safe = np.where(small, 1.0, bend)
    bent = 3 / safe * (np.cbrt(1 + safe * (t - safe / 6)) - 1)
    return np.where(small, t, bent)


def width(n: NDArray[np.int64], planned: int) -> Floats:
    """Half of a mean's asymptotic confidence sequence, in standard errors, for one side.

    Waudby-Smith et al. 2024, §B: one-sided, and narrowest near half of the planned tasks.
    """
    doubled = 2 * EARLY
    rho_squared = (-2 * math.log(doubled) + math.log(1 - 2 * math.log(doubled))) / max(1.0, planned / 2)
    spread = n * rho_squared + 1
    found: Floats = np.sqrt(2 * spread / (n * rho_squared) * np.log1p(np.sqrt(spread) / (2 * EARLY)))
    return found


def shyest(margin: float) -> float:
    """The smallest bet worth placing, as a share of the largest: best for `margin` where two runs differ widely."""
    return min(0.5, max(0.02, margin / _WIDEST))


def wealth(steps: Sequence[tuple[NDArray[np.int64], float]], shy: float) -> Floats:
    """The logarithm of what a stake of 1, spread over a grid of bets, has become after every task.

    Args:
        steps: how often each gain has come so far, and the gain, whose mean is at most 0 under the null hypothesis.
        shy: the smallest bet, as a share of the largest.
    """
    worst = max(-gain for _, gain in steps)
    if worst <= 0:  # nothing can be lost, so nothing is proved by winning
        return np.full(len(steps[0][0]), math.inf)
    bets = np.geomspace(shy, _BOLDEST, _BETS) / worst
    grown = sum(np.multiply.outer(np.log1p(bets * gain), count) for count, gain in steps)
    return np.asarray(special.logsumexp(grown, axis=0) - math.log(_BETS), dtype=float)


def _counted(seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.cumsum(seen, dtype=np.int64)


def _first(to_pass: Floats, to_fail: Floats) -> Stop:
    if not len(to_pass):
        return Stop(verdict=None, tasks=0, to_pass=0.0, to_fail=0.0)
    passed, failed = to_pass >= GOAL, to_fail >= GOAL
    is_over = passed | failed
    at = int(is_over.argmax()) if is_over.any() else len(to_pass) - 1
    verdict: Settled | None = "PASS" if passed[at] else "FAIL" if failed[at] else None
    return Stop(verdict=verdict, tasks=at + 1, to_pass=float(to_pass[at]), to_fail=float(to_fail[at]))


def _at_end(stop: Stop, *, passes: bool, fails: bool) -> Stop:
    verdict: Settled | None = "PASS" if passes else "FAIL" if fails else None
    return Stop(verdict=verdict, tasks=stop.tasks, to_pass=stop.to_pass, to_fail=stop.to_fail)
