"""A learned combination of signals, as plain numbers: what `tierwise tune` writes into a route."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

SignalName = Literal["span_probability", "margin", "tail_confidence", "entropy", "length"]


class SignalWeight(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one signal adds to the log-odds: `weight` times its value."""

    signal: SignalName
    """A signal of a cascade, with the value that its own threshold is compared with."""
    weight: float
    """Per unit of the signal."""


class LearnedSignal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A logistic regression on signals of one pass: the probability that the answer is right."""

    least: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """Accept from this probability on."""
    intercept: float
    """The log-odds where every signal is 0."""
    weights: Annotated[tuple[SignalWeight, ...], msgspec.Meta(min_length=1)]
    """Of each signal. An answer that lacks one of them does not have this signal."""

    def __post_init__(self) -> None:
        names = [one.signal for one in self.weights]
        if len(set(names)) < len(names):
            raise ValueError(f"`weights` has a signal twice: {', '.join(names)}; give each one weight")

    def probability(self, value: Callable[[SignalName], float | None]) -> float | None:
        """The probability that an answer is right; None if it lacks a signal.

        Args:
            value: of each signal.
        """
        odds = self.intercept
        for one in self.weights:
            found = value(one.signal)
            if found is None:
                return None
            odds += one.weight * found
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, odds))))
