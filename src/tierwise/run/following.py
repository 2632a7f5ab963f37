"""Follows a running pass chunk by chunk, and ends it where a budget or its policy says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import TYPE_CHECKING

from tierwise.engines.engine import one_by_one
from tierwise.run.budget import Allowance
from tierwise.run.thinking import end_thinking
from tierwise.spec.call import is_thinking
from tierwise.spec.clock import now
from tierwise.spec.errors import Garbled

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.run.budget import BudgetTracker
    from tierwise.run.output import DraftStream, OutputStream, SinkRelay
    from tierwise.run.passing import RunningPass
    from tierwise.spec.ask import Watch
    from tierwise.spec.call import Chunk

LEAST_LOOK_SECONDS = 0.001
"""Shortest interval between two looks at dollars that grow with time."""


async def follow(
    running: RunningPass,
    tracker: BudgetTracker,
    cap: int | None,
    *,
    deployment: Deployment,
    output: OutputStream | DraftStream | None,
    watch: Watch | None,
    remarked: Callable[[str], None],
) -> str:
    """Read chunks until the engine finishes, the policy cuts, or a budget is used up.

    Every chunk that came is counted, also one beyond the limit. A pass that uses up the dollars of a budget ends the
    others within it at once.

    Args:
        running: the pass.
        tracker: its budget.
        cap: its limit of completion tokens, which the engine is sent; None if it has none.
        deployment: where it runs.
        output: shows it to the user, as the answer or as a draft; None to show nothing.
        watch: may cut it, or end its thinking.
        remarked: called with what is odd about the engine's answer.

    Returns:
        The bound that ended it; empty if none did.

    Raises:
        Garbled: the stream ended without a finish reason.
        OutOfBudget: no completion tokens were left for it to start.
        EngineError: the engine failed.
    """
    if watch is None and not tracker.looks_at_chunks:
        return await _read(running, tracker, cap, output, remarked)
    try:
        with Allowance(tracker, cap, is_whole=not running.is_streamed) as allowance:
            async with asyncio.timeout_at(tracker.deadline) as clock, _stream(running, tracker, cap) as stream:
                running.on_cut = lambda: _expire(clock, running)
                with tracker.following(running), _Wallet(running, tracker):
                    async for chunk in stream:
                        goes_on = allowance.pay(*running.add(chunk))
                        if chunk.remark and chunk.finish:
                            remarked(chunk.remark)
                        if output is not None:
                            await output.show([running.shown])
                        if running.is_complete:
                            continue
                        if watch is not None and await _is_watched_out(watch, chunk, deployment):
                            running.was_watched_out = True
                            return ""
                        running.lacking = allowance.lacking
                        if (bound := _used_up(chunk, running, tracker)) or not goes_on:
                            _remark_beyond(running, cap, remarked)
                            return bound or "completion_tokens"
    except TimeoutError:
        if not clock.expired():
            raise
        return "" if running.is_complete else "dollars" if running.is_unaffordable else "seconds"
    _require_complete(running)
    return ""


async def _read(
    running: RunningPass,
    tracker: BudgetTracker,
    cap: int | None,
    output: OutputStream | DraftStream | None,
    remarked: Callable[[str], None],
) -> str:
    """`follow` for a pass that nothing it produces can end, unless it ignores its limit: no chunk of it is looked at
    apart from those that came with it, and no budget counts its tokens.
    """
    try:
        if tracker.deadline is None:
            is_beyond = await _read_to_end(running, cap, output, remarked)
        else:
            async with asyncio.timeout_at(tracker.deadline) as clock:
                is_beyond = await _read_to_end(running, cap, output, remarked)
    except TimeoutError:
        if tracker.deadline is None or not clock.expired():
            raise
        return "" if running.is_complete else "seconds"
    if is_beyond:
        _remark_beyond(running, cap, remarked)
        return "completion_tokens"
    _require_complete(running)
    return ""


async def _read_to_end(
    running: RunningPass,
    cap: int | None,
    output: OutputStream | DraftStream | None,
    remarked: Callable[[str], None],
) -> bool:
    """Returns whether the engine has ignored the limit."""
    is_unseen = output is None or output.is_discarded
    relay = None
    if cap is None and not is_unseen and output is not None and output.relay is not None:
        relay = _Relay(running, output.relay)
    passes_on = None if relay is None else relay.pass_on
    blocks = running.blocks(cap, at_once=is_unseen and cap is None, pass_on=passes_on)
    try:
        async for chunks in blocks:
            if relay is not None:
                await relay.caught_up()
            shown = running.add_all(chunks)
            for chunk in chunks:
                if chunk.remark and chunk.finish:
                    remarked(chunk.remark)
            if not is_unseen:
                assert output is not None  # noqa: S101 - else nobody sees it
                await output.show(shown)
            if cap is not None and running.is_beyond(cap) and not running.is_complete:
                return True
    finally:
        await blocks.aclose()
    return False


class _Relay:
    """Records and shows the output of a pass as it comes, without waking the task of the action."""

    __slots__ = ("_add", "_error", "_is_full", "_to")

    def __init__(self, running: RunningPass, to: SinkRelay) -> None:
        self._add, self._to = running.relayed, to
        self._is_full = False
        self._error: Exception | None = None

    def pass_on(self, chunks: Sequence[Chunk]) -> bool:
        """As of `engine.PassOn`."""
        try:
            self._is_full = not self._to.pass_on(self._add(chunks))
        except Exception as error:  # noqa: BLE001 - raised by `caught_up`, in the task of the action
            self._error = error
        return not self._is_full and self._error is None

    async def caught_up(self) -> None:
        """Wait for the user, and raise what went wrong."""
        if self._error is not None:
            raise self._error
        if self._is_full:
            self._is_full = False
            await self._to.caught_up()


def _remark_beyond(running: RunningPass, cap: int | None, remarked: Callable[[str], None]) -> None:
    if running.is_beyond(cap):
        remarked(f"went on after its limit of {cap} tokens, and was cut")


def _require_complete(running: RunningPass) -> None:
    if not running.is_complete:
        name = running.deployment
        raise Garbled(f"deployment {name!r} ended its answer without a finish reason", engine=name)


def _stream(
    running: RunningPass, tracker: BudgetTracker, cap: int | None
) -> AbstractAsyncContextManager[AsyncGenerator[Chunk, None]]:
    return aclosing(one_by_one(running.blocks(cap, tracker.reasoning_left)))


async def _is_watched_out(watch: Watch, chunk: Chunk, deployment: Deployment) -> bool:
    """Whether a policy ends a pass with this chunk: it cuts it, or ends thinking that the engine cannot end."""
    verb = watch(chunk)
    return verb == "cut" or (verb is not None and not await end_thinking(deployment, chunk))


def _used_up(chunk: Chunk, running: RunningPass, tracker: BudgetTracker) -> str:
    """The bound, other than completion tokens, that ends a pass with this chunk; empty if none does."""
    if is_thinking(chunk.delta) and (thinking := tracker.reasoning_left) is not None and thinking < 0:
        return "reasoning_tokens"
    if not tracker.has_dollars:
        return ""
    if tracker.cut_where_broke(now(), but=running):
        return "dollars"
    running.look()
    return ""


def _expire(clock: asyncio.Timeout, running: RunningPass) -> None:
    if not (clock.expired() or running.is_complete):
        running.is_unaffordable = True
        clock.reschedule(now())


class _Wallet:
    """Looks at the dollars of a budget while engines say nothing, where a deployment costs dollars per hour.

    A pass plans anew when it has spent some, and one of the others when a pass ends. Who looks cuts all that have to.
    """

    def __init__(self, running: RunningPass, tracker: BudgetTracker) -> None:
        self._running, self._tracker = running, tracker
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if self._tracker.has_dollars and self._running.dollars_per_second > 0:
            self._running.on_look = self._plan
            self._plan()

    def __exit__(self, *error: object) -> None:
        self._running.on_look = None
        if self._timer is not None:
            self._timer.cancel()

    def _plan(self) -> None:
        """Look when the running passes could have spent what is left."""
        if self._timer is not None:
            self._timer.cancel()
        left = self._tracker.dollars_left(now())
        if left is not None:
            seconds = max(left / self._tracker.dollars_per_second, LEAST_LOOK_SECONDS)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Cut what a budget no longer allows."""
        if not self._tracker.cut_where_broke(now(), but=None):
            self._plan()
