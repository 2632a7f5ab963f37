"""The log of the endpoint: one line per event, whatever texts of clients and engines are in it."""

from __future__ import annotations

import logging
from typing import Any

from tierwise.spec.printable import printable


class SafeFormatter(logging.Formatter):
    """Writes control characters as escapes, so that no text of others forges a line or moves a terminal's cursor."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message.rstrip("\n"))
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable(super().formatException(ei), lines=True)


def log_to_stderr() -> None:
    """Write what happens from level INFO on to stderr, unless the program has set up its own logging."""
    handler = logging.StreamHandler()
    handler.setFormatter(SafeFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
