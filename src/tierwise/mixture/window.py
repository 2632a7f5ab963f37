"""Recent load, for dashboards: the last full window, the current one, and their divergence."""

from __future__ import annotations

from tierwise.mixture.load import Load, divergence
from tierwise.spec.routing import Routing

TOKENS = 50_000
"""Tokens per window. A layer of 512 experts with 8 active then has 780 choices per expert."""


class Window:
    """Keeps the loads of two windows.

    Args:
        tokens: size of a window.
    """

    def __init__(self, tokens: int = TOKENS) -> None:
        self.sampled = 0
        """Passes added since the start."""
        self._tokens = tokens
        self._full: Load | None = None
        self._filling = Load()
        self.drift: float | None = None
        """Mean over layers of the Jensen–Shannon divergence of the last two full windows, in bits."""

    def add(self, routing: Routing) -> None:
        """Add a pass. Raises SpecError if the model's shape has changed."""
        self._filling.add(routing)
        self.sampled += 1
        if self._filling.tokens >= self._tokens:
            if self._full is not None:
                apart = divergence(self._full, self._filling)
                self.drift = sum(apart) / len(apart) if apart else None
            self._full, self._filling = self._filling, Load()

    @property
    def load(self) -> Load:
        """The last full window, or the current one before the first is full."""
        return self._full if self._full is not None else self._filling
