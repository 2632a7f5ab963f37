"""Untrusted patterns on untrusted texts, matched in time linear in the text.

Python's `re` takes exponential time to match `(a+)+$`. The package `regex` has a timeout for that, but takes unbounded
time and memory to compile `(?:(?:(?:x{3,}){3,}){3,})` nested a few levels deeper. RE2 (Google, BSD) has neither problem
by design; it lacks look-around and back-references.
"""

from __future__ import annotations

import functools
from typing import Protocol

import re2

MOST_BYTES = 1 << 23
"""Memory limit of one compiled pattern."""
MOST_STEPS = 50_000_000
"""RE2's worst case for one match, the pattern's instructions times the text's length: about a second."""


class CompiledPattern(Protocol):
    """A compiled pattern."""

    def find(self, text: str) -> str | None:
        """The first match; None if there is none. Raises ValueError if the search would take too long."""


@functools.lru_cache(maxsize=16)
def compiled(pattern: str) -> CompiledPattern:
    """Compile a pattern in RE2's syntax: that of `re` without look-around and back-references.

    Raises:
        ValueError: the pattern is invalid or too large.
    """
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_BYTES
    options.never_capture = True  # with groups a search takes time in proportion to their number, too
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
            raise ValueError(f"{self._program.pattern[:80]!r} is too large for a text of {len(data)} bytes")
        found = self._program.search(data)
        return None if found is None else found.group().decode(errors="replace")
