"""The implementation of `spec.ask.Ask`, through which policies run passes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tierwise.ledger.records import Check, Decision, Trace
from tierwise.panel import panel
from tierwise.run.acceptable import CHANGED, ENGINE, adapted, relaxed, remember, require_tools
from tierwise.run.budget import BudgetTracker
from tierwise.run.code_runs import CodeRuns, ceiling
from tierwise.run.output import OutputStream
from tierwise.run.passing import RunningPass, with_prompt_count
from tierwise.run.prefill import SharedPrompts, prefill_of
from tierwise.run.slots import SharedSlots
from tierwise.run.tier import Tier
from tierwise.spec.ask import Answer, Arrivals, Ask, Equality, Order, OutOfBudget, Pace, Verdict, Watch
from tierwise.spec.budget import Budget, Left
from tierwise.spec.call import Call, Chunk, Pass
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, EngineError, Garbled, PolicyError, Refused, TierwiseError, TooLong
from tierwise.spec.prompt import Prompt
from tierwise.verifiers.pooled import judge
from tierwise.verifiers.votes import key_of_vote, runs_code

if TYPE_CHECKING:
    from tierwise.verifiers.verifier import Verifier


@dataclass(slots=True, kw_only=True)
class ChoiceState:
    """State shared by all tiers while one choice of an action is answered."""

    tiers: Mapping[str, Tier]
    """Every tier that may be asked, by name."""
    trace: Trace
    output: OutputStream
    slots: SharedSlots
    verifier: Verifier | None
    """The request's verifier."""
    judges: bool
    """Whether it judges another action's answer, so that none of its passes is a candidate."""
    prompts: SharedPrompts = field(default_factory=SharedPrompts)
    code_runs: CodeRuns = field(default_factory=CodeRuns)
    """The action's ceiling of code that is run for its candidates."""
    task: asyncio.Task[object] | None = field(default_factory=asyncio.current_task)
    """The task that is cancelled when the user disconnects."""
    draws: Counter[str] = field(default_factory=Counter)
    """Number of draws per deployment."""
    passes: list[Pass] = field(default_factory=list)
    """Ended passes, in the order in which they ended."""
    reached: str = ""
    """The last tier that was asked."""
    adaptations: set[str] = field(default_factory=set)
    """What the trace says already about requests that a deployment does not accept."""
    refused_by: BudgetTracker | None = None
    """The budget that last refused or cut a pass, for the error message."""
    _cancelled: int = field(init=False)

    def __post_init__(self) -> None:
        self._cancelled = 0 if self.task is None else self.task.cancelling()

    def next_number(self) -> int:
        """The number of a pass that starts now. Raises once the action is cancelled, because its other tasks learn of
        that later.

        Raises:
            CancelledError: the action is cancelled.
        """
        if self.task is not None and self.task.cancelling() > self._cancelled:
            raise asyncio.CancelledError
        self.trace.started += 1
        return self.trace.started - 1

    def tier_of(self, number: int | None) -> str:
        """The tier of an ended pass; empty if there is no pass of that number."""
        return next((done.tier for done in self.passes if done.number == number), "")


class PassRunner:
    """`Ask` for one tier: counts, times, retries once, verifies and records its passes.

    Args:
        choice: the state shared by all tiers of the action.
        tier: the tier whose passes it runs.
        tracker: their budget.
        path: the tiers whose policies are running, outermost first.
        shows: whether `shown=True` reaches the user.
        fills: whether the tier's sampling must still be applied to prompts.
        drafts: candidates of cheaper tiers for the prompt.
    """

    def __init__(
        self,
        choice: ChoiceState,
        tier: Tier,
        tracker: BudgetTracker,
        *,
        path: tuple[str, ...] = (),
        shows: bool = True,
        fills: bool = True,
        drafts: Sequence[Answer] = (),
    ) -> None:
        self.drafts = drafts
        self._choice = choice
        self._tier = tier
        self._tracker = tracker
        self._path = path
        self._shows = shows
        self._fills = fills

    # ── state ────────────────────────────────────────────────────────────

    @property
    def tier(self) -> str:
        return self._tier.name

    @property
    def deployment(self) -> str:
        return self._tier.deployment.name

    @property
    def width(self) -> int:
        return self._tier.deployment.slots

    @property
    def load(self) -> float:
        deployment = self._tier.deployment
        return min(1.0, deployment.occupancy.running / deployment.slots)

    @property
    def capabilities(self) -> Capabilities:
        return self._tier.deployment.current_capabilities()

    @property
    def left(self) -> Left:
        return self._tracker.left(now())

    @property
    def verifier(self) -> Verifier | None:
        return self._choice.verifier or self._tier.verifier

    @property
    def drawn(self) -> Sequence[Pass]:
        return sorted(self._choice.passes, key=lambda done: done.number)

    # ── nested `Ask`s ────────────────────────────────────────────────────

    def at(self, tier: str, *, reserve: Budget | None = None) -> PassRunner:
        if tier not in self._tier.policy.tiers():
            named = ", ".join(self._tier.policy.tiers()) or "none"
            raise PolicyError(f"the policy of tier {self._tier.name!r} asked {tier!r}; it names {named}")
        other = self._choice.tiers[tier]
        tracker = self._tracker.of_tier(tier, other.budget)
        if reserve is not None:
            tracker = tracker.leaving(reserve, of=self._tracker)
        return PassRunner(self._choice, other, tracker, path=self._path, shows=self._shows)

    def within(self, budget: Budget) -> PassRunner:
        tracker = self._tracker.within(budget, now())
        return PassRunner(self._choice, self._tier, tracker, path=self._path, shows=self._shows, fills=self._fills)

    # ── actions ──────────────────────────────────────────────────────────

    async def solve(self, prompt: Prompt, *, shown: bool = False, drafts: Sequence[Answer] = ()) -> Answer:
        tier = self._tier
        if tier.name in self._path:
            raise PolicyError(f"tier {tier.name!r} asks itself: {' → '.join((*self._path, tier.name))}")
        self._choice.reached = tier.name
        inner = PassRunner(
            self._choice,
            tier,
            self._tracker,
            path=(*self._path, tier.name),
            shows=self._shows and shown,
            fills=False,
            drafts=drafts,
        )
        with _blaming(tier):
            answer = await tier.policy.solve(prompt.by_default(tier.sampling), inner)
        return answer if answer.tier else replace(answer, tier=self._choice.tier_of(answer.chosen) or tier.name)

    async def __call__(self, call: Call, *, shown: bool = False, watch: Watch | None = None) -> Pass:
        numbered = self._numbered(call)
        self._expect([numbered])
        return await self._run(numbered, shown=shown and self._shows, watch=watch)

    def panel(
        self, calls: Iterable[Call | tuple[Ask, Call]], *, order: Order = "draw", pace: Pace | None = None
    ) -> AbstractAsyncContextManager[Arrivals]:
        entries = [self._entry(call) for call in calls]
        for runner in {id(one): one for one, _ in entries}.values():
            runner._expect([call for one, call in entries if one is runner])  # noqa: SLF001 - the same class
        return panel(entries, order=order, pace=pace)

    def _entry(self, call: Call | tuple[Ask, Call]) -> tuple[PassRunner, Call]:
        """A call with its runner, numbered now, so that its seed does not depend on when it starts."""
        ask, one = call if isinstance(call, tuple) else (self, call)
        assert isinstance(ask, PassRunner)  # noqa: S101 - only `at` and `within` create one
        return ask, ask._numbered(one)  # noqa: SLF001 - the same class

    def _expect(self, calls: Sequence[Call]) -> None:
        self._choice.prompts.expect(self._tier.deployment, calls)

    def _numbered(self, call: Call) -> Call:
        draw = self._choice.draws[self.deployment]
        self._choice.draws[self.deployment] += 1
        prompt = call.prompt.by_default(self._tier.sampling) if self._fills else call.prompt
        if self._choice.judges:
            return replace(call, prompt=prompt, draw=draw, role="judge", candidate=False)
        return replace(call, prompt=prompt, draw=draw)

    async def run(self, call: Call) -> Pass:
        """Run a call of a panel, which already has its draw number."""
        return await self._run(call)

    async def _run(self, call: Call, *, shown: bool = False, watch: Watch | None = None) -> Pass:
        self._choice.reached = self._tier.name
        try:
            async with self._choice.slots.occupied(self._tier.deployment, self._tracker.deadline):
                await self._compute_shared(call)
                self._tracker.admit(now())
                return await self._accepted(call, shown=shown, watch=watch)
        except OutOfBudget:
            self._choice.refused_by = self._tracker
            raise

    async def _compute_shared(self, call: Call) -> None:
        """Compute a prompt once before the first of several passes that share it. Like a retry, it is not charged to
        `passes`. If it fails, each pass computes its prompt and reports what is wrong.
        """
        deployment = self._tier.deployment
        async with self._choice.prompts.first(deployment, call) as shared:
            first = None if shared is None else prefill_of(shared, deployment, self.left)
            if first is not None and not self._tracker.is_over(now()):
                with suppress(EngineError, OutOfBudget):
                    await self._attempt(first, self._choice.next_number(), shown=False, watch=None)

    async def _accepted(self, call: Call, *, shown: bool, watch: Watch | None) -> Pass:
        """Run a pass, again once if the engine broke, and again in a form without what the engine refuses."""
        deployment = self._tier.deployment
        self._note_tools(call)
        forms, was_broken, before = [adapted(call, deployment)], False, None
        while True:
            form = forms[-1]
            for note in form.notes(deployment):
                self._note_once(note)
            number = self._choice.next_number()
            try:
                done = await self._attempt(form.call, number, shown=shown, watch=watch, retry_of=before)
            except (Broken, Refused, TooLong) as error:
                lesser = relaxed(form.call, error)
                breaks_again = was_broken or not isinstance(error, Broken)
                if (lesser is None and breaks_again) or (shown and error.was_shown) or self._tracker.is_over(now()):
                    raise
                if lesser is None:
                    was_broken = True
                else:
                    forms.append(lesser)
                before = number
            else:
                for lesser in forms[1:]:
                    remember(lesser, deployment)
                self._note_tools(call)  # known by now
                return done

    def _note_tools(self, call: Call) -> None:
        """Record once per choice that the model is not shown the tools of a call; raises if it must call one."""
        if not require_tools(call, self._tier.deployment):
            self._note_once(f"{self.deployment} did not show the tools to the model: its template has none")

    def _note_once(self, reason: str) -> None:
        """Record once per choice how a request was changed."""
        if reason not in self._choice.adaptations:
            self._choice.adaptations.add(reason)
            self.note(reason, signal=CHANGED)

    async def _attempt(
        self, call: Call, number: int, *, shown: bool, watch: Watch | None, retry_of: int | None = None
    ) -> Pass:
        """Run one pass and record it in the trace, however it ends, cancellation included."""
        output = self._choice.output
        with output.owned(number, self._tier.name) if shown else nullcontext():
            running = RunningPass(call, self._tier, self._choice.trace, number=number, retry_of=retry_of)
            try:
                await self._follow(running, self._tracker.cap(call.prompt), shown=shown, watch=watch)
                running.outcome = "finished" if running.is_complete else "cut"
            except Exception as error:
                running.outcome, running.error = "failed", str(error) or repr(error)
                if isinstance(error, EngineError):
                    error.was_shown = shown and output.has_shown
                raise
            finally:
                rest = running.rest()
                done = with_prompt_count(running.end(), self._choice.passes)
                self._choice.trace.events.append(done)
                self._choice.passes.append(done)
            if shown and output.has_shown:
                await output.show(rest)
                await output.show(Chunk(finish=done.completion.finish, response=done.completion.response))
        if done.outcome == "cut" and done.completion.is_empty and not running.was_watched_out:
            self._choice.refused_by = self._tracker
            raise OutOfBudget
        return done

    async def _follow(self, running: RunningPass, cap: int | None, *, shown: bool, watch: Watch | None) -> None:
        """Read chunks until the engine finishes, the policy cuts, or tokens or time are used up."""
        tracker, output = self._tracker, self._choice.output
        try:
            async with asyncio.timeout_at(tracker.deadline) as clock, aclosing(running.stream(cap)) as stream:
                async for chunk in stream:
                    tracker.pay(running.add(chunk))
                    if chunk.remark and chunk.finish:
                        self.note(f"{self.deployment} {chunk.remark}", signal=ENGINE, after=(running.number,))
                    if shown:
                        await output.show(running.shown)
                    if watch is not None and watch(chunk) == "cut" and not running.is_complete:
                        running.was_watched_out = True
                        return
                    # At its own cap the engine stops and reports it; concurrent passes may have used up the rest.
                    if tracker.is_empty and running.completion_tokens != cap and not running.is_complete:
                        return
        except TimeoutError:
            if not clock.expired():
                raise
            return
        if not running.is_complete:
            name = self.deployment
            raise Garbled(f"deployment {name!r} ended its answer without a finish reason", engine=name)

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        verifier = self.verifier
        if verifier is None:
            return Verdict(ok=False, score=0.0, why="no verifier")
        began = now()
        if not verifier.judges(candidate.completion):
            verdict = Verdict(ok=True, score=0.5, why=f"{verifier.kind} does not judge tool calls", judged=False)
            self.note(f"not judged: {verdict.why}", after=_numbers(candidate))
            return verdict
        deadline = self._tracker.deadline
        out_of_time = "out of time before it was verified"
        if verifier.runs_code:
            if (ends_at := self._choice.code_runs.begin()) is None:
                return Verdict(ok=False, score=0.0, why=ceiling())
            if deadline is None or ends_at < deadline:
                deadline, out_of_time = ends_at, ceiling()
        try:
            async with asyncio.timeout_at(deadline) as clock:
                verdict = await judge(verifier, candidate.completion)
        except TimeoutError:
            if not clock.expired():
                raise
            verdict = Verdict(ok=False, score=0.0, why=out_of_time)
        number = candidate.number if isinstance(candidate, Pass) else candidate.chosen
        check = Check(number=number, kind=verifier.kind, verdict=verdict, seconds=now() - began)
        self._choice.trace.events.append(check)
        return verdict

    async def key(self, candidate: Pass, equality: Equality = "auto") -> str | None:
        if candidate.outcome == "cut":
            return None  # the last value in a truncated answer is not its answer
        deadline = self._tracker.deadline
        if runs_code(candidate, equality, self.verifier):
            if (ends_at := self._choice.code_runs.begin()) is None:
                return None
            deadline = ends_at if deadline is None else min(deadline, ends_at)
        try:
            async with asyncio.timeout_at(deadline):
                return await key_of_vote(candidate, equality, self.verifier)
        except TimeoutError:
            return None

    def note(self, reason: str, *, signal: str = "", level: float | None = None, after: tuple[int, ...] = ()) -> None:
        trace = self._choice.trace
        decision = Decision(
            tier=self._tier.name, reason=reason, signal=signal, level=level, after=after, at=now() - trace.began
        )
        trace.events.append(decision)


def _numbers(candidate: Pass | Answer) -> tuple[int, ...]:
    number = candidate.number if isinstance(candidate, Pass) else candidate.chosen
    return () if number is None else (number,)


@contextmanager
def _blaming(tier: Tier) -> Iterator[None]:
    """Turn any unexpected exception of a policy into a `PolicyError` that names it."""
    try:
        yield
    except (TierwiseError, OutOfBudget):
        raise
    except Exception as error:
        name = type(tier.policy).__name__
        raise PolicyError(f"policy {name} of tier {tier.name!r} broke: {error!r}", policy=name) from error
