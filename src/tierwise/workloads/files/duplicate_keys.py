"""Names that stand twice in a JSON object: parsers keep the last one without a word, and so lose half of a check."""

from __future__ import annotations

import json


def duplicate_keys(line: str) -> list[str]:
    """The names that an object of this JSON text gives more than once, in the order in which they come back."""
    found: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> None:
        names: set[str] = set()
        for name, _ in pairs:
            if name in names and name not in found:
                found.append(name)
            names.add(name)

    json.loads(line, object_pairs_hook=look)
    return found
