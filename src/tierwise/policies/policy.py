"""The protocol of a policy, apart from its members so that a new one is one file and one line in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tierwise.spec.ask import Answer, Ask
    from tierwise.spec.prompt import Prompt


class Policy(Protocol):
    """Decides how much thought a prompt deserves, and spends it through `ask`. Holds settings, never state."""

    @property
    def most_passes(self) -> int:
        """How many passes it spends at the most on one prompt."""

    @property
    def sets(self) -> frozenset[str]:
        """The request fields that it sets itself; every other reaches the engine as the client sent it."""

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        """Answer `prompt`, or raise what `ask` raised when nothing was left to answer with."""
