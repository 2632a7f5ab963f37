"""The protocol of a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tierwise.spec.ask import Answer, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.prompt import Prompt


class Policy(Protocol):
    """Decides how much compute a prompt gets, and spends it through `ask`. Holds settings, never state."""

    def most(self, at: Callable[[str], Budget]) -> Budget:
        """The maximum that it spends on one prompt, in its own tier and in the tiers that it asks.

        Args:
            at: returns the maximum that another tier spends on one prompt.
        """

    def tiers(self) -> tuple[str, ...]:
        """The other tiers that it may ask, in order. `check` rejects cycles."""

    @property
    def sets(self) -> frozenset[str]:
        """The request fields that it sets itself; all others reach the engine as the client sent them. Policies of
        other tiers declare their own.
        """

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        """Answer `prompt`, or raise the error of `ask` if no answer is possible."""
