"""The text of a config file for users to edit: YAML with comments that give reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_WIDTH = 118
_MOST = 240
"""Maximum characters quoted from a server or file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The contents of a config file to be written."""

    text: str
    about: str
    """A short description."""
    notes: tuple[str, ...] = ()
    """Notes for the user."""


def comment(text: str, indent: str = "") -> Iterator[str]:
    """Lines of a comment."""
    return iter(
        textwrap.wrap(
            text,
            width=_WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def quoted(words: str) -> str:
    """Text of a server or file on one line, for a comment or a message."""
    flat = " ".join(words.split())
    shown = "".join(letter for letter in flat if letter.isprintable())
    return shown if len(shown) <= _MOST else f"{shown[:_MOST]}…"
