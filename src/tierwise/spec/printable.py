"""Text of others, made safe for a terminal or a log: nothing in it moves the cursor, colours, or starts a line."""

from __future__ import annotations

import re

_CONTROL = "\x00-\x1f\x7f-\x9f"
_INVISIBLE = "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff"
_UNSAFE = re.compile(f"[{_CONTROL}{_INVISIBLE}]")
_UNSAFE_BUT_LINES = re.compile(f"[{_CONTROL}{_INVISIBLE}](?<![\n\t])")
_NOT_ASCII = re.compile("[^ -~]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, *, lines: bool = False, ascii_only: bool = False) -> str:
    r"""The text with every control character and every mark that reorders text written as an escape (`\x1b`).

    Args:
        text: of a client, a model, an engine or a file.
        lines: keep line feeds and tabs, where several lines are expected.
        ascii_only: escape everything that is not printable ASCII, as for a header.
    """
    unsafe = _NOT_ASCII if ascii_only else _UNSAFE_BUT_LINES if lines else _UNSAFE
    return unsafe.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return _SHORT.get(found[0]) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )
