"""Runs several calls concurrently for a policy: limits concurrency, stops at the budget, aborts what is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from tierwise.spec.ask import Order, OutOfBudget
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError

_Entry = Pass | EngineError | OutOfBudget


class Runner(Protocol):
    """Runs calls on one deployment."""

    @property
    def deployment(self) -> str: ...

    @property
    def width(self) -> int: ...

    async def run(self, call: Call) -> Pass: ...


@asynccontextmanager
async def panel(
    calls: Sequence[tuple[Runner, Call]], *, order: Order, pace: Callable[[int], int] | None = None
) -> AsyncGenerator[Entries, None]:
    """Run all calls, at most `width` at a time on each deployment. Leaving the block aborts what still runs.

    `pace` returns how many calls, from the first, may have started, given how many have.
    """
    entries = Entries(len(calls), order, pace)
    queues: dict[str, list[tuple[int, Runner, Call]]] = {}
    for position, (runner, call) in enumerate(calls):
        queues.setdefault(runner.deployment, []).append((position, runner, call))

    async def work(waiting: list[tuple[int, Runner, Call]]) -> None:
        while waiting:
            await entries.may_start(waiting)
            if not waiting:
                return
            position, runner, call = waiting.pop(0)
            entries.started += 1
            try:
                entries.put(position, await runner.run(call))
            except (EngineError, OutOfBudget) as why:
                entries.put(position, why)
            await asyncio.sleep(0)  # let the policy stop before the next pass starts

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work(waiting))
                for waiting in queues.values()
                for _ in range(min(waiting[0][1].width, len(waiting)))
            ]
            try:
                yield entries
            finally:
                for task in tasks:
                    task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


class Entries:
    """Implements `spec.ask.Arrivals`: the results of a panel's calls."""

    def __init__(self, calls: int, order: Order, pace: Callable[[int], int] | None = None) -> None:
        self.left = calls
        self.position = -1
        self.started = 0
        self._calls = calls
        self._pace = pace
        self._allowed = calls if pace is None else 0
        self._allows_more = asyncio.Event()
        self._in_order = order == "draw"
        self._queue: asyncio.Queue[tuple[int, _Entry]] = asyncio.Queue()
        self._early: dict[int, _Entry] = {}
        self._failure: EngineError | None = None
        self._any_good = False

    def put(self, position: int, entry: _Entry) -> None:
        self._queue.put_nowait((position, entry))

    async def may_start(self, waiting: Sequence[tuple[int, Runner, Call]]) -> None:
        """Wait until the first of the waiting calls may start, or none is waiting any more."""
        while waiting and waiting[0][0] >= self._allowed:
            self._allows_more.clear()
            await self._allows_more.wait()

    def _allow(self) -> None:
        """Let calls start up to the pace, and at least one where none is unfinished."""
        if self._pace is None or self._allowed >= self._calls:
            return
        taken = self._calls - self.left
        allowed = max(self._pace(self.started), self._allowed, taken + (taken >= self._allowed))
        if allowed > self._allowed:
            self._allowed = allowed
            self._allows_more.set()

    def __aiter__(self) -> Entries:
        return self

    async def __anext__(self) -> Pass | None:
        if not self.left:
            if self._failure is not None and not self._any_good:
                raise self._failure
            raise StopAsyncIteration
        self._allow()
        self.position, entry = await self._next()
        self.left -= 1
        if isinstance(entry, Pass):
            self._any_good = True
            return entry
        if isinstance(entry, EngineError):
            self._failure = entry
        return None

    async def _next(self) -> tuple[int, _Entry]:
        if not self._in_order:
            return await self._queue.get()
        wanted = self._calls - self.left
        while wanted not in self._early:
            position, entry = await self._queue.get()
            self._early[position] = entry
        return wanted, self._early.pop(wanted)
