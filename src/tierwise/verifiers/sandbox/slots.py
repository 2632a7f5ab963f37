"""How many sandboxes run at once: about as many as there are cores, and the rest wait.

Their time starts when they run. One that must not be disturbed runs alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator

LEAST_SLOTS = 2


class Slots:
    """The slots of one event loop.

    Args:
        count: sandboxes that may run at once.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self._alone = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def taken(self, *, alone: bool) -> AsyncIterator[None]:
        """Hold one slot, or all of them."""
        async with contextlib.AsyncExitStack() as held:
            if alone:
                await held.enter_async_context(self._alone)  # else two that take all would wait for each other
            for _ in range(self._count if alone else 1):
                await held.enter_async_context(self._free)
            yield


_SLOTS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Slots] = weakref.WeakKeyDictionary()


def slots() -> Slots:
    """The slots of the running event loop."""
    return _SLOTS.setdefault(asyncio.get_running_loop(), Slots(max(LEAST_SLOTS, len(os.sched_getaffinity(0)))))
