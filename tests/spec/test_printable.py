"""No text of others moves a cursor, colours a terminal, reorders what is read, or begins a line."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größer 数 🦉 é", "größer 数 🦉 é"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("a\nINFO forged", "a\\nINFO forged"),
        ("a\rb\tc", "a\\rb\\tc"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202edef\u2069", "abc\\u202edef\\u2069"),
        ("a\u2028b\u0085c", "a\\u2028b\\x85c"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_out(text, shown):
    assert printable(text) == shown


def test_lines_are_kept_where_several_are_expected():
    assert printable("a\n\tb\x1b[0m\r", lines=True) == "a\n\tb\\x1b[0m\\r"


def test_a_header_is_ascii():
    assert printable("naïve\n🦉", ascii_only=True) == "na\\xefve\\n\\U0001f989"


@given(st.text(st.characters()), st.booleans(), st.booleans())
def test_nothing_is_left_that_is_a_control_character(text, lines, ascii_only):
    shown = printable(text, lines=lines, ascii_only=ascii_only)
    kept = "\n\t" if lines and not ascii_only else ""
    assert all(unicodedata.category(one) not in {"Cc", "Cs", "Zl", "Zp"} for one in shown if one not in kept)
    assert printable(shown, lines=lines, ascii_only=ascii_only) == shown
    shown.encode()
