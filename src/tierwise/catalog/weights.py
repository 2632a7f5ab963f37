"""The identity of a checkpoint on this machine, without reading its weights."""

from __future__ import annotations

from pathlib import Path

from tierwise.catalog.checkpoint import known_hash, local_path
from tierwise.catalog.memory import size_of
from tierwise.catalog.source import Checkpoint
from tierwise.spec.deployed import LoadedWeights


def weights_of(checkpoint: Checkpoint, *, cache: Path | None = None) -> LoadedWeights:
    """Hash and size of a checkpoint on this machine, as far as known without reading it."""
    path = local_path(checkpoint, cache=cache)
    if path is None:
        return LoadedWeights(checkpoint=checkpoint.name)
    return LoadedWeights(checkpoint=checkpoint.name, sha256=known_hash(checkpoint, cache=cache), bytes=size_of(path))
