"""What a small number of tasks can show. Without SciPy, so that a workload can be checked without the extra."""

from __future__ import annotations

from math import ceil, sqrt

SMALL = 30
"""Below this number of tasks, a workload is too small for decisions."""

_Z = 1.959964
_POWER = 2.801585
"""Sum of the 97.5 % and 80 % normal quantiles: a two-sided test at 5 % with a power of 80 %."""

_DISAGREE = 0.15
"""Assumed share of tasks on which two tiers of one checkpoint differ."""


def small_sample(tasks: int) -> str:
    """A note on what this number of tasks cannot show; empty if it is large enough."""
    if not 0 < tasks < SMALL:
        return ""
    width = 100 * _Z / (2 * sqrt(tasks + _Z**2))  # half of Wilson's interval at a share of one half
    if tasks < 6:
        shown = "no difference between tiers can be significant"  # 2 × ½⁵ > 0.05: exact McNemar
    else:
        smallest = min(100, ceil(100 * _POWER * sqrt(_DISAGREE / tasks)))
        shown = f"differences between tiers below about {smallest} points will not be detected"
    return (
        f"{tasks} {'task' if tasks == 1 else 'tasks'}: a share is accurate to ±{width:.0f} points at best, and {shown}"
    )
