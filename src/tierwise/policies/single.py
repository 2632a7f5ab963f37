"""One pass, streamed as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.ask import Answer
from tierwise.spec.call import Call

if TYPE_CHECKING:
    from tierwise.spec.ask import Ask
    from tierwise.spec.prompt import Prompt


class Single(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pass, streamed as it comes."""

    @property
    def most_passes(self) -> int:
        return 1

    @property
    def sets(self) -> frozenset[str]:
        return frozenset()

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        done = await ask(Call(prompt=prompt), shown=True)
        return Answer(completion=done.completion, chosen=done.number, why="one pass")
