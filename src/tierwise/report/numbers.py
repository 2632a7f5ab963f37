"""Formats numbers for readers: with units and significant digits, and – for unknown values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.stats.estimates import Estimate

UNKNOWN = "–"
NO_CHECK = "no check"


_DUST = 1e-12  # of arithmetic: no share that is measured is so small


def percent(share: float) -> str:
    """A share, or a saving, which is below 0 where more is spent.

    Below 1 % it has two digits, above 99 % one after the point: it is rounded to 0 % or 100 % only where it is 0 or 1.
    One that is nearer to 0 than 0.0001 % says so.
    """
    if abs(share) < _DUST:
        return "0 %"
    if share == 1 or 0.01 <= share <= 0.99 or share <= -0.01:
        return f"{100 * share:.0f} %"
    if abs(share) < 1e-6:
        return "< 0.0001 %" if share > 0 else "> -0.0001 %"
    return f"{100 * share:.2g} %" if share < 0.5 else f"{min(99.9, 100 * share):.1f} %"


def points(difference: float) -> str:
    """A difference of two shares, in percentage points, with its sign."""
    return f"{100 * difference:+.1f}"


def rate(share: float, unit: float) -> str:
    """Percentage points per `unit` dollars or seconds, with three significant digits or fewer."""
    value = 100 * share * unit
    return f"{value:+.2f}" if abs(value) < 1 else f"{value:+.1f}" if abs(value) < 100 else f"{value:+.0f}"


def unit_for(share: float) -> float:
    """The power of ten of dollars or seconds that gains between 1 and 10 percentage points."""
    return 10.0 ** -math.floor(math.log10(100 * abs(share))) if share else 1.0


def ranged(of: Estimate | None, form: Callable[[float], str]) -> str:
    """An estimate with its interval: `12 % [10 % to 14 %]`."""
    if of is None:
        return UNKNOWN
    if of.interval is None:
        return form(of.value)
    high = UNKNOWN if of.interval.high is None else form(of.interval.high)
    return f"{form(of.value)} [{form(of.interval.low)} to {high}]"


def probability(value: float) -> str:
    """A probability, never shown as 0 % or 100 %."""
    return "> 99 %" if value > 0.99 else "< 1 %" if value < 0.01 else f"{100 * value:.0f} %"


def p_value(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def seconds(value: float) -> str:
    if abs(value) < 1:
        return f"{value * 1000:.0f} ms" if abs(value) >= 0.01 else f"{value * 1000:.1f} ms"
    return f"{value:.2f} s" if abs(value) < 10 else f"{value:.1f} s"


def dollars(value: float, digits: int = 3) -> str:
    """Dollars with at least two decimals, and enough of them for `digits` significant digits; never an exponent."""
    if value == 0:
        return "$0"
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{'-' if value < 0 else ''}${abs(value):.{max(2, digits - 1 - exponent)}f}"


def short_dollars(value: float) -> str:
    """Dollars with two significant digits, for narrow columns."""
    return dollars(value, digits=2)


def count(value: float | None) -> str:
    """A mean count."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def interval(estimate: Estimate, write: Callable[[float], str]) -> str:
    """`[0.8 s, 1.2 s]`, or `n=1, no interval`."""
    if estimate.interval is None:
        return f"n={estimate.n}, no interval"
    high = "∞" if estimate.interval.high is None else write(estimate.interval.high)
    return f"[{write(estimate.interval.low)}, {high}]"


def value(estimate: Estimate | None, write: Callable[[float], str]) -> str:
    return UNKNOWN if estimate is None else write(estimate.value)
