"""Runs several calls concurrently for a policy: limits concurrency, stops at the budget, aborts what is not needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from tierwise.spec.ask import Order, OutOfBudget, Pace
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError

Entry = Pass | EngineError | OutOfBudget
"""What becomes of a call."""


class Runner(Protocol):
    """Runs calls on one deployment."""

    @property
    def deployment(self) -> str: ...

    @property
    def width(self) -> int: ...

    async def run(self, call: Call) -> Pass: ...


@asynccontextmanager
async def panel(
    calls: Sequence[tuple[Runner, Call]], *, order: Order, pace: Pace | None = None
) -> AsyncGenerator[Entries, None]:
    """Run all calls, at most `width` at a time on each deployment. Leaving the block aborts what still runs.

    `pace` returns how many calls, from the first, may have started, given how many have.
    """
    entries = Entries(len(calls), order, pace)
    caller = asyncio.current_task()
    cancelled = 0 if caller is None else caller.cancelling()
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
        if caller is not None and caller.cancelling() > cancelled:
            raise asyncio.CancelledError from None  # a task group forgets a cancellation that comes while it ends
        raise failures.exceptions[0] from None


class Tally:
    """What a panel knows of its calls, live and on a pool (`tierwise.pools`): which result comes next, how many calls
    may start, and whether all of them failed.

    Attributes:
        left: calls whose entry has not been taken.
        position: the call of the last entry that was taken; -1 before the first.
        started: calls that have started.
        allowed: how many calls, from the first, may start.
    """

    def __init__(self, calls: int, order: Order, pace: Pace | None) -> None:
        self.left = calls
        self.position = -1
        self.started = 0
        self.allowed = calls if pace is None else 0
        self._calls = calls
        self._pace = pace
        self._in_order = order == "draw"
        self._entries: dict[int, Entry] = {}
        """Entries that have not been taken, in the order in which they came."""
        self._failure: EngineError | None = None
        self._any_good = False

    def put(self, position: int, entry: Entry) -> None:
        """Add the entry of a call."""
        self._entries[position] = entry

    @property
    def has_next(self) -> bool:
        """Whether the next entry is there."""
        return self._calls - self.left in self._entries if self._in_order else bool(self._entries)

    def take(self) -> Pass | None:
        """The next entry, which is there; None for a call without a pass."""
        self.position = self._calls - self.left if self._in_order else next(iter(self._entries))
        entry = self._entries.pop(self.position)
        self.left -= 1
        if isinstance(entry, Pass):
            self._any_good = True
            return entry
        if isinstance(entry, EngineError):
            self._failure = entry
        return None

    def require_left(self) -> None:
        """Raise if every entry has been taken.

        Raises:
            EngineError: the last error, if no call produced a pass.
            StopAsyncIteration: otherwise.
        """
        if not self.left:
            if self._failure is not None and not self._any_good:
                raise self._failure
            raise StopAsyncIteration

    def allow(self) -> bool:
        """Let calls start up to the pace, and at least one where none is unfinished. Returns whether more may start."""
        if self._pace is None or self.allowed >= self._calls:
            return False
        before, taken = self.allowed, self._calls - self.left
        self.allowed = max(self._pace(self.started), before, taken + (taken >= before))
        return self.allowed > before


class Entries(Tally):
    """Implements `spec.ask.Arrivals`: the results of a panel's calls."""

    def __init__(self, calls: int, order: Order, pace: Pace | None = None) -> None:
        super().__init__(calls, order, pace)
        self._allows_more = asyncio.Event()
        self._has_more = asyncio.Event()

    def put(self, position: int, entry: Entry) -> None:
        super().put(position, entry)
        self._has_more.set()

    async def may_start(self, waiting: Sequence[tuple[int, Runner, Call]]) -> None:
        """Wait until the first of the waiting calls may start, or none is waiting any more."""
        while waiting and waiting[0][0] >= self.allowed:
            self._allows_more.clear()
            await self._allows_more.wait()

    def __aiter__(self) -> Entries:
        return self

    async def __anext__(self) -> Pass | None:
        self.require_left()
        if self.allow():
            self._allows_more.set()
        while not self.has_next:
            self._has_more.clear()
            await self._has_more.wait()
        return self.take()
