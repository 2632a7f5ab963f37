"""The load of late, for a dashboard: the window before, the one that fills now, and how far they are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.mixture.load import Load, divergence

if TYPE_CHECKING:
    from tierwise.spec.routing import Routing

TOKENS = 50_000
"""Of one window. A layer of 512 experts with 8 active then has 780 choices per expert."""


class Window:
    """Keeps two loads, whatever passes by.

    Args:
        tokens: after which a window is full and the next one begins.
    """

    def __init__(self, tokens: int = TOKENS) -> None:
        self.sampled = 0
        """Passes taken in since the beginning."""
        self._tokens = tokens
        self._full: Load | None = None
        self._filling = Load()
        self.drift: float | None = None
        """Bits: the mean over layers of the Jensen–Shannon divergence of the last two full windows."""

    def add(self, routing: Routing) -> None:
        """Take a pass in. Raises SpecError when the model's shape is another one than before."""
        self._filling.add(routing)
        self.sampled += 1
        if self._filling.tokens >= self._tokens:
            if self._full is not None:
                apart = divergence(self._full, self._filling)
                self.drift = sum(apart) / len(apart) if apart else None
            self._full, self._filling = self._filling, Load()

    @property
    def load(self) -> Load:
        """The last full window; before the first is full, what there is."""
        return self._full if self._full is not None else self._filling
