"""A checkpoint as it lies on this machine: which bytes these are. Apart from bringing them, for this reads none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.catalog.checkpoint import known_hash, local_path
from tierwise.catalog.memory import size_of

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.catalog.source import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What tells one checkpoint from another that has the same name."""

    checkpoint: str
    """Its name in the config file."""
    sha256: str | None = None
    """As it was found here; None where it is not here, or was never hashed (`tierwise pull` does)."""
    bytes: int | None = None
    """Of the file, or of what inference needs of the folder; None where it is not here."""


def weights_of(checkpoint: Checkpoint, *, cache: Path | None = None) -> Weights:
    """What is known of a checkpoint on this machine without reading it."""
    path = local_path(checkpoint, cache=cache)
    if path is None:
        return Weights(checkpoint=checkpoint.name)
    return Weights(checkpoint=checkpoint.name, sha256=known_hash(checkpoint, cache=cache), bytes=size_of(path))
