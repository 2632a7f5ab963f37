"""Patterns that strangers wrote, on texts that models wrote, matched in a time that grows with the text and no faster.

It stands apart because Python's `re` takes for ever to match `(a+)+$`; and the package `regex`, which has a timeout for
that, takes for ever and all memory to compile `(?:(?:(?:x{3,}){3,}){3,})`, a few levels deeper. RE2 (Google's, BSD) can
do neither, by its nature; the price is no look-around and no back-references.
"""

from __future__ import annotations

import functools
from typing import Protocol

import re2

MOST_BYTES = 1 << 23
"""Of one compiled pattern."""
MOST_STEPS = 50_000_000
"""Of a match, which RE2 needs at the worst: the pattern's instructions times the text's length. About a second."""


class CompiledPattern(Protocol):
    """A compiled pattern."""

    def find(self, text: str) -> str | None:
        """The first match; None when there is none. Raises ValueError when the search would take too long."""


@functools.lru_cache(maxsize=16)
def compiled(pattern: str) -> CompiledPattern:
    """Compile a pattern in RE2's syntax: that of `re` without look-around and back-references.

    Raises:
        ValueError: it is not a pattern, or too large a one.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_BYTES
    try:
        return _Pattern(re2.compile(pattern, options))
    except re2.error as error:
        reason = error.args[0]
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{pattern[:80]!r} does not compile: {text[:80]}") from error


class _Pattern:
    def __init__(self, program: re2._Regexp) -> None:
        self._program = program

    def find(self, text: str) -> str | None:
        data = text.encode(errors="replace")
        if self._program.programsize * len(data) > MOST_STEPS:
            raise ValueError(f"{self._program.pattern[:80]!r} is too large a pattern for a text of {len(data)} bytes")
        found = self._program.search(data)
        return None if found is None else found.group().decode(errors="replace")
