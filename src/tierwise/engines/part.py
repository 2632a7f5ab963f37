"""Which part of something is for one of several processes that serve the same endpoint."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One of `count` parts, as equal as possible."""

    number: int = 0
    """From 0."""
    count: int = 1

    def of(self, total: int) -> int:
        """How much of a total it is; all parts add up to the total."""
        return total // self.count + (self.number < total % self.count)
