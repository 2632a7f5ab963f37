"""How many requests a server answers side by side, told from the order in which pieces of their answers arrive."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

ASKED = 4
"""Requests that a probe sends at once."""


async def side_by_side(stream: Callable[[], AsyncGenerator[str]], asked: int) -> int | None:
    """Send several requests at once, and count how many of their answers overlap.

    Two answers overlap when each brings a piece before the other has ended. No clock is read, so a slow machine gives
    the same result as a fast one.

    Args:
        stream: one answer, piece by piece.
        asked: how many.

    Returns:
        The most that were being answered at the same moment; None where an answer arrives in one piece, or not at all.
    """
    arrived = 0
    spans: list[tuple[int, int]] = []

    async def listen() -> None:
        nonlocal arrived
        moments = []
        async with aclosing(stream()) as pieces:
            async for _ in pieces:
                moments.append(arrived)
                arrived += 1
        if len(moments) > 1:
            spans.append((moments[0], moments[-1]))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(asked):
                group.create_task(listen())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    if len(spans) < asked:
        return None
    return max(sum(first <= moment <= last for first, last in spans) for moment, _ in spans)
