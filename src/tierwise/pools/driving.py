"""Drives the coroutine of one action by hand, with `send` and `throw`, in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tierwise.pools.clock import SimulatedLoop, Simulation
from tierwise.pools.memo import Memo, Sought
from tierwise.spec.errors import PolicyError
from tierwise.verifiers import pooled

if TYPE_CHECKING:
    from tierwise.spec.ask import Answer

T = TypeVar("T")


class Stage:
    """Where actions run: simulated time, its event loop, and the memo. Only one action's code runs at a time."""

    def __init__(self, memo: Memo) -> None:
        self.memo = memo
        self.simulation = Simulation()
        self.loop = SimulatedLoop(self.simulation)  # type: ignore[abstract]  # what is missing is not simulated
        self._context: Context = copy_context()
        self._context.run(pooled.known.set, memo)

    def enter(self, task: Any) -> None:
        asyncio._set_running_loop(self.loop)  # noqa: SLF001 - documented for those who make event loops
        asyncio.tasks._enter_task(self.loop, task)  # noqa: SLF001 - likewise

    def leave(self, task: Any) -> None:
        asyncio.tasks._leave_task(self.loop, task)  # noqa: SLF001
        asyncio._set_running_loop(None)  # noqa: SLF001

    def run(self, drive: Callable[[Any, BaseException | None], Any], value: Any, error: BaseException | None) -> Any:
        """Call something with the memo in place."""
        return self._context.run(drive, value, error)


class Waiter(Generic[T]):
    """What a policy waits for; it may be there already."""

    __slots__ = ("_actor", "_error", "_is_done", "_value")

    def __init__(self) -> None:
        self._actor: Actor | None = None
        self._is_done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def give(self, value: T) -> None:
        """Let the policy go on with a value."""
        if self._actor is not None:
            self._actor.resume(value)
        else:
            self._is_done, self._value = True, value

    def fail(self, error: BaseException) -> None:
        """Let the policy go on with an exception."""
        if self._actor is not None:
            self._actor.resume(None, error)
        else:
            self._is_done, self._error = True, error

    def __await__(self) -> Generator[Any, Any, T]:
        if self._is_done:
            if self._error is not None:
                raise self._error
            value: T = self._value
            return value
        sent: T = yield self
        return sent

    def attach(self, actor: Actor) -> None:
        self._actor = actor

    def detach(self) -> None:
        self._actor = None


def _nothing(answer: Answer | None, error: BaseException | None) -> None:
    """An action ends once."""


class Actor:
    """One action under way. It is also what its policy sees as the current task.

    Args:
        stage: where it runs.
        work: the action's coroutine.
        ended: called with the answer, or with the exception that ended it.
    """

    def __init__(
        self,
        stage: Stage,
        work: Coroutine[Any, Any, Answer],
        ended: Callable[[Answer | None, BaseException | None], None],
    ) -> None:
        self._stage = stage
        self._work = work
        self._ended = ended
        self._waits_for: Waiter[Any] | None = None
        self._cancels = 0
        self._is_over = False

    def resume(self, value: Any = None, error: BaseException | None = None) -> None:
        """Run the policy until it waits for something that has not happened, or until it ends."""
        self._waits_for = None
        self._stage.enter(self)
        try:
            outcome = self._stage.run(self._drive, value, error)
        finally:
            self._stage.leave(self)
        if outcome is not None:
            self._is_over = True
            ended, self._ended = self._ended, _nothing  # so that nothing is left for the garbage collector
            ended(*outcome)

    def _drive(self, value: Any, error: BaseException | None) -> tuple[Answer | None, BaseException | None] | None:
        while True:
            try:
                wanted = self._work.send(value) if error is None else self._work.throw(error)
            except StopIteration as done:
                return done.value, None
            except BaseException as failure:  # noqa: BLE001 - whoever started the action decides
                return None, failure
            value = error = None
            if isinstance(wanted, Waiter):
                wanted.attach(self)
                self._waits_for = wanted
                return None
            if isinstance(wanted, Sought):
                try:
                    value = self._found(wanted)
                except Exception as failure:  # noqa: BLE001 - it belongs to the policy that asked
                    error = failure
            elif wanted is None:  # asyncio.sleep(0)
                self._stage.simulation.at(self._stage.simulation.now, self.resume)
                return None
            elif isinstance(wanted, asyncio.Future):
                wanted._asyncio_future_blocking = False  # noqa: SLF001 - as a task does
                wanted.add_done_callback(self._future_done)
                return None
            else:
                error = PolicyError(f"a policy waited for {wanted!r}, which does not exist in simulated time")

    def _found(self, wanted: Sought) -> Any:
        self._stage.leave(self)
        try:
            return self._stage.memo.run(wanted.find)
        finally:
            self._stage.enter(self)

    def _future_done(self, _: asyncio.Future[Any]) -> None:
        if not self._is_over:
            self.resume()

    # ── what asyncio asks of a task ──────────────────────────────────────
    def cancel(self, msg: Any = None) -> bool:  # noqa: ARG002 - asyncio's signature
        """Called by `asyncio.timeout` at its end, from the simulation."""
        self._cancels += 1
        waits_for = self._waits_for
        if self._is_over or waits_for is None:
            return False
        waits_for.detach()
        self._stage.simulation.at(self._stage.simulation.now, lambda: self.resume(None, asyncio.CancelledError()))
        return True

    def cancelling(self) -> int:
        return self._cancels

    def uncancel(self) -> int:
        self._cancels -= 1
        return self._cancels

    def close(self) -> None:
        """End the policy's coroutine where it stands."""
        self._is_over = True
        if self._waits_for is not None:
            self._waits_for.detach()
        self._stage.enter(self)
        try:
            self._work.close()
        finally:
            self._stage.leave(self)
