"""The protocol of a policy, apart from its members so that a new one is one file and one line in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.spec.ask import Answer, Ask
    from tierwise.spec.budget import Budget
    from tierwise.spec.prompt import Prompt


class Policy(Protocol):
    """Decides how much thought a prompt deserves, and spends it through `ask`. Holds settings, never state."""

    def most(self, at: Callable[[str], Budget]) -> Budget:
        """The most that it spends on one prompt, in its own tier and in the others that it asks.

        Args:
            at: gives the most that another tier spends on one prompt.
        """

    def tiers(self) -> tuple[str, ...]:
        """The other tiers that it may ask, in its order. A tier that can come back to itself is refused by `check`."""

    @property
    def sets(self) -> frozenset[str]:
        """The request fields that it sets itself; every other reaches the engine as the client sent it. Policies of
        other tiers set their own.
        """

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        """Answer `prompt`, or raise what `ask` raised when nothing was left to answer with."""
