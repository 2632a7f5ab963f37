"""What JSON can hold, as a type. Kept apart so that every noun can say it without importing another noun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A decoded JSON value."""

Fields: TypeAlias = Mapping[str, Json]
"""Named JSON values as they stand on the wire, read-only."""
