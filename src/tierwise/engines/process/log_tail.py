"""What an engine's last lines say about its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_LATELY = 100
"""Lines in which something that ran looks for its reason; older ones are about older troubles."""

_PORT_TAKEN = re.compile(
    r"address already in use|errno 98\b|EADDRINUSE|(couldn't|could not|failed to|cannot) bind", re.IGNORECASE
)
_LEVEL_ERROR = re.compile(r"[\d.,:TZ+\- ]*\[?(E|ERROR|CRITICAL|FATAL)\]?:? +(?P<said>\S.*)")
"""A line that its writer gave the level of an error, as llama.cpp does: `0.00.005.380 E gguf_init: invalid magic`."""
_BLAME = re.compile(
    r"error|exception|fatal|fail|abort|assert|cannot|could not|couldn't|unable|invalid|not found|no such|memory|denied",
    re.IGNORECASE,
)
_ECHO = re.compile(
    r"see (the )?(root cause|above|stack trace)|(failed to start|output_handler failed)\.$|exiting due to"
    r"|resource_tracker:|^Traceback|^\s+(File|raise) ",
    re.IGNORECASE,
)
"""A line that only reports that another line told the reason."""
_TAG = re.compile(r"^\(\w+ pid=\d+\) (?:[A-Z]+ [\d-]+ [\d:]+ \[[\w.]+:\d+\] )?")
"""Which of vLLM's processes wrote a line, and where: `(Worker pid=7) ERROR 11-22 14:17:21 [core.py:953] `."""


def root_cause(words: Sequence[str]) -> str:
    """What a process that did not get up most likely died of.

    Where lines have levels, the first error caused the others; the last line that blames something says what it
    meant for the whole. Otherwise (a Python traceback) only the latter is known.
    """
    blame = last_blame(words)
    first = next((match["said"] for match in map(_LEVEL_ERROR.match, words) if match), blame)
    return " ".join((first if blame.endswith(first) else f"{first}; {blame}").split())


def last_blame(words: Sequence[str]) -> str:
    """The last line that blames something and does not just point to another one; the very last where none does."""
    return _blame(words, words[-1] if words else "it said nothing")


def recent_blame(words: Sequence[str]) -> str:
    """The same for an engine that ran: only of its latest lines, since others are about its work."""
    return _blame(words[-_LATELY:], "it gave no reason")


def says_port_taken(words: Sequence[str]) -> bool:
    return any(map(_PORT_TAKEN.search, words))


def _blame(words: Sequence[str], otherwise: str) -> str:
    lines = (_TAG.sub("", line) for line in reversed(words))
    return next((line for line in lines if _BLAME.search(line) and not _ECHO.search(line)), otherwise).strip()
