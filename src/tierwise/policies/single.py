"""One pass, streamed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tierwise.spec.ask import Answer, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.prompt import Prompt


class Single(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pass, streamed."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=1)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset()

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        done = await ask(Call(prompt=prompt), shown=True)
        return Answer(completion=done.completion, chosen=done.number, why="one pass")
