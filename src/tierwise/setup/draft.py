"""The text of a config file that a person goes on editing: YAML, with the reason beside each line that has one."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

_WIDTH = 118
_MOST = 240
"""Characters of what somebody else's server or file said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A config file that is not written yet."""

    text: str
    about: str
    """What it is for, in a few words."""
    notes: tuple[str, ...] = ()
    """What the user should know before the first request."""


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
    """What a server or a file said, on one line, for a comment or a message."""
    flat = " ".join(words.split())
    shown = "".join(letter for letter in flat if letter.isprintable())
    return shown if len(shown) <= _MOST else f"{shown[:_MOST]}…"
