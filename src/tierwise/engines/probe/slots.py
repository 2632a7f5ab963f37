"""Measures how many requests a server answers concurrently, from the order in which chunks arrive."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

ASKED = 4
"""Number of concurrent requests that a probe sends."""


async def side_by_side(stream: Callable[[], AsyncGenerator[str]], asked: int) -> int | None:
    """Send several requests at once, and count how many of their answers overlap.

    Two answers overlap if each has a chunk before the other has ended. This uses no clock, so slow and fast machines
    give the same result.

    Args:
        stream: streams one answer in chunks.
        asked: number of requests.

    Returns:
        The maximum number of answers in progress at once; None if an answer arrives as one chunk, or not at all.
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
