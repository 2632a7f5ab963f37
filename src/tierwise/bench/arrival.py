"""How trials arrive at the endpoint. A closed loop: the next one comes when one before it has been answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")


async def closed_loop(items: Iterable[T], concurrency: int, attend: Callable[[T], Awaitable[None]]) -> None:
    """Attend to every item, `concurrency` at a time; being cancelled, or one that raises, ends them all."""
    waiting = iter(items)

    async def client() -> None:
        for item in waiting:
            await attend(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(client())
    except* TierwiseError as failures:
        raise failures.exceptions[0] from None
