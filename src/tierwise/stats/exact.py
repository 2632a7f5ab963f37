"""The interval of a share that never covers less than it says, at the price of being wider than Wilson's."""

from __future__ import annotations

from scipy import special

from tierwise.stats.estimates import Interval

_TAIL = 0.025


def clopper_pearson(successes: int, n: int) -> Interval:
    """The exact interval of a share (Clopper & Pearson 1934), for independent tasks; `n` is 1 or more."""
    low = 0.0 if successes == 0 else float(special.betaincinv(successes, n - successes + 1, _TAIL))
    high = 1.0 if successes == n else float(special.betaincinv(successes + 1, n - successes, 1 - _TAIL))
    return Interval(low, high)
