"""`spec.ask.Ask` on a pool: the counterpart of `run.runner`, whose passes are recorded draws in simulated time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Self

from tierwise.panel import Entry, Tally
from tierwise.policies import Thinking
from tierwise.pools.choice import SharedPasses, TooFewDraws
from tierwise.pools.driving import Waiter
from tierwise.pools.passes import PassInFlight
from tierwise.pools.timeline import Fallback, SharedPanel, Timeline
from tierwise.run.recovery import LOST, has_no_answer
from tierwise.spec.ask import Answer, Arrivals, Ask, Equality, Order, OutOfBudget, Pace, Verdict, Watch, Watching
from tierwise.spec.budget import Left
from tierwise.spec.call import Call, Pass
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import PolicyError, SpecError, TierwiseError

if TYPE_CHECKING:
    from types import TracebackType

    from tierwise.pools.choice import Choice, ReplayedTier
    from tierwise.pools.clock import Simulation
    from tierwise.pools.draws import Draw
    from tierwise.pools.memo import Memo
    from tierwise.run.budget import BudgetTracker
    from tierwise.spec.budget import Budget
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier


class PoolAsk:
    """`Ask` for one tier of a pool. Arguments as of `run.runner.PassRunner`.

    Args:
        choice: the state shared by all tiers of the action.
        replayed: the tier whose passes it runs.
        tracker: their budget.
        simulation: the clock.
        memo: finds verdicts once.
        path: the tiers whose policies are running, outermost first.
        fills: whether the tier's sampling must still be applied to prompts.
        drafts: candidates of cheaper tiers for the prompt.
        watches: makes the watch of each candidate that is called without one.
    """

    def __init__(
        self,
        choice: Choice,
        replayed: ReplayedTier,
        tracker: BudgetTracker,
        simulation: Simulation,
        memo: Memo,
        *,
        path: tuple[str, ...] = (),
        fills: bool = True,
        drafts: Sequence[Answer] = (),
        watches: Watching | None = None,
    ) -> None:
        self.drafts = drafts
        self._watches = watches
        self.choice, self.replayed, self.tracker = choice, replayed, tracker
        self.simulation, self.memo = simulation, memo
        self._path, self._fills = path, fills
        self._timed_only: bool | None = None

    # ── state ────────────────────────────────────────────────────────────

    @property
    def tier(self) -> str:
        return self.replayed.name

    @property
    def deployment(self) -> str:
        return self.replayed.deployment

    @property
    def width(self) -> int:
        return self.replayed.slots

    @property
    def load(self) -> float:
        if self.choice.is_sharing:
            raise Fallback
        return min(1.0, self.replayed.engine.occupancy.running / self.replayed.slots)

    @property
    def capabilities(self) -> Capabilities:
        return _CAPABILITIES

    @property
    def left(self) -> Left:
        self.choice.has_looked_at_budget = True
        if not self._is_timed_only():
            return self.tracker.left(self.simulation.now)
        deadline = self.tracker.deadline
        return _UNLIMITED if deadline is None else Left(seconds=max(0.0, deadline - self.simulation.now))

    def _is_timed_only(self) -> bool:
        """Whether neither passes nor tokens are bounded."""
        if self._timed_only is None:
            self._timed_only = self.tracker.passes_left is None and self.tracker.tokens_left is None
        return self._timed_only

    @property
    def is_shown(self) -> bool:
        return False  # nobody watches

    @property
    def session(self) -> str:
        return ""  # each task of a pool is an action by itself

    def recall(self) -> str:
        """A replayed action belongs to no session."""
        return ""

    def keep(self, word: str, seconds: float) -> None:
        """A replayed action belongs to no session."""

    @property
    def verifier(self) -> Verifier | None:
        return self.choice.verifier or self.replayed.verifier

    @property
    def drawn(self) -> Sequence[Pass]:
        return sorted(self.choice.passes, key=lambda done: done.number)

    # ── nested `Ask`s ────────────────────────────────────────────────────

    def at(self, tier: str, *, reserve: Budget | None = None) -> PoolAsk:
        if tier not in self.replayed.policy.tiers():
            named = ", ".join(self.replayed.policy.tiers()) or "none"
            raise PolicyError(f"the policy of tier {self.tier!r} asked {tier!r}; it names {named}")
        other = self.choice.tiers[tier]
        tracker = self.tracker.of_tier(tier, other.budget)
        if reserve is not None:
            tracker = tracker.leaving(reserve, of=self.tracker)
        return self._with(other, tracker, path=self._path, fills=True)

    def on(self, deployment: str) -> PoolAsk:
        raise SpecError(
            f"the policy of tier {self.tier!r} has candidates graded by the reward model {deployment!r}, and a pool "
            "has no rewards; measure it live, with `tierwise bench`"
        )

    def within(self, budget: Budget) -> PoolAsk:
        self.choice.has_looked_at_budget = True
        tracker = self.tracker.within(budget, self.simulation.now)
        return self._with(self.replayed, tracker, path=self._path, fills=self._fills)

    def watching(self, watching: Watching) -> PoolAsk:
        other = self._with(self.replayed, self.tracker, path=self._path, fills=self._fills)
        other._watches = watching  # noqa: SLF001 - the same class
        return other

    def watch_of(self, call: Call) -> Watch | None:
        """A watch for one pass of a call that has none."""
        return self._watches() if self._watches is not None and call.candidate else None

    def _with(self, tier: ReplayedTier, tracker: BudgetTracker, *, path: tuple[str, ...], fills: bool) -> PoolAsk:
        return PoolAsk(
            self.choice, tier, tracker, self.simulation, self.memo, path=path, fills=fills, watches=self._watches
        )

    # ── actions ──────────────────────────────────────────────────────────

    async def solve(
        self,
        prompt: Prompt,
        *,
        shown: bool = False,  # noqa: ARG002 - nobody watches
        drafts: Sequence[Answer] = (),
    ) -> Answer:
        tier = self.replayed
        if tier.name in self._path:
            raise PolicyError(f"tier {tier.name!r} asks itself: {' → '.join((*self._path, tier.name))}")
        if isinstance(tier.policy, Thinking):
            raise SpecError(
                f"policy Thinking of tier {tier.name!r} ends thinking while a pass runs, with trial answers made from "
                "it, of which the pool has none; measure it with `tierwise bench`"
            )
        if self._path:
            self.choice.asked = tier.name
        inner = self._with(tier, self.tracker, path=(*self._path, tier.name), fills=False)
        inner.drafts = drafts
        try:
            answer = await tier.policy.solve(self._filled(prompt), inner)
        except (TierwiseError, OutOfBudget):
            raise
        except Exception as error:
            name = type(tier.policy).__name__
            raise PolicyError(f"policy {name} of tier {tier.name!r} broke: {error!r}", policy=name) from error
        if answer.completion.is_only_thinking or answer.completion.is_empty:
            answer = await inner._recovered_answer(answer)  # noqa: SLF001 - the same class
        if not answer.tier and type(answer) is Answer:
            return Answer(
                completion=answer.completion,
                chosen=answer.chosen,
                why=answer.why,
                agreement=answer.agreement,
                verdict=answer.verdict,
                tier=self._tier_of(answer.chosen) or tier.name,
            )
        return answer

    def _filled(self, prompt: Prompt) -> Prompt:
        """The prompt with the tier's sampling. Settings that share both share the object."""
        shuffled = self.choice.shuffled
        if prompt is not shuffled.task.prompt:
            return prompt.by_default(self.replayed.sampling)
        return shuffled.prompt(self.replayed)

    def _tier_of(self, number: int | None) -> str:
        choice = self.choice
        if choice.shared is not None and number is not None and number < choice.shared.spent.passes:
            return choice.shared.tier.label
        return next((done.tier for done in choice.simulated if done.number == number), "")

    async def __call__(self, call: Call, *, shown: bool = False, watch: Watch | None = None) -> Pass:  # noqa: ARG002
        watch = watch or self.watch_of(call)
        if watch is None and (timeline := self._timeline([call])) is not None:
            self.choice.draws[self.deployment] = 1
            passes = timeline.finished(call, self.replayed.label, self.deployment, self.memo)
            self.choice.now(timeline.at[0])
            self._settle(timeline, call, 0)
            return await self._recovered(passes[0])
        return await self._recovered(await self._run(self._numbered(call), watch))

    async def _run(self, call: Call, watch: Watch | None, recovery: Draw | None = None) -> Pass:
        """Simulate one pass; arguments as of `PassInFlight`."""
        self.choice.simulate()
        waiter: Waiter[Pass] = Waiter()

        def deliver(entry: Entry) -> None:
            if isinstance(entry, Pass):
                waiter.give(entry)
            else:
                waiter.fail(entry)

        running = PassInFlight(self, call, deliver, watch, recovery=recovery)
        try:
            running.request()
            return await waiter
        finally:
            running.abort()

    async def _recovered_answer(self, answer: Answer) -> Answer:
        """A policy's answer, recovered if it is a pass of a panel that was lost to thinking, as `run.runner` does."""
        tier, lost = self.choice.lost_pass(answer.chosen) or ("", None)
        if lost is None or tier not in (self.tier, *self.replayed.policy.tiers()):
            return answer
        found = await (self if tier == self.tier else self.at(tier))._recovered(lost)  # noqa: SLF001 - the same class
        if found is lost:
            return answer
        why = f"answered again, because pass {lost.number} was lost to thinking"
        return Answer(completion=found.completion, chosen=found.number, why=why, tier=answer.tier)

    async def _recovered(self, done: Pass) -> Pass:
        """The pass, or the recorded one that answers in its place if it was lost to thinking.

        Raises:
            TooFewDraws: the endpoint would try to answer in its place, and nothing is recorded of that.
        """
        if done.outcome != LOST or self.tier in self.choice.recovered:
            return done
        self.choice.recovered.add(self.tier)
        for one in self._recoveries(done):
            numbered = self._numbered(done.call)
            call = replace(numbered, prompt=done.call.prompt, role="recovery", continues=done.number)
            with suppress(OutOfBudget):
                again = await self._run(call, self.watch_of(call), one)
                if not has_no_answer(again.completion, again.usage):
                    return again
        return done

    def _recoveries(self, lost: Pass) -> Sequence[Draw]:
        """The recorded passes that tried to answer in place of one; none where the budget allows no pass.

        Raises:
            TooFewDraws: the recording does not say, or it was lost at another limit than when it was recorded.
        """
        part = self.memo.parts[id(lost.completion)]
        draw = part.draw
        if draw.recoveries is not None and (part.tokens >= draw.count or (draw.is_lost and not draw.recoveries)):
            return draw.recoveries
        self.choice.has_looked_at_budget = True
        tracker, left = self.tracker, self.tracker.passes_left
        if tracker.is_over(self.simulation.now) or (left is not None and left <= 0):
            return ()
        raise TooFewDraws(
            f"draw {draw.index} of task {self.choice.shuffled.task.task.id!r} from deployment {self.deployment!r} was "
            f"lost to thinking, tier {self.tier!r} has to answer with it, and no pass is recorded that would answer in "
            "its place. Record a pool in which a tier with the policy `single` is the first with this deployment and "
            "sampling, or one with a larger `max_tokens`"
        )

    def panel(
        self, calls: Iterable[Call | tuple[Ask, Call]], *, order: Order = "draw", pace: Pace | None = None
    ) -> AbstractAsyncContextManager[Arrivals]:
        calls = list(calls)
        # The deployment of a timeline is idle, so a pace lets as many calls start at once as it has slots.
        starts_at_once = (pace is None or len(calls) <= self.width) and self._watches is None
        if starts_at_once and (timeline := self._timeline(calls)) is not None:
            call = calls[0]
            assert isinstance(call, Call)  # noqa: S101 - else it has no timeline
            self.choice.draws[self.deployment] = len(calls)
            passes = timeline.finished(call, self.replayed.label, self.deployment, self.memo)
            return SharedPanel(timeline, self.choice, passes, order, partial(self._settle, timeline, call))
        self.choice.simulate()
        return PoolPanel([self._entry(call) for call in calls], order, self.simulation, pace)

    def _timeline(self, calls: Sequence[Call | tuple[Ask, Call]]) -> Timeline | None:
        """The shared timeline of a panel of equal calls with which an action begins; None for any other."""
        choice = self.choice
        if not choice.may_share or choice.is_sharing or choice.shared is not None or self._fills:
            return None
        if self.simulation.timers or self.simulation.now != choice.began:
            return None
        first, tracker = calls[0] if calls else None, self.tracker
        if not self._is_timed_only() or not isinstance(first, Call) or calls.count(first) < len(calls):
            return None
        timeline = choice.shuffled.timeline(self.replayed, first, len(calls))
        if timeline is None:
            return None
        deadline = tracker.deadline
        return timeline if deadline is None or choice.began + timeline.at[-1] < deadline else None

    def _settle(self, timeline: Timeline, call: Call, last: int) -> None:
        """Keep what a shared panel has spent when the policy leaves it."""
        choice = self.choice
        choice.shared = SharedPasses(timeline, self.replayed, call, last, self.memo)
        choice.started = choice.shared.spent.passes

    def _entry(self, call: Call | tuple[Ask, Call]) -> tuple[PoolAsk, Call]:
        ask, one = call if isinstance(call, tuple) else (self, call)
        assert isinstance(ask, PoolAsk)  # noqa: S101 - only `at` and `within` create one
        return ask, ask._numbered(one)  # noqa: SLF001 - the same class

    def _numbered(self, call: Call) -> Call:
        draws = self.choice.draws
        draw = draws.get(self.deployment, 0)
        draws[self.deployment] = draw + 1
        prompt = self._filled(call.prompt) if self._fills else call.prompt
        return Call(prompt=prompt, role=call.role, candidate=call.candidate, after=call.after, draw=draw)

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        verifier = self.verifier
        if verifier is None:
            return Verdict(ok=False, score=0.0, why="no verifier")
        if not verifier.judges(candidate.completion):
            return Verdict(ok=True, score=0.5, why=f"{verifier.kind} does not judge tool calls", judged=False)
        return await self.memo.verdict(verifier, candidate.completion)

    async def key(self, candidate: Pass, equality: Equality = "auto") -> str | None:
        if candidate.outcome == "cut":
            return None
        return await self.memo.ballot(candidate, equality, self.verifier)

    def note(self, *_: object, **__: object) -> None:
        """Decisions are not kept: a replay counts what they lead to."""


_CAPABILITIES = Capabilities()
_UNLIMITED = Left()


class PoolPanel(Tally):
    """The counterpart of `tierwise.panel`: the calls of a panel, and its results as they come."""

    def __init__(
        self, calls: Sequence[tuple[PoolAsk, Call]], order: Order, simulation: Simulation, pace: Pace | None = None
    ) -> None:
        super().__init__(len(calls), order, pace)
        self._of = calls
        self._simulation = simulation
        self._paused: list[deque[int]] = []
        self._in_flight: dict[int, PassInFlight] = {}
        self._waiter: Waiter[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        queues: dict[str, deque[int]] = {}
        for position, (ask, _) in enumerate(self._of):
            queues.setdefault(ask.deployment, deque()).append(position)
        for queue in queues.values():
            for _ in range(min(self._of[queue[0]][0].width, len(queue))):
                self._start(queue)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        for running in list(self._in_flight.values()):
            running.abort()

    def _start(self, queue: deque[int]) -> None:
        """Start the next call of a deployment."""
        if self._is_closed or not queue:
            return
        if queue[0] >= self.allowed:
            self._paused.append(queue)
            return
        position = queue.popleft()
        self.started += 1
        ask, call = self._of[position]

        def deliver(entry: Entry) -> None:
            del self._in_flight[position]
            self._simulation.at(self._simulation.now, lambda: self._start(queue))  # the policy may stop before it
            self.put(position, entry)
            if (waiter := self._waiter) is not None:
                self._waiter = None
                waiter.give(None)

        passes = sum(other.deployment == ask.deployment and not one.after for other, one in self._of)
        running = PassInFlight(ask, call, deliver, ask.watch_of(call), passes=1 if call.after else passes)
        self._in_flight[position] = running
        running.request()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Pass | None:
        self.require_left()
        if self.allow():
            paused, self._paused = self._paused, []
            for queue in paused:
                self._start(queue)
        while not self.has_next:
            self._waiter = Waiter()
            await self._waiter
        return self.take()
