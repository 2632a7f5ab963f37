"""Levers as data: the settings of an engine, where they are set, and their legal values. Each engine has `LEVERS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Scope = Literal["launch", "request"]
"""launch: set when the engine starts, for all requests · request: set with each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One lever of one engine."""

    name: str
    """The same for all engines: a setting of the deployment (launch) or of a tier's `sampling` (request)."""
    sets: str
    """The engine's name for it: a flag (`--dtype`), a request field or a parameter of its library."""
    scope: Scope
    values: str
    """Legal values: a description or a list of names."""
    needs: str = ""
    """Requirements; empty if there are none."""
    changes: str = ""
    """Its effect on quality, speed or memory."""
    source: str = ""
    """Where this comes from: a file of the engine's release, or a document."""


def flags(settings: msgspec.Struct, levers: Iterable[Lever], *, negatives: bool = True) -> list[str]:
    """The command-line flags of all launch levers that are set: `--flag value`, or `--flag` for True.

    False becomes `--no-flag` (argparse's BooleanOptionalAction), or nothing if the engine has no such `negatives`.
    Mappings and lists become JSON.
    """
    found: list[str] = []
    for lever in levers:
        if lever.scope == "launch" and lever.sets.startswith("--"):
            value = getattr(settings, lever.name)
            found += _flag(lever.sets, None if value is False and not negatives else value)
    return found


def _flag(flag: str, value: Any) -> list[str]:
    match value:
        case None:
            return []
        case dict() if not value:  # the pattern `{}` would match any mapping
            return []
        case True:
            return [flag]
        case False:
            return [f"--no-{flag.removeprefix('--')}"]
        case str() | int() | float():
            return [flag, str(value)]
        case _:
            return [flag, msgspec.json.encode(value).decode()]
