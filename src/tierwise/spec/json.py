"""Types of JSON values, in a module without imports from this package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A decoded JSON value."""

Fields: TypeAlias = Mapping[str, Json]
"""A read-only JSON object, as on the wire."""
