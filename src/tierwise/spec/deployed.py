"""The deployments behind an endpoint, as reported by it: what is needed to reproduce the setup elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """Identity of a checkpoint, independent of its name."""

    checkpoint: str
    """Its name in the config file."""
    sha256: str | None = None
    """Computed on this machine; None if the checkpoint is absent or was never hashed (`tierwise pull` hashes it)."""
    bytes: int | None = None
    """Size of the file, or of the files in the folder that inference needs; None if absent."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment: its launch settings, the facts its engine reports, and its resource usage."""

    name: str
    tiers: list[str] = []
    """The endpoint's tiers that it serves."""
    engine: str = ""
    """The engine's name in the config file."""
    weights: LoadedWeights | None = None
    """None if the server was not launched by Tierwise."""
    slots: int
    """Maximum number of concurrent passes."""
    context: int | None = None
    """Maximum tokens of one pass; None if only the server knows."""
    command: str = ""
    """Launch command; empty if it was not launched by Tierwise."""
    facts: dict[str, str] = {}
    """Facts that the engine reports: `version`, `kernels`, `attention`, `dtype`, `device` and others."""
    restarts: int = 0
    start_seconds: float | None = None
    """Time until the process was ready. None, like the fields below, if Tierwise did not launch it."""
    resident_bytes: int | None = None
    """Current resident memory of its processes."""
    peak_bytes: int | None = None
    """Peak resident memory of its processes."""
