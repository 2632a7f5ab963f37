"""Which experts a pass went through: the one record, whatever engine told it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """How often the tokens of one pass were sent to each expert of each mixture layer.

    Of one engine and one precision: another one sends about a tenth of the tokens elsewhere, so that two records are
    only comparable where both ran alike.
    """

    source: str
    """The engine that told."""
    layers: Sequence[int]
    """Numbers of the model's layers that are mixtures, from 0; the first layers of some models are dense."""
    counts: Sequence[Sequence[int]]
    """For each of these layers, for each expert, the tokens that it was chosen for; a row sums to tokens × active."""
    tokens: int
    """Tokens that were routed, of prompt and answer as far as the engine told."""
    active: int
    """Experts chosen for each token."""
    entropy: Sequence[float] | None = None
    """Nats for each of these layers: the mean over tokens of the entropy of the gate's whole distribution; None where
    the engine tells choices and no probabilities."""
