"""Keeps what the last pass of a policy needs, as far as the passes before it have shown how much that is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal

from tierwise.spec.ask import Arrivals, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk, Pass


def leaving_one_like(ask: Ask, passes: Sequence[Pass]) -> Ask | None:
    """An `Ask` for a pass after which another one can follow that takes as many tokens and as long as the largest of
    these.

    Returns:
        None if not as much is left; `ask` itself if nothing is bounded.
    """
    left = ask.left
    if left.passes is not None and left.passes < 2:
        return None
    tokens = None if left.completion_tokens is None else left.completion_tokens - _tokens(passes)
    seconds = None if left.seconds is None else left.seconds - _seconds(passes)
    if (tokens is not None and tokens <= 0) or (seconds is not None and seconds <= 0):
        return None
    if tokens is None and seconds is None:
        return ask
    return ask.within(Budget(completion_tokens=tokens, seconds=seconds))


async def arrivals_leaving_one(ask: Ask, arrivals: Arrivals, usable: Sequence[Pass], *, least: int) -> Pass | None:
    """The next result of a panel. When enough passes are usable, it waits only as long as another pass like the largest
    of them can follow.

    Args:
        ask: whose budget.
        arrivals: of the panel.
        usable: the passes of the panel so far that the last pass can use.
        least: how many of them it needs.

    Raises:
        TimeoutError: the rest is needed for the last pass.
        StopAsyncIteration: there are no more results.
    """
    left = ask.left
    if len(usable) < least or (left.completion_tokens is None and left.seconds is None):
        return await anext(arrivals)
    if left.completion_tokens is not None and left.completion_tokens < _tokens(usable):
        raise TimeoutError
    seconds = None if left.seconds is None else left.seconds - _seconds(usable)
    async with asyncio.timeout(seconds):
        return await anext(arrivals)


def cut_leaving_one(ask: Ask, usable: Sequence[Pass], *, least: int) -> Ask:
    """An `Ask` each of whose candidates is cut when another pass like the largest usable one needs the tokens left.

    Args:
        ask: whose budget. It is returned as it is if its tokens are not bounded.
        usable: the passes so far that the last pass can use; the caller adds to them.
        least: how many of them it needs. While there are fewer, nothing is cut.
    """
    if ask.left.completion_tokens is None:
        return ask

    def watch(_: Chunk) -> Literal["cut"] | None:
        left = ask.left.completion_tokens if len(usable) >= least else None
        if left is None or left >= _tokens(usable):  # the next chunks of running passes are not in what is left
            return None
        ask.note("cut a candidate: the last pass needs the rest of the tokens")
        return "cut"

    return ask.watching(lambda: watch)


def _tokens(passes: Sequence[Pass]) -> int:
    return max((done.usage.completion for done in passes), default=0)


def _seconds(passes: Sequence[Pass]) -> float:
    return max((done.seconds for done in passes), default=0.0)
