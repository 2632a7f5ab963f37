"""A lever as data: what can be set on an engine, where, and what it takes. Each engine has its rows in `LEVERS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Scope = Literal["launch", "request"]
"""Set once when the engine starts, for all that it serves · set with each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lever:
    """One row of the table: a lever on one engine."""

    name: str
    """The same on every engine: a setting of the deployment (launch) or of a tier's `sampling` (request)."""
    sets: str
    """What the engine calls it: a flag (`--dtype`), a field of the request, a parameter of its library."""
    scope: Scope
    values: str
    """What is legal, in words or as the list of names."""
    needs: str = ""
    """What must hold for it to work; empty where nothing must."""
    changes: str = ""
    """What it does to quality, speed or memory."""
    source: str = ""
    """Where this is known from: the file of the engine's release, or a document."""


def flags(settings: msgspec.Struct, levers: Iterable[Lever], *, negatives: bool = True) -> list[str]:
    """The command-line flags of all launch levers that are set: `--flag value`, a bare `--flag` for True.

    False becomes `--no-flag`, the form of argparse's BooleanOptionalAction, or nothing where the engine has no such
    `negatives`; mappings and lists become JSON.
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
        case dict() if not value:  # a pattern `{}` would match every mapping
            return []
        case True:
            return [flag]
        case False:
            return [f"--no-{flag.removeprefix('--')}"]
        case str() | int() | float():
            return [flag, str(value)]
        case _:
            return [flag, msgspec.json.encode(value).decode()]
