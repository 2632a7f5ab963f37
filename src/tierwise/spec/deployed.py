"""What runs behind an endpoint, as the endpoint reports it: what is needed to set up the same elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """What tells one checkpoint from another that has the same name."""

    checkpoint: str
    """Its name in the config file."""
    sha256: str | None = None
    """As it was found here; None where it is not here, or was never hashed (`tierwise pull` does)."""
    bytes: int | None = None
    """Of the file, or of what inference needs of the folder; None where it is not here."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment: what it was launched with, what its engine says of itself, and what it takes."""

    name: str
    tiers: list[str] = []
    """Which of the endpoint's tiers it serves."""
    engine: str = ""
    """The engine's name in the config file."""
    weights: LoadedWeights | None = None
    """None where somebody else has loaded them."""
    slots: int
    """Passes that run side by side."""
    context: int | None = None
    """Tokens that one pass may hold; None where only the server knows."""
    command: str = ""
    """What it was launched with; empty where it runs elsewhere."""
    facts: dict[str, str] = {}
    """What the engine says of itself: `version`, `kernels`, `attention`, `dtype`, `device` and others."""
    restarts: int = 0
    start_seconds: float | None = None
    """Until its process was ready; None where we did not launch it, here and below."""
    resident_bytes: int | None = None
    """Memory of its processes now."""
    peak_bytes: int | None = None
    """The most that they held at any time."""
