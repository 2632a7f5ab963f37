"""A compact histogram of durations, with logarithmic bins, which can be merged across actions and runs."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_PER_DOUBLING = 4
_SHORTEST = 1e-6
"""Seconds; shorter durations count as this."""


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram of durations in seconds. Quantiles are accurate to 9 %."""

    count: int = 0
    seconds: float = 0.0
    """The sum."""
    longest: float = 0.0
    bins: dict[int, int] = {}
    """Counts by bin: bin b ends at 2^((b+1)/4) µs."""

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Durations:
        values = list(seconds)
        log2 = math.log2
        bins = Counter([int(_PER_DOUBLING * log2(value / _SHORTEST)) for value in values if value > _SHORTEST])
        if short := len(values) - bins.total():
            bins[0] += short
        return cls(
            count=len(values),
            seconds=round(math.fsum(values), 6),
            longest=round(max(values, default=0.0), 6),
            bins=dict(sorted(bins.items())),
        )

    def __add__(self, other: Durations) -> Durations:
        return Durations(
            count=self.count + other.count,
            seconds=self.seconds + other.seconds,
            longest=max(self.longest, other.longest),
            bins=dict(sorted((Counter(self.bins) + Counter(other.bins)).items())),
        )

    def quantile(self, share: float) -> float | None:
        """The quantile at `share` (0 to 1) in seconds: the midpoint of its bin; None without durations."""
        reached = 0
        for number, count in sorted(self.bins.items()):
            reached += count
            if reached >= share * self.count:
                return min(self.longest, _SHORTEST * 2 ** ((number + 0.5) / _PER_DOUBLING))
        return None
