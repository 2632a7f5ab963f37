"""Simulated time: events in their order, and the event loop that a policy's coroutines see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

from tierwise.spec.clock import expect_frozen

if TYPE_CHECKING:
    from contextvars import Context


class Simulation:
    """Events in the order of their times; events of the same time in the order in which they were planned.

    Attributes:
        now: the simulated time, in seconds.
        timers: how many timers of policies are set.
        is_shared: whether the action walks along a shared panel, which it may not leave by a timer (`pools.timeline`).
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.timers = 0
        self.is_shared = False
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._planned = 0

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Plan an event; a time in the past means now."""
        self._planned += 1
        heappush(self._events, (max(self.now, when), self._planned, event))

    def step(self) -> bool:
        """Run the next event. Returns false if there is none."""
        if not self._events:
            return False
        self.now, _, event = heappop(self._events)
        event()
        return True

    def clear(self) -> None:
        """Forget what is planned, and begin anew at 0."""
        self._events.clear()
        self.now = 0.0
        self.timers = 0
        self.is_shared = False


class Timer:
    """A planned call, as asyncio's `TimerHandle`, which takes several times as long to make."""

    __slots__ = ("_args", "_callback", "_context", "_is_over", "_simulation", "_when")

    def __init__(
        self,
        simulation: Simulation,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
    ) -> None:
        self._simulation = simulation
        self._when, self._callback, self._args, self._context = when, callback, args, context
        self._is_over = False
        simulation.timers += 1

    def run(self) -> None:
        if self._is_over:
            return
        self.cancel()
        if self._context is None:
            self._callback(*self._args)
        else:
            self._context.run(self._callback, *self._args)

    def cancel(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._simulation.timers -= 1

    def cancelled(self) -> bool:
        return self._is_over

    def when(self) -> float:
        return self._when


class SimulatedLoop(asyncio.AbstractEventLoop):
    """What a policy sees as its event loop: a clock with timers and futures, without tasks, input and output."""

    is_frozen = True

    def __init__(self, simulation: Simulation) -> None:
        expect_frozen()
        self._simulation = simulation

    def time(self) -> float:
        return self._simulation.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        timer = Timer(self._simulation, when, callback, args, context)
        if not self._simulation.is_shared:
            self._simulation.at(when, timer.run)
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Timer:
        return self.call_at(self.time(), callback, *args, context=context)

    def create_task(self, coro: Any, **_: Any) -> Any:
        coro.close()
        raise NotImplementedError(
            "tasks are not available to a policy that runs on a pool; run passes concurrently with `ask.panel`"
        )
