#!/bin/bash
set -euo pipefail
cat > /app/durations.py <<'END'
import re

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
NUMBER = r"(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)"
WHOLE = re.compile("([+-]?)" + r"\s*".join(f"(?:({NUMBER}){unit}(?![a-z]))?" for unit in UNITS))


def seconds(text):
    text = text.strip().lower()
    if re.fullmatch(f"[+-]?{NUMBER}", text):
        return float(text)
    found = WHOLE.fullmatch(text)
    if not found or not any(found.groups()[1:]):
        raise ValueError(f"{text!r} is no duration")
    total = sum(float(value) * unit for value, unit in zip(found.groups()[1:], UNITS.values()) if value)
    return -total if found[1] == "-" else float(total)
END
