"""The endpoint's log: one line per event, whatever others have written into it."""

from __future__ import annotations

import io
import logging

from tierwise.gateway.logs import SafeFormatter


def logged(message: str, *arguments: object, error: Exception | None = None) -> str:
    file = io.StringIO()
    handler = logging.StreamHandler(file)
    handler.setFormatter(SafeFormatter())
    record = logging.makeLogRecord({"levelname": "ERROR", "msg": message, "args": arguments})
    record.exc_info = (type(error), error, error.__traceback__) if error else None
    handler.emit(record)
    return file.getvalue()


def fail(error: Exception) -> None:
    raise error


def test_no_text_forges_a_line_or_an_escape_sequence():
    text = logged("engine %r said %s", "far", "\x1b[2J\n2026-01-01 00:00:00,000 INFO all is well\r")
    assert text.count("\n") == 1
    assert text.endswith("ERROR engine 'far' said \\x1b[2J\\n2026-01-01 00:00:00,000 INFO all is well\\r\n")


def test_a_traceback_keeps_its_lines_and_nothing_else():
    try:
        fail(ValueError("\x1b[2J"))
    except ValueError as error:
        text = logged("it broke", error=error)
    assert "Traceback (most recent call last):\n" in text
    assert text.endswith("ValueError: \\x1b[2J\n")
