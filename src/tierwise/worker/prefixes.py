"""Caches of prompts and answers that have been, for those that begin alike. Bounded in bytes: the least recently used
goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers.cache_utils import DynamicCache

from tierwise.worker import caches


@dataclass(frozen=True, slots=True)
class Known:
    """A beginning that need not be computed again."""

    length: int
    """How many of the asked tokens it covers."""
    cache: DynamicCache
    """Of one row, with at least as many columns."""
    logits: Tensor | None
    """After the last of them, where it covers all."""


class Prefixes:
    """Remembers caches by their tokens.

    Args:
        most_bytes: of keys and values; 0 remembers nothing.
    """

    def __init__(self, most_bytes: int) -> None:
        self.bytes = 0
        self._most = most_bytes
        self._held: OrderedDict[tuple[int, ...], tuple[DynamicCache, Tensor | None, int]] = OrderedDict()

    def keep(self, tokens: Sequence[int], cache: DynamicCache, logits: Tensor | None = None) -> None:
        """Remember a cache that nobody will write to, and the logits after its last token."""
        size = caches.held_bytes(cache)
        if size > self._most:
            return
        key = tuple(tokens)
        if key in self._held:
            self.bytes -= self._held.pop(key)[2]
        self._held[key] = cache, logits, size
        self.bytes += size
        while self.bytes > self._most:
            self.bytes -= self._held.popitem(last=False)[1][2]

    def longest(self, tokens: Sequence[int]) -> Known | None:
        """What covers most of these tokens: all of them only where the logits after them are known too."""
        wanted, best, found = tuple(tokens), 0, None
        for key in self._held:
            if (length := _common(key, wanted)) > best:
                best, found = length, key
        if (exact := self._held.get(wanted)) is not None and exact[1] is not None:
            best, found = len(wanted), wanted
        if found is None:
            return None
        self._held.move_to_end(found)
        cache, logits, _ = self._held[found]
        if found == wanted and logits is not None:
            return Known(len(wanted), cache, logits)
        length = min(best, len(wanted) - 1)
        return Known(length, cache, None) if length else None


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common beginning, by halving: comparing slices takes microseconds where counting takes many."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
