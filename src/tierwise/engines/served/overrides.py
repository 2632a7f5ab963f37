"""Overrides of a checkpoint's config.json at dotted paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def override(overrides: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The overrides with a value set at a dotted path; other values are kept."""
    name, _, rest = path.partition(".")
    inner = overrides.get(name)
    return {**overrides, name: override(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def at(overrides: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None if there is none."""
    found: Any = overrides
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
