"""Many candidates at once: how every policy draws several. It bounds, it stops at the budget, it aborts the losers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tierwise.spec.ask import OutOfBudget
from tierwise.spec.call import Pass
from tierwise.spec.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from tierwise.spec.ask import Ask
    from tierwise.spec.call import Call


@asynccontextmanager
async def panel(ask: Ask, calls: Iterable[Call]) -> AsyncGenerator[Arrivals, None]:
    """Runs all calls, at most `ask.width` at once. Leaving the block aborts what still runs."""
    queue = list(calls)
    arrivals = Arrivals(len(queue))
    waiting = iter(queue)

    async def work() -> None:
        for call in waiting:
            try:
                arrivals.put(await ask(call))
            except (EngineError, OutOfBudget) as why:
                arrivals.put(why)
            await asyncio.sleep(0)  # the policy may have enough now: it looks before the next pass starts

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for _ in range(min(ask.width, len(queue)))]
            try:
                yield arrivals
            finally:
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class Arrivals:
    """What becomes of the calls of a panel, in the order in which it does: one entry each, until all have one.

    An entry is a pass that finished or that the budget cut short, or None for a call that failed or that the budget did
    not allow. When calls failed and not one brought a pass, the iterator ends in what the last of them raised.
    """

    def __init__(self, calls: int) -> None:
        self.left = calls
        """Calls that are still to come."""
        self._queue: asyncio.Queue[Pass | EngineError | OutOfBudget] = asyncio.Queue()
        self._failure: EngineError | None = None
        self._any_good = False

    def put(self, arrival: Pass | EngineError | OutOfBudget) -> None:
        self._queue.put_nowait(arrival)

    def __aiter__(self) -> Arrivals:
        return self

    async def __anext__(self) -> Pass | None:
        if not self.left:
            if self._failure is not None and not self._any_good:
                raise self._failure
            raise StopAsyncIteration
        arrival = await self._queue.get()
        self.left -= 1
        if isinstance(arrival, Pass):
            self._any_good = True
            return arrival
        if isinstance(arrival, EngineError):
            self._failure = arrival
        return None
