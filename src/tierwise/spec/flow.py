"""Values in YAML flow style, for files that Tierwise writes and users edit."""

from __future__ import annotations

import json
import re
from typing import Any

_PLAIN = re.compile(r"(?!(?i:null|true|false|yes|no|on|off)$)[A-Za-z_][\w-]*", re.ASCII)
"""Keys that need no quotes: PyYAML reads all of them as text."""


def inline(value: Any) -> str:
    """A value in YAML flow style, with strings quoted as in JSON."""
    match value:
        case dict():
            return "{" + ", ".join(f"{_key(name)}: {inline(inner)}" for name, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(inline(inner) for inner in value) + "]"
        case str():
            return json.dumps(value, ensure_ascii=not value.isprintable())
        case _:
            return json.dumps(value)


def _key(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else inline(name)
