"""Quantiles of Student's t, without scipy: every comparison needs one, and scipy takes 0.3 s of CPU to load."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_TERMS = 10_000
_CLOSE = 1e-15


@lru_cache(maxsize=1024)
def quantile(freedom: float, tail: float) -> float:
    """The t that is exceeded with a chance of `tail`, to ten digits.

    Args:
        freedom: degrees of freedom, above 0, not only whole ones.
        tail: below a half.
    """
    low, high = 0.0, 1.0
    while beyond(high, freedom) > tail:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(middle, freedom) > tail else (low, middle)
    return high


def beyond(t: float, freedom: float) -> float:
    """The chance that Student's t exceeds `t`, which is not negative (Abramowitz & Stegun 1964, 26.7.1)."""
    whole = freedom + t * t
    return _beta(freedom / whole, t * t / whole, freedom / 2, 0.5) / 2


def _beta(x: float, y: float, a: float, b: float) -> float:
    """The regularised incomplete beta function at x = 1 - y, by its continued fraction (26.5.8), after Lentz (1976)."""
    if x <= 0 or y <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(y, x, b, a)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for factor in (even, odd):
            c, d = _not_zero(1 + factor / c), 1 / _not_zero(1 + factor * d)
            found *= c * d
        if abs(c * d - 1) < _CLOSE:
            break
    return math.exp(logarithm) * found / a


def _not_zero(value: float) -> float:
    return value or _TINY
