"""JSON text: the line of each path, repeated keys, and why a text is not JSON.

msgspec reports none of these. They are computed only for files that a user may have written.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,\n]|[^][{}:,"\s]+')


class _RepeatedKeyError(Exception):
    """An object has a repeated key."""


def _look(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise _RepeatedKeyError


_LOOKING = json.JSONDecoder(object_pairs_hook=_look)


def has_repeated_keys(text: str) -> bool:
    """Whether an object in this JSON text has a repeated key: parsers silently keep the last one."""
    try:
        _LOOKING.decode(text)
    except _RepeatedKeyError:
        return True
    return False


def paths(text: str, first_line: int = 1) -> Iterator[tuple[str, int, int | None]]:
    """Every path of a JSON text, its line, and for a repeated key the line of the previous occurrence in the same
    object.

    Args:
        text: valid JSON.
        first_line: the number of its first line.
    """
    line = first_line
    containers: list[_Container] = []
    path, expects = "", "item"
    for part in _TOKEN.findall(text):
        if part == "\n":
            line += 1
            continue
        if expects == "item" and part != "]":
            path = containers[-1].item() if containers else ""
            yield path, line, None
        elif expects == "key" and part != "}":
            path, before = containers[-1].key(json.loads(part), line)
            yield path, line, before
        expects = ""
        match part:
            case "{" | "[":
                containers.append(_Container(path))
                expects = "key" if part == "{" else "item"
            case "}" | "]":
                containers.pop()
            case ",":
                expects = "key" if containers[-1].keys else "item"


@dataclass(slots=True)
class _Container:
    """An open object or list."""

    path: str
    keys: dict[str, int] = field(default_factory=dict)
    """Keys of an object so far, with their lines."""
    items: int = 0

    def item(self) -> str:
        """The path of the next item of a list."""
        self.items += 1
        return f"{self.path}[{self.items - 1}]"

    def key(self, name: str, line: int) -> tuple[str, int | None]:
        """The path of an object's next key, and the line of its previous occurrence."""
        before = self.keys.get(name)
        self.keys[name] = line
        return (f"{self.path}.{name}" if self.path else name), before


def why_not_json(text: str, error: Exception) -> tuple[int | None, str]:
    """The line, from 1, at which a text stops being valid JSON, if known, and the reason.

    Args:
        text: the text that msgspec could not decode.
        error: msgspec's error.
    """
    try:
        json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as found:
        return found.lineno, f"column {found.colno}: {found.msg[:1].lower()}{found.msg[1:]}"
    except RecursionError:
        return None, "it is nested too deeply"
    except ValueError as found:  # NaN, or a number with thousands of digits
        return _line_of(text, error), str(found)
    if "truncated" in str(error):  # msgspec's only hint for "\ud800"
        return None, "a string holds half of a surrogate pair, such as \\ud800 alone"
    return _line_of(text, error), str(error).partition(" - at `")[0]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _line_of(text: str, error: Exception) -> int | None:
    found = re.search(r"\(byte (\d+)\)", str(error))
    return None if found is None else text.encode()[: int(found[1])].count(b"\n") + 1


def dedented(schema: Any) -> Any:
    """A JSON Schema with unindented descriptions: Python 3.13 strips the indentation of docstrings, 3.11 keeps it."""
    if isinstance(schema, list):
        return [dedented(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: inspect.cleandoc(part) if name == "description" and isinstance(part, str) else dedented(part)
        for name, part in schema.items()
    }
