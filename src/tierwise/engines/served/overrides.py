"""Changes to a checkpoint's config.json under dotted paths, inner mappings merged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def override(overrides: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The overrides with a value at a dotted path; what else stands there stays."""
    name, _, rest = path.partition(".")
    inner = overrides.get(name)
    return {**overrides, name: override(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def at(overrides: Mapping[str, Any], path: str) -> Any:
    """What overrides say at a dotted path; None where they say nothing."""
    found: Any = overrides
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found
