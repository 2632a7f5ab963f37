"""Expert routing of a pass, in the same form for all engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How often the tokens of one pass were routed to each expert of each mixture layer.

    Records are comparable only for the same engine and precision: others route about a tenth of the tokens differently.
    """

    source: str
    """The engine that reported it."""
    layers: Sequence[int]
    """Indices of the model's mixture layers, from 0; the first layers of some models are dense."""
    counts: Sequence[Sequence[int]]
    """Tokens per expert for each of these layers, shape (layers, experts); each row sums to tokens × active."""
    tokens: int
    """Routed tokens of prompt and answer, as far as the engine reported them."""
    active: int
    """Experts chosen for each token."""
    entropy: Sequence[float] | None = None
    """Mean entropy over tokens of the gate's full distribution, in nats, for each of these layers; None if the engine
    reports choices without probabilities."""
