"""One pass on a pool, from its request to its end: slots, budget, deadline, tokens as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tierwise.pools.engines import RunningDraw
from tierwise.run.budget import Allowance
from tierwise.run.recovery import LOST, is_lost
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.call import Chunk, Outcome, Pass, Usage
from tierwise.spec.errors import SpecError, TooLong

if TYPE_CHECKING:
    from tierwise.panel import Entry
    from tierwise.pools.choice import Choice, ReplayedTier
    from tierwise.pools.clock import Simulation
    from tierwise.pools.draws import Draw
    from tierwise.pools.memo import Memo
    from tierwise.run.budget import BudgetTracker
    from tierwise.spec.ask import Watch
    from tierwise.spec.call import Call
    from tierwise.spec.json import Fields


class Asker(Protocol):
    """Who runs passes: the `Ask` of a tier."""

    choice: Choice
    replayed: ReplayedTier
    tracker: BudgetTracker
    simulation: Simulation
    memo: Memo


class PassInFlight:
    """A call that waits, runs or has ended.

    Args:
        ask: who asked.
        call: with its draw number.
        deliver: receives the entry once, unless the pass is aborted.
        watch: as for `Ask.__call__`.
        passes: how many passes of its panel have its prompt, itself included.
        recovery: the recorded pass that answers it, of one that answers in place of a lost pass.
    """

    def __init__(
        self,
        ask: Asker,
        call: Call,
        deliver: Callable[[Entry], None],
        watch: Watch | None = None,
        *,
        passes: int = 1,
        recovery: Draw | None = None,
    ) -> None:
        self._ask = ask
        self._call = call
        self._deliver = deliver
        self._watch = watch
        self._passes = passes
        self._running: RunningDraw | None = None
        self._draw = self._recovery = recovery
        self._is_over = False
        self._cap: int | None = None
        self._allowance: Allowance | None = None
        self._number = 0
        self._started = 0.0
        self._share = 0.0

    @property
    def call(self) -> Call:
        return self._call

    def request(self) -> None:
        """Start, or wait for a slot of this action on the deployment until the deadline."""
        slots = self._ask.choice.slots(self._ask.replayed)
        if slots.free:
            slots.free -= 1
            self.start()
            return
        slots.waiting.append(self)
        if self._ask.tracker.deadline is not None:
            self._ask.simulation.at(self._ask.tracker.deadline, self._too_late)

    def abort(self) -> None:
        """Stop it without an entry."""
        if self._is_over:
            return
        if self._running is None:
            self._is_over = True
            waiting = self._ask.choice.slots(self._ask.replayed).waiting
            if self in waiting:
                waiting.remove(self)
            return
        self._close("aborted")

    def _too_late(self) -> None:
        if self._running is None and not self._is_over:
            self._is_over = True
            self._ask.choice.slots(self._ask.replayed).waiting.remove(self)
            self._refuse()

    def _refuse(self) -> None:
        self._ask.choice.refused_by = self._ask.tracker
        self._deliver(OutOfBudget())

    def start(self) -> None:
        """Start with a slot that is its own."""
        ask, call = self._ask, self._call
        now, tracker, choice = ask.simulation.now, ask.tracker, ask.choice
        try:
            tracker.admit(now)
        except OutOfBudget:
            self._is_over = True
            self._free_slot()
            self._refuse()
            return
        self._number, choice.started = choice.started, choice.started + 1
        draw = self._draw = self._recovery or choice.find(ask.replayed, call)
        self._cap = tracker.cap(call.prompt)
        self._allowance = Allowance(tracker, self._cap)
        bound = call.prompt.bound if self._cap is None else self._cap
        if not draw.failure and not draw.answers(bound):
            allowed = "no limit" if bound is None else f"{bound} tokens"
            raise SpecError(
                f"draw {call.draw} of task {choice.shuffled.task.task.id!r} was recorded with a limit of {draw.bound} "
                f"tokens and reached it, and tier {ask.replayed.name!r} has {allowed}; record a pool with a larger "
                "limit"
            )
        self._allowance.begin()
        is_metered = self._cap is not None or self._watch is not None
        prompt: object = choice.shuffled.task.task.id
        if call.after or self._recovery is not None:
            prompt = prompt, call.prompt.messages if self._recovery is None else call.role
        self._running = RunningDraw(
            draw,
            draw.count if bound is None else min(bound, draw.count),
            prompt,
            self._ended,
            self._token if is_metered else None,
            passes=self._passes,
        )
        self._started = now
        self._share = ask.replayed.engine.occupancy.enter(now)
        if tracker.deadline is not None:
            ask.simulation.at(tracker.deadline, self._deadline)
        ask.replayed.engine.start(self._running)

    def _token(self, number: int) -> None:
        assert self._allowance is not None  # noqa: S101 - it runs
        goes_on = self._allowance.pay(min(1, number))
        if number and self._watch is not None and self._watch(self._chunk(number)) == "cut":
            self._close("cut", was_watched_out=True)
        elif not goes_on:
            self._close("cut")

    def _chunk(self, number: int) -> Chunk:
        """Token `number`, as an engine that streams token by token sends it."""
        draw, call = self._draw, self._call
        assert draw is not None  # noqa: S101 - it runs
        before, after = (draw.part(count, logprobs=False).completion for count in (number - 1, number))
        delta: dict[str, Any] = {}
        if len(after.reasoning) > len(before.reasoning):
            delta["reasoning_content"] = after.reasoning[len(before.reasoning) :]
        if len(after.text) > len(before.text):
            delta["content"] = after.text[len(before.text) :]
        if after.tool_calls:
            delta["tool_calls"] = [{"index": index, **one} for index, one in enumerate(after.tool_calls)]
        logprobs: Fields | None = None
        if call.prompt.fields.get("logprobs"):
            listed = draw.part(number, logprobs=True).completion.logprobs
            logprobs = {"content": [dict(listed[number - 1])]} if len(listed) >= number else None
        return Chunk(delta=delta, logprobs=logprobs, usage=draw.usage_of(number, self._cached()))

    def _deadline(self) -> None:
        if not self._is_over:
            self._close("cut")

    def _ended(self) -> None:
        if self._is_over:
            return
        assert self._draw is not None  # noqa: S101 - it ran
        self._close("failed" if self._draw.failure else "finished")

    def _close(self, outcome: Outcome, *, was_watched_out: bool = False) -> None:
        """End the pass, record it, and deliver its entry unless it was aborted."""
        ask, running, draw = self._ask, self._running, self._draw
        assert running is not None  # noqa: S101 - only passes that run are closed
        assert draw is not None  # noqa: S101
        self._is_over = True
        if self._allowance is not None:
            self._allowance.end()
        if not running.is_over:
            ask.replayed.engine.stop(running)
        done = self._pass(running, draw, outcome)
        ask.choice.simulated.append(done)
        self._free_slot()
        if outcome == "aborted":
            return
        if outcome == "failed":
            self._deliver(TooLong(draw.failure, engine=ask.replayed.deployment))
        elif outcome == "cut" and done.completion.is_empty and not was_watched_out:
            self._refuse()
        else:
            self._deliver(done)

    def _pass(self, running: RunningDraw, draw: Draw, outcome: Outcome) -> Pass:
        ask, call, now = self._ask, self._call, self._ask.simulation.now
        logprobs = bool(call.prompt.fields.get("logprobs"))
        part = draw.part(running.tokens, logprobs=logprobs, ended=outcome == "finished")
        ask.memo.remember(part)
        usage = draw.usage_of(running.tokens, self._cached()) if running.has_prompt else Usage(exact=False)
        if outcome == "finished" and is_lost(part.completion, usage):
            outcome = LOST
        done = Pass(
            number=self._number,
            tier=ask.replayed.label,
            deployment=ask.replayed.deployment,
            call=call,
            outcome=outcome,
            completion=part.completion,
            usage=usage,
            started=self._started - ask.choice.began,
            first_token=None if running.first_token is None else running.first_token - self._started,
            seconds=now - self._started,
            busy_seconds=ask.replayed.engine.occupancy.leave(self._share, now),
            error=draw.failure if outcome == "failed" else "",
        )
        if outcome == LOST:
            ask.choice.lost[self._number] = ask.replayed.name, done
        return done

    def _cached(self) -> int | None:
        return None if self._running is None else self._running.cached

    def _free_slot(self) -> None:
        """Give its slot to the next call of this action that waits for one."""
        slots = self._ask.choice.slots(self._ask.replayed)
        if slots.waiting:
            slots.waiting.popleft().start()
        else:
            slots.free += 1
