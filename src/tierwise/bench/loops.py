"""Closed and open loops. A closed loop starts a trial when an earlier one has ended; an open loop, at a fixed time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

T = TypeVar("T")

_STAGGER = 0.001
"""Seconds between the starts of a closed loop's clients, so that they do not all start at once."""


async def closed_loop(items: Iterable[T], concurrency: int, handle: Callable[[T, float], Awaitable[None]]) -> None:
    """Handle every item, `concurrency` at a time. Cancellation or an error ends all of them."""
    waiting = iter(items)

    async def client(number: int) -> None:
        await asyncio.sleep(number * _STAGGER)
        for item in waiting:
            await handle(item, now())

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(concurrency):
                group.create_task(client(number))
    except* (TierwiseError, OSError) as failures:
        raise failures.exceptions[0] from None


async def _on_time() -> float:
    return 0.0


async def open_loop(
    items: Iterable[T],
    moments: Iterable[float],
    handle: Callable[[T, float], Coroutine[None, None, None]],
    delay: Callable[[], Awaitable[float]] = _on_time,
) -> None:
    """Start handling each item at its scheduled time, regardless of how many are running.

    Args:
        items: each is taken from the iterator at its scheduled time, not before.
        moments: scheduled times in seconds from now, non-decreasing.
        handle: receives the item and its scheduled time on the loop's clock.
        delay: the seconds by which the schedule is late so far. No item starts while it waits.
    """
    waiting, began = iter(items), now()
    try:
        async with asyncio.TaskGroup() as group:
            for moment in moments:
                await asyncio.sleep(max(0.0, began + moment - now()))
                # Again, because a delay may have begun, and uvloop rounds to milliseconds and may wake early.
                while (left := (due := began + moment + await delay()) - now()) > 0:  # noqa: ASYNC110
                    await asyncio.sleep(left)
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                group.create_task(handle(item, due))
    except* (TierwiseError, OSError) as failures:
        raise failures.exceptions[0] from None
