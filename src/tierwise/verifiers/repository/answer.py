"""What an answer changes: unified diffs, and whole files in fenced blocks under a line with their path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

_FENCE = re.compile(
    r"^(?P<mark>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=mark)[ \t]*$", re.MULTILINE | re.DOTALL
)
_DIFF = re.compile(r"^(?:diff --git |--- )[^\n]*\n.*?^@@ ", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"(?:[\w.@+-]+/)*[\w.@+-]*\.?[\w@+-]+")
_LABEL = re.compile(r"^(?:file|path|filename|new file)\s*:\s*", re.IGNORECASE)


class Edit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change: a `diff`, or the whole `content` of the file `path`."""

    diff: str | None = None
    path: str | None = None
    content: str | None = None


def edits_in(said: str) -> list[Edit]:
    """The changes of an answer, in its order.

    A fenced block with a hunk is a diff. Any other is a whole file if its info string (` ```python src/a.py`) or the
    line right above it names a path. Without a fenced change, an answer that is a diff itself is one.
    """
    found = []
    for block in _FENCE.finditer(said):
        body = block["body"]
        if _DIFF.search(body):
            found.append(Edit(diff=body))
        elif path := _path_of(block["info"], said[: block.start()]):
            found.append(Edit(path=path, content=body))
    if not found and (bare := _DIFF.search(said)):
        found.append(Edit(diff=said[bare.start() :].rstrip("\n") + "\n"))
    return found


def _path_of(info: str, before: str) -> str | None:
    """The path that an info string or the line above names."""
    for words in reversed(re.split(r"[\s:=]+", info.strip())[1:]), [info.strip()]:
        for word in words:
            if _is_path(word.strip("\"'")) and ("/" in word or "." in word):
                return word.strip("\"'")
    lines = before.rstrip("\n").rsplit("\n", 1)
    above = lines[-1].strip() if before.strip() else ""
    above = _LABEL.sub("", above.lstrip("#").strip().strip("*`: ")).strip("*`: ")
    return above if _is_path(above) else None


def _is_path(word: str) -> bool:
    return bool(_PATH.fullmatch(word)) and not word.isdigit() and ".." not in word.split("/")


def as_json(edits: Sequence[Edit]) -> Any:
    """Changes as plain data."""
    return msgspec.to_builtins(list(edits))
