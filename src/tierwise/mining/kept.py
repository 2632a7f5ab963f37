"""Tasks that were validated before, kept in `validated/` of the cache: mining that was stopped goes on where it was.

Only tasks are kept. A commit that is none is tried again, because its tests may have failed for what the machine did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from tierwise.catalog.cache import cache_folder
from tierwise.spec.replacing import write_beside
from tierwise.verifiers.repository.check import RepositoryTests

_FORMAT = 1
"""Of what is kept and how it was found; another number forgets all."""


def place_of(facts: Sequence[Any]) -> Path:
    """The file for a task with these facts, all that its validation depends on."""
    key = hashlib.sha256(json.dumps([_FORMAT, *facts]).encode()).hexdigest()[:32]
    return cache_folder() / "validated" / f"{key}.json"


def read(place: Path) -> RepositoryTests | None:
    """The check that is kept there; None if there is none that can be read."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=RepositoryTests)
    except (OSError, msgspec.DecodeError):
        return None


def write(place: Path, check: RepositoryTests) -> None:
    """Keep a check. One that cannot be written is a task all the same, and is validated again the next time."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_beside(place, msgspec.json.encode(check))
