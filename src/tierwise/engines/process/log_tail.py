"""Finds the reason of a failure in the last lines of an engine's log."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECENT = 100
"""Number of lines to search when a running engine has ended; earlier lines are about earlier errors."""

_PORT_TAKEN = re.compile(
    r"address already in use|errno 98\b|EADDRINUSE|(couldn't|could not|failed to|cannot) bind", re.IGNORECASE
)
_LEVEL_ERROR = re.compile(r"[\d.,:TZ+\- ]*\[?(E|ERROR|CRITICAL|FATAL)\]?:? +(?P<message>\S.*)")
"""A line with the log level of an error, as llama.cpp writes it: `0.00.005.380 E gguf_init: invalid magic`."""
_ERROR = re.compile(
    r"error|exception|fatal|fail|abort|assert|cannot|could not|couldn't|unable|invalid|not found|no such|memory|denied",
    re.IGNORECASE,
)
_ECHO = re.compile(
    r"see (the )?(root cause|above|stack trace)|(failed to start|output_handler failed)\.$|exiting due to"
    r"|resource_tracker:|^Traceback|^\s+(File|raise) ",
    re.IGNORECASE,
)
"""A line that only refers to another line for the reason."""
_TAG = re.compile(r"^\(\w+ pid=\d+\) (?:[A-Z]+ [\d-]+ [\d:]+ \[[\w.]+:\d+\] )?")
"""The prefix of vLLM's lines, with process and source: `(Worker pid=7) ERROR 11-22 14:17:21 [core.py:953] `."""


def root_cause(lines: Sequence[str]) -> str:
    """The most likely reason why a process did not become ready.

    If lines have log levels, the first error caused the others, and the last line that reports an error states its
    consequence. Otherwise (a Python traceback) only the latter is known.
    """
    last = last_error(lines)
    first = next((match["message"] for match in map(_LEVEL_ERROR.match, lines) if match), last)
    return " ".join((first if last.endswith(first) else f"{first}; {last}").split())


def last_error(lines: Sequence[str]) -> str:
    """The last line that reports an error and does not just refer to another line; the last line if there is none."""
    return _find(lines, lines[-1] if lines else "it wrote nothing")


def recent_error(lines: Sequence[str]) -> str:
    """As `last_error`, for an engine that was running: only the latest lines, since earlier ones are about its work."""
    return _find(lines[-_RECENT:], "it gave no reason")


def says_port_taken(lines: Sequence[str]) -> bool:
    return any(map(_PORT_TAKEN.search, lines))


def _find(lines: Sequence[str], otherwise: str) -> str:
    untagged = (_TAG.sub("", line) for line in reversed(lines))
    return next((line for line in untagged if _ERROR.search(line) and not _ECHO.search(line)), otherwise).strip()
