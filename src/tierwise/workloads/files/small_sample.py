"""What a number of tasks can show. Apart from the statistics so that a workload can be checked without the extra."""

from __future__ import annotations

from math import ceil, sqrt

FEW = 30
"""Tasks below which a workload is good for trying things out, and not for deciding."""

_Z = 1.959964
_POWER = 2.801585
"""Normal quantiles of 97.5 % and of 80 %, added up: a two-sided test at 5 % that finds what is there 4 times in 5."""

_DISAGREE = 0.15
"""Share of tasks on which two tiers of one checkpoint differ, as a rule of thumb."""


def small_sample(tasks: int) -> str:
    """What so few tasks cannot show; empty when they are enough to say something."""
    if not 0 < tasks < FEW:
        return ""
    width = 100 * _Z / (2 * sqrt(tasks + _Z**2))  # half of Wilson's interval at a share of one half
    if tasks < 6:
        shown = "no difference between tiers can be significant, whatever happens"  # 2 × ½⁵ > 0.05: exact McNemar
    else:
        least = min(100, ceil(100 * _POWER * sqrt(_DISAGREE / tasks)))
        shown = f"differences between tiers below about {least} points will not be seen"
    return f"{tasks} {'task' if tasks == 1 else 'tasks'}: a share is known to ±{width:.0f} points at best, and {shown}"
