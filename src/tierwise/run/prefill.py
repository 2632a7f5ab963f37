"""The prompts that several passes of an action share: on an engine that has to be told, each is computed once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.engines.engine import SharesPrompts
from tierwise.run.acceptable import adapted

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.spec.budget import Left
    from tierwise.spec.call import Call


@dataclass(eq=False, slots=True, kw_only=True)
class SharedPrompt:
    """A prompt that several passes on one deployment have."""

    deployment: str
    call: Call
    """One of the passes."""
    passes: int
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is computed; the passes wait for it."""
    is_done: bool = False
    """Whether a pass has begun to compute it, or found that it need not be."""

    def is_of(self, deployment: str, call: Call) -> bool:
        mine, theirs = self.call.prompt, call.prompt
        return self.deployment == deployment and mine.messages == theirs.messages and mine.fields == theirs.fields


class SharedPrompts:
    """The shared prompts of one action.

    Args:
        choices: how many choices answer the user's prompt, each with passes of its own.
    """

    def __init__(self, choices: int = 1) -> None:
        self._choices = choices
        self._known: list[SharedPrompt] = []

    def expect(self, deployment: Deployment, calls: Sequence[Call]) -> None:
        """Several calls will be run on a deployment, side by side."""
        if not isinstance(deployment.engine, SharesPrompts):
            return
        for call in calls:
            choices = 1 if call.after else self._choices  # a pass that saw others has a prompt of its own
            known = self._find(deployment.name, call)
            if known is None:
                self._known.append(SharedPrompt(deployment=deployment.name, call=call, passes=choices))
            elif not known.is_done:
                known.passes = max(known.passes, choices * sum(known.is_of(deployment.name, one) for one in calls))

    @asynccontextmanager
    async def first(self, deployment: Deployment, call: Call) -> AsyncGenerator[SharedPrompt | None]:
        """The prompt that the first of several passes has to compute in the block, while the others wait to enter.

        None for the others, and for a pass that shares its prompt with none.
        """
        known = self._find(deployment.name, call)
        if known is None or known.passes < 2:
            yield None
            return
        async with known.lock:
            is_first, known.is_done = not known.is_done, True
            yield known if is_first else None

    def _find(self, deployment: str, call: Call) -> SharedPrompt | None:
        return next((one for one in self._known if one.is_of(deployment, call)), None)


def prefill_of(shared: SharedPrompt, deployment: Deployment, left: Left) -> Call | None:
    """The call that computes a shared prompt; None if that would not pay, or would use up the budget of the passes."""
    passes = shared.passes if left.passes is None else min(shared.passes, left.passes)
    is_short = left.completion_tokens is not None and left.completion_tokens <= passes
    if is_short or not isinstance(deployment.engine, SharesPrompts):
        return None
    return deployment.engine.prefill(adapted(shared.call, deployment).call, passes)
