"""Writes what a program measured into a page of docs."""

from __future__ import annotations

from pathlib import Path


def write_between(path: Path, begin: str, end: str, text: str) -> None:
    """Write a text between two marks of a page, in place of what is there.

    Args:
        path: of the page.
        begin: the mark after which the text is written.
        end: the mark before which it ends; empty for the end of the file.
        text: what is written.

    Raises:
        ValueError: the page has not both marks.
    """
    above, found, rest = path.read_text(encoding="utf-8").partition(begin)
    _, closed, below = rest.partition(end) if end else ("", "", "")
    if not found or (end and not closed):
        raise ValueError(f"{path} has no {begin} … {end}")
    written = f"{above}{begin}\n\n{text.strip()}\n\n{end}{below}" if end else f"{above}{begin}\n\n{text.strip()}\n"
    path.write_text(written, encoding="utf-8")
