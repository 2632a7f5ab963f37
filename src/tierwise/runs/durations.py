"""Many durations in a few numbers: counted in bins that grow by a fifth, so that actions and runs can be added up."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_PER_DOUBLING = 4
_SHORTEST = 1e-6
"""Seconds; what is shorter counts as this long."""


class Durations(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, over and over; a quantile is right to 9 %."""

    count: int = 0
    seconds: float = 0.0
    """All together."""
    longest: float = 0.0
    bins: dict[int, int] = {}
    """How many there were by their length: bin b ends at 2^((b+1)/4) µs."""

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
        """The middle of the bin in which this share of them is reached; None when there are none."""
        reached = 0
        for number, count in sorted(self.bins.items()):
            reached += count
            if reached >= share * self.count:
                return min(self.longest, _SHORTEST * 2 ** ((number + 0.5) / _PER_DOUBLING))
        return None
