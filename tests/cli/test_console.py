"""What verbs print: styles of ours, and no escape sequences of others."""

from __future__ import annotations

import io

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tierwise.cli.console import Console

EVIL = "\x1b[2J\x1b]8;;http://evil.example\x07click\x9b31m"


def printed(renderable: object, *, color: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=120, force_terminal=color, color_system="truecolor" if color else None).print(renderable)
    return file.getvalue()


def in_table() -> Table:
    table = Table("name")
    table.add_row(EVIL)
    table.add_row(Text(EVIL, "red"))
    return table


@pytest.mark.parametrize(
    "renderable", [EVIL, Text(EVIL), Panel(EVIL), Tree(Text(EVIL)), in_table()], ids=lambda one: type(one).__name__
)
def test_a_text_s_own_escape_sequences_are_shown_as_text(renderable):
    shown = printed(renderable)
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\\x1b[2J" in shown


def test_our_own_styles_are_kept():
    shown = printed(Text(f"{EVIL}", "bold red"), color=True)
    assert shown.startswith("\x1b[1;31m\\x1b[2J")


def test_several_lines_stay_several():
    assert printed("a\nb") == "a\nb\n"
