"""The prefix cache: KV caches of earlier prompts and answers, reused for prompts with the same prefix. Bounded in
bytes; evicts the least recently used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers.cache_utils import DynamicCache

from tierwise.spec.prefix import common_length
from tierwise.worker import caches


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A prefix that need not be computed again."""

    length: int
    """Number of requested tokens that it covers."""
    cache: DynamicCache
    """One row, with at least `length` columns."""
    logits: Tensor | None
    """Logits after the last token, `[1, vocabulary]`, if all tokens are covered."""


class PrefixCache:
    """Stores caches by their tokens.

    Args:
        max_bytes: maximum bytes of keys and values; 0 disables it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._most = max_bytes
        self._held: OrderedDict[tuple[int, ...], tuple[DynamicCache, Tensor | None, int]] = OrderedDict()

    def keep(self, tokens: Sequence[int], cache: DynamicCache, logits: Tensor | None = None) -> None:
        """Store a cache, which must not be modified any more, and the logits after its last token."""
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

    def longest(self, tokens: Sequence[int]) -> CachedPrefix | None:
        """The longest stored prefix of these tokens; the whole of them only if the logits after them are stored too."""
        wanted, best, found = tuple(tokens), 0, None
        for key in self._held:
            if (length := common_length(key, wanted)) > best:
                best, found = length, key
        if (exact := self._held.get(wanted)) is not None and exact[1] is not None:
            best, found = len(wanted), wanted
        if found is None:
            return None
        self._held.move_to_end(found)
        cache, logits, _ = self._held[found]
        if found == wanted and logits is not None:
            return CachedPrefix(len(wanted), cache, logits)
        length = min(best, len(wanted) - 1)
        return CachedPrefix(length, cache, None) if length else None
