"""Turns for work that cannot be interrupted, such as decoding a large request, so that small requests pass in between.

One turn runs at a time, and the next begins only after a pause of `PAUSES` times as long as it took. Without the pause
a few clients with large requests could keep the event loop busy, and a small request, which needs several rounds of the
loop, would wait for several of them in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

PAUSES = 3.0
"""Length of the pause after a turn, relative to the turn."""


_Made = TypeVar("_Made")

_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


@asynccontextmanager
async def turn() -> AsyncGenerator[None]:
    """Wait for a turn, in the order of arrival. The block must not wait for anything."""
    loop = asyncio.get_running_loop()
    lock = _of_loop.setdefault(loop, asyncio.Lock())
    await lock.acquire()
    began = perf_counter()
    try:
        yield
    finally:
        loop.call_later(PAUSES * (perf_counter() - began), lock.release)


async def made(work: Callable[[], _Made], *, is_large: bool) -> _Made:
    """What some work makes, in a turn if it is large."""
    if is_large:
        async with turn():
            return work()
    return work()
