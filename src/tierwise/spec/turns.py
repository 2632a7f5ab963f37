"""Turns for work that cannot be interrupted, such as decoding a large request, so that small requests pass in between.

One turn runs at a time, and the next begins only after a pause of `PAUSES` times as long as it took. Without the pause
a few clients with large requests could keep the event loop busy, and a small request, which needs several rounds of the
loop, would wait for several of them in each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from time import perf_counter
from weakref import WeakKeyDictionary

PAUSES = 3.0
"""Length of the pause after a turn, relative to the turn."""


class _Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self.is_free = True
        self.waiting: deque[asyncio.Future[None]] = deque()

    def release(self) -> None:
        while self.waiting:
            first = self.waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self.is_free = True


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Turns] = WeakKeyDictionary()


@asynccontextmanager
async def turn() -> AsyncGenerator[None]:
    """Wait for a turn, in the order of arrival. The block must not wait for anything."""
    loop = asyncio.get_running_loop()
    turns = _of_loop.get(loop)
    if turns is None:
        turns = _of_loop[loop] = _Turns()
    if turns.is_free:
        turns.is_free = False
    else:
        waiting: asyncio.Future[None] = loop.create_future()
        turns.waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                turns.release()
            raise
    began = perf_counter()
    try:
        yield
    finally:
        loop.call_later(PAUSES * (perf_counter() - began), turns.release)
