"""p values adjusted for several comparisons, so that each can be read against 5 % as if it were the only one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


SIGNIFICANT = 0.05


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted to bound the chance of any false claim (Holm 1979): for questions like `which tiers beat this one`."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, worst = [1.0] * len(p_values), 0.0
    for rank, position in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = worst
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted to bound the share of false claims (Benjamini & Hochberg 1995): for scans over many slices."""
    n = len(p_values)
    order = sorted(range(n), key=p_values.__getitem__, reverse=True)
    adjusted, least = [1.0] * n, 1.0
    for above, position in enumerate(order):
        least = min(least, p_values[position] * n / (n - above))
        adjusted[position] = least
    return adjusted
