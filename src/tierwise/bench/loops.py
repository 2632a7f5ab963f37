"""Closed and open loops: trials begin when one before has been answered, or at moments that nothing can hold up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

T = TypeVar("T")

_APART = 0.001
"""Seconds between the first trials of a closed loop's clients, so that they do not all come at one moment."""


async def closed_loop(items: Iterable[T], concurrency: int, attend: Callable[[T, float], Awaitable[None]]) -> None:
    """Attend to every item, `concurrency` at a time; being cancelled, or one that raises, ends them all."""
    waiting = iter(items)

    async def client(number: int) -> None:
        await asyncio.sleep(number * _APART)
        for item in waiting:
            await attend(item, now())

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(concurrency):
                group.create_task(client(number))
    except* TierwiseError as failures:
        raise failures.exceptions[0] from None


async def open_loop(
    items: Iterable[T], moments: Iterable[float], attend: Callable[[T, float], Coroutine[None, None, None]]
) -> None:
    """Attend to every item from its moment on, however many are under way, and say when that moment was.

    Args:
        items: each is taken at its moment, not before.
        moments: seconds from now on, never falling.
        attend: gets the item and its moment on the loop's clock.
    """
    waiting, began = iter(items), now()
    try:
        async with asyncio.TaskGroup() as group:
            for moment in moments:
                due = began + moment
                await asyncio.sleep(max(0.0, due - now()))
                while (left := due - now()) > 0:  # noqa: ASYNC110 - uvloop rounds to milliseconds, and may be early
                    await asyncio.sleep(left)
                try:
                    item = next(waiting)
                except StopIteration:
                    break
                group.create_task(attend(item, due))
    except* TierwiseError as failures:
        raise failures.exceptions[0] from None
