"""The prompts that several passes of an action share: on an engine that has to be told, each is computed once. Passes
whose prompts differ only in how the last message ends share what comes before that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from tierwise.engines.engine import SharesPrompts
from tierwise.run.acceptable import adapted
from tierwise.spec.prefix import common_length

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.spec.budget import Left
    from tierwise.spec.call import Call
    from tierwise.spec.prompt import Message, Prompt


@dataclass(eq=False, slots=True, kw_only=True)
class SharedPrompt:
    """A prompt that several passes on one deployment have."""

    deployment: str
    call: Call
    """One of the passes; its last message may end early."""
    passes: int
    is_beginning: bool = False
    """Whether the passes go on from it, each in its own way."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is computed; the passes wait for it."""
    is_done: bool = False
    """Whether a pass has begun to compute it, or found that it need not be."""

    def is_of(self, deployment: str, call: Call) -> bool:
        mine, theirs = self.call.prompt, call.prompt
        if self.deployment != deployment or mine.prompt_fields != theirs.prompt_fields:
            return False
        if not self.is_beginning:
            return mine.messages == theirs.messages
        begun, whole = _cut(mine), _cut(theirs)
        return begun[:2] == whole[:2] and whole[2].startswith(begun[2])


class SharedPrompts:
    """The shared prompts of one action.

    Args:
        choices: how many choices answer the user's prompt, each with passes of its own.
    """

    __slots__ = ("_choices", "_known")

    def __init__(self, choices: int = 1) -> None:
        self._choices = choices
        self._known: list[SharedPrompt] = []

    def expect(self, deployment: Deployment, calls: Sequence[Call]) -> None:
        """Several calls will be run on a deployment, side by side."""
        if not _may_share(type(deployment.engine)):
            return
        if (begun := _beginning(calls)) is not None:
            shared = SharedPrompt(deployment=deployment.name, call=begun, passes=len(calls), is_beginning=True)
            self._known.append(shared)
            return
        for call in calls:
            choices = 1 if call.after else self._choices  # a pass that saw others has a prompt of its own
            known = self._find(deployment.name, call)
            if known is None:
                self._known.append(SharedPrompt(deployment=deployment.name, call=call, passes=choices))
            elif not known.is_done:
                known.passes = max(known.passes, choices * sum(known.is_of(deployment.name, one) for one in calls))

    @property
    def has_any(self) -> bool:
        """Whether a prompt may have to be computed before a pass."""
        return bool(self._known)

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


@cache
def _may_share(kind: type) -> bool:
    """Whether engines of a class share prompts. Found once, because Python 3.11 takes 10 µs to look."""
    return issubclass(kind, SharesPrompts)


def _cut(prompt: Prompt) -> tuple[tuple[Message, ...], Message, str]:
    """The messages of a prompt, of which the last is without its text; and that text, empty if it is no text."""
    *before, last = prompt.messages or ({},)
    text = last.get("content")
    rest = {name: value for name, value in last.items() if name != "content"} if isinstance(text, str) else last
    return tuple(before), rest, text if isinstance(text, str) else ""


def _beginning(calls: Sequence[Call]) -> Call | None:
    """What the prompts of different calls have in common, as a call; None if they are equal, or differ elsewhere than
    in how the last message ends.
    """
    if len(calls) < 2:
        return None
    first, *others = [_cut(call.prompt) for call in calls]
    fields = calls[0].prompt.prompt_fields
    if any(one[:2] != first[:2] for one in others) or any(call.prompt.prompt_fields != fields for call in calls):
        return None
    texts = [first[2], *(one[2] for one in others)]
    least, greatest = min(texts), max(texts)  # every other text has what these two have in common
    shared = least[: common_length(least, greatest)]
    if not shared or least == greatest:
        return None
    messages = (*first[0], {**first[1], "content": shared})
    return replace(calls[0], prompt=replace(calls[0].prompt, messages=messages))


def prefill_of(shared: SharedPrompt, deployment: Deployment, left: Left) -> Call | None:
    """The call that computes a shared prompt; None if that would not pay, or would use up the budget of the passes."""
    passes = shared.passes if left.passes is None else min(shared.passes, left.passes)
    is_short = left.completion_tokens is not None and left.completion_tokens <= passes
    if is_short or not isinstance(deployment.engine, SharesPrompts):
        return None
    return deployment.engine.prefill(adapted(shared.call, deployment).call, passes)
