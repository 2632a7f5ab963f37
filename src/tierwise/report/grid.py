"""A table of text cells that is printed to the terminal or written as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Grid:
    """Titles and rows; the first column is text, the others are numbers."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def for_terminal(self) -> Table:
        from rich.table import Table  # noqa: PLC0415 - Markdown does not need it
        from rich.text import Text  # noqa: PLC0415

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for number, title in enumerate(self.titles):
            table.add_column(title, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table

    def as_markdown(self) -> str:
        marks = (":--", *["--:"] * (len(self.titles) - 1))
        return "\n".join([_line(self.titles), f"| {' | '.join(marks)} |", *(_line(row) for row in self.rows)])


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def escaped(text: str) -> str:
    """Text escaped for Markdown, on one line; names come from users and from models."""
    for sign in "\\`*_<>[]|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
