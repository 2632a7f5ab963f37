"""Masks keys in the words of a server: some repeat the key that they refuse, or that of a server behind them."""

from __future__ import annotations

import re
from urllib.parse import quote

_SHORTEST = 6
"""Characters. Servers without keys are given such as `x` or `none`, which are words too."""

_KEY = re.compile(
    r"(?P<before>\bbearer\s+)[\w.~+/=-]{8,}"
    r"|\b(?:(?:sk|rk|pk|gsk|xai|nvapi|hf)[-_]|AIza)(?=[\w-]*\d)[\w-]{8,}",
    re.IGNORECASE,
)
"""Keys in the forms of the large providers."""

MASK = "…"


def masked(text: str, key: str | None) -> str:
    """The text without the key, and without anything that looks like one."""
    if key and len(key) >= _SHORTEST:
        for form in {key, quote(key, safe=""), key.replace("/", "\\/")}:
            text = text.replace(form, MASK)
    return _KEY.sub(lambda found: f"{found['before'] or ''}{MASK}", text)
