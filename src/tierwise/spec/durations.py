"""Durations as people write them: `90m`, `24h`, `30d`, `1.5h`."""

from __future__ import annotations

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])")


def seconds_in(text: str) -> float | None:
    """The seconds of a duration; None if it is none."""
    found = _FORM.fullmatch(text)
    return None if found is None else float(found[1]) * _SECONDS[found[2]]
