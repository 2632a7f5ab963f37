"""The implementation of `spec.ask.Ask`, through which policies run passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.engines.thinking_switch import is_thinking_off
from tierwise.ledger.records import Decision
from tierwise.panel import panel
from tierwise.run.acceptable import BUDGET, CHANGED, ENGINE, adapted, relaxed, remember, require_tools
from tierwise.run.budget import BudgetTracker
from tierwise.run.choice import ChoiceState
from tierwise.run.following import follow
from tierwise.run.output import DraftStream
from tierwise.run.passing import RunningPass, with_prompt_count
from tierwise.run.prefill import prefill_of
from tierwise.run.recovery import LOST, Recovery
from tierwise.run.tier import Tier
from tierwise.run.verifying import Verifying
from tierwise.spec.ask import Answer, Arrivals, Ask, Equality, Order, OutOfBudget, Pace, Verdict, Watch, Watching
from tierwise.spec.budget import BOUNDS, Budget, Left, in_words
from tierwise.spec.call import Call, Chunk, Pass
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, EngineError, PolicyError, Refused, TierwiseError, TooLong
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from tierwise.verifiers.verifier import Verifier


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
        watches: makes the watch of each candidate that is called without one.
    """

    __slots__ = ("_choice", "_fills", "_path", "_shows", "_tier", "_tracker", "_watches", "drafts")

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
        watches: Watching | None = None,
    ) -> None:
        self.drafts = drafts
        self._watches = watches
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
    def is_shown(self) -> bool:
        return self._choice.output.has_shown

    @property
    def session(self) -> str:
        return self._choice.trace.session

    @property
    def verifier(self) -> Verifier | None:
        return self._choice.verifier or self._tier.verifier

    @property
    def drawn(self) -> Sequence[Pass]:
        return sorted(self._choice.passes, key=lambda done: done.number)

    def recall(self) -> str:
        return self._tier.sessions.recall(self.session, now()) if self.session else ""

    def keep(self, word: str, seconds: float) -> None:
        if self.session:
            self._tier.sessions.keep(self.session, word, now() + seconds)

    # ── nested `Ask`s ────────────────────────────────────────────────────

    def at(self, tier: str, *, reserve: Budget | None = None) -> PassRunner:
        if tier not in self._tier.policy.tiers():
            named = ", ".join(self._tier.policy.tiers()) or "none"
            raise PolicyError(f"the policy of tier {self._tier.name!r} asked {tier!r}; it names {named}")
        other = self._choice.tiers[tier]
        tracker = self._tracker.of_tier(tier, other.budget)
        if reserve is not None:
            tracker = tracker.leaving(reserve, of=self._tracker)
        return self._with(other, tracker, fills=True, watches=self._watches)

    def on(self, deployment: str) -> PassRunner:
        if (grader := self._tier.graders.get(deployment)) is None:
            raise PolicyError(
                f"the policy of tier {self.tier!r} asked deployment {deployment!r}, no grader that it names"
            )
        return self._with(replace(self._tier, deployment=grader), self._tracker, fills=False, watches=None)

    def within(self, budget: Budget) -> PassRunner:
        tracker = self._tracker.within(budget, now())
        return self._with(self._tier, tracker, fills=self._fills, watches=self._watches)

    def watching(self, watching: Watching) -> PassRunner:
        return self._with(self._tier, self._tracker, fills=self._fills, watches=watching)

    def _with(self, tier: Tier, tracker: BudgetTracker, *, fills: bool, watches: Watching | None) -> PassRunner:
        return PassRunner(self._choice, tier, tracker, path=self._path, shows=self._shows, fills=fills, watches=watches)

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
            watches=self._watches,
        )
        try:
            answer = await tier.policy.solve(prompt.by_default(tier.sampling), inner)
        except (TierwiseError, OutOfBudget):
            raise
        except Exception as error:
            name = type(tier.policy).__name__
            raise PolicyError(f"policy {name} of tier {tier.name!r} broke: {error!r}", policy=name) from error
        answer = await inner._recovered_answer(answer)
        return answer if answer.tier else replace(answer, tier=self._choice.tier_of(answer.chosen) or tier.name)

    async def __call__(self, call: Call, *, shown: bool = False, watch: Watch | None = None) -> Pass:
        numbered = self._numbered(call)
        self._expect([numbered])
        shown = shown and self._shows
        done = await self._run(numbered, shown=shown, watch=watch)
        if shown and call.continues is not None:
            self._choice.recoveries.join(call.continues, done, self._choice.passes)
        return done if done.outcome != LOST else await self._recovered(done, shown=shown)

    async def _recovered_answer(self, answer: Answer) -> Answer:
        """A policy's answer, recovered if it is a pass of a panel that was lost to thinking."""
        lost = next((one for one in self._choice.passes if one.outcome == LOST and one.number == answer.chosen), None)
        if lost is None or lost.tier not in (self.tier, *self._tier.policy.tiers()):
            return answer
        runner = self if lost.tier == self.tier else self.at(lost.tier)
        shown = self._shows and self._choice.output.owner is None
        found = await runner._recovered(lost, shown=shown)  # noqa: SLF001 - the same class
        if found is lost:
            return answer
        why = f"answered again, because pass {lost.number} was lost to thinking"
        return Answer(completion=found.completion, chosen=found.number, why=why, tier=answer.tier)

    async def _recovered(self, done: Pass, *, shown: bool) -> Pass:
        """The pass, or the one that answers in its place if it was lost to thinking."""
        if done.outcome != LOST:
            return done

        def again(call: Call) -> Awaitable[Pass]:
            numbered = replace(self._numbered(call), prompt=call.prompt)  # the tier's defaults are in it already
            return self._run(numbered, shown=shown, repeats=done.number)

        choice = self._choice
        recovery = Recovery(choice.recoveries, choice.output, self._tier.deployment, again, self.note)
        return await recovery.answer(done, shown=shown)

    def panel(
        self, calls: Iterable[Call | tuple[Ask, Call]], *, order: Order = "draw", pace: Pace | None = None
    ) -> AbstractAsyncContextManager[Arrivals]:
        entries = self._together([self._entry(call) for call in calls])
        for runner in {id(one): one for one, _ in entries}.values():
            runner._expect([call for one, call in entries if one is runner])  # noqa: SLF001 - the same class
        return panel(entries, order=order, pace=pace)

    def _entry(self, call: Call | tuple[Ask, Call]) -> tuple[PassRunner, Call]:
        """A call with its runner, numbered now, so that its seed does not depend on when it starts."""
        ask, one = call if isinstance(call, tuple) else (self, call)
        assert isinstance(ask, PassRunner)  # noqa: S101 - only `at` and `within` create one
        return ask, ask._numbered(one)  # noqa: SLF001 - the same class

    def _together(self, entries: list[tuple[PassRunner, Call]]) -> list[tuple[PassRunner, Call]]:
        """The entries of a panel; those that share a deployment are a group."""
        sizes, group = Counter(one.deployment for one, _ in entries), self._choice.trace.action
        return [(one, replace(call, group=group) if sizes[one.deployment] > 1 else call) for one, call in entries]

    def _expect(self, calls: Sequence[Call]) -> None:
        self._choice.prompts.expect(self._tier.deployment, calls)

    def _numbered(self, call: Call) -> Call:
        draw = self._choice.draws[self.deployment]
        self._choice.draws[self.deployment] += 1
        prompt = call.prompt.by_default(self._tier.sampling) if self._fills else call.prompt
        if self._choice.judges:
            return replace(call, prompt=prompt, draw=draw, group=self._choice.group, role="judge", candidate=False)
        if prompt is call.prompt and draw == call.draw and self._choice.group == call.group:
            return call
        return replace(call, prompt=prompt, draw=draw, group=self._choice.group)

    async def run(self, call: Call) -> Pass:
        """Run a call of a panel, which already has its draw number."""
        return await self._run(call)

    async def _run(
        self, call: Call, *, shown: bool = False, watch: Watch | None = None, repeats: int | None = None
    ) -> Pass:
        self._choice.reached = self._tier.name
        is_admitted = False
        try:
            slots = await self._choice.slots.occupy(self._tier.deployment, self._tracker.deadline)
            try:
                self._require_thinking(call)
                if self._choice.prompts.has_any:
                    await self._compute_shared(call)
                self._tracker.admit(now())
                is_admitted = True
                return await self._accepted(call, shown=shown, watch=watch, repeats=repeats)
            finally:
                slots.release()
        except OutOfBudget:
            self._choice.refused_by = self._tracker
            for bound in () if is_admitted else BOUNDS:
                self._mark(bound)
            if self._choice.purse is not None and (refusal := self._choice.purse.refusal) is not None:
                self._note_once(str(refusal))
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

    async def _accepted(self, call: Call, *, shown: bool, watch: Watch | None, repeats: int | None) -> Pass:
        """Run a pass, again once if the engine broke, and again in a form without what the engine refuses."""
        deployment = self._tier.deployment
        self._note_tools(call)
        forms, was_broken, before = [adapted(call, deployment)], False, repeats
        while True:
            form = forms[-1]
            if form.is_changed:
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

    def _require_thinking(self, call: Call) -> None:
        """Refuse a pass that would think, as others on its deployment have, once the budget of thinking is used up.

        Raises:
            OutOfBudget: it would be cut at its first token.
        """
        left = self._tracker.reasoning_left
        if left is None or left > 0 or is_thinking_off(call.prompt, self._tier.deployment.thinking_off):
            return
        passes = (one for one in self._choice.trace.events if isinstance(one, Pass))  # of every choice
        if any(done.completion.reasoning and done.deployment == self.deployment for done in passes):
            raise OutOfBudget

    def _mark(self, bound: str, *after: int, lacking: int = 0) -> None:
        """Record once per action that a bound of a tier or request is used up, or lacks tokens for the next chunk."""
        limits = self._choice.trace.limits
        allowed = self._tracker.reached(bound, now(), lacking=lacking if bound == "completion_tokens" else 0)
        if allowed is not None and bound not in limits:
            limits.append(bound)
            said = f"the budget of {in_words(bound, allowed)} is used up: the answer is the best so far"
            self.note(said, signal=BUDGET, level=float(allowed), after=after)

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
        if watch is None and self._watches is not None and call.candidate:
            watch = self._watches()
        prices, trace, purse = self._choice.prices, self._choice.trace, self._choice.purse
        cap, aside = None, 0
        if self._tracker.looks_at_chunks:
            cap = self._tracker.cap(call.prompt, now(), dollars_per_token=prices.per_token(self.deployment))
        if purse is not None:
            aside, cap = await purse.put_aside(call, self.deployment, self._tier.deployment.context, cap)
        before = retry_of if call.continues is None else call.continues
        with output.owned(number, self._tier.name, instead_of=before) if shown else nullcontext():
            running = RunningPass(call, self._tier, trace, number=number, retry_of=retry_of, prices=prices)
            bound = ""
            try:
                bound = await follow(
                    running,
                    self._tracker,
                    cap,
                    deployment=self._tier.deployment,
                    output=output if shown else self._draft_stream(call, number),
                    watch=watch,
                    remarked=lambda said: self.note(f"{self.deployment} {said}", signal=ENGINE, after=(number,)),
                )
                running.outcome = "finished" if running.is_complete else "cut"
            except Exception as error:
                running.outcome, running.error = "failed", str(error) or repr(error)
                if isinstance(error, EngineError):
                    error.was_shown = shown and output.owner_was_seen
                raise
            finally:
                rest = running.rest()
                done = with_prompt_count(running.end(), self._choice.passes)
                if self._tracker.has_dollars:
                    self._tracker.settle(prices.charge(self.deployment, done.usage, done.busy_seconds))
                if purse is not None:
                    purse.settle(aside, done, self._tier.deployment.context)
                self._choice.trace.events.append(done)
                self._choice.passes.append(done)
            if bound or (bound := _bound_of_limit(running, call, cap, self._tracker)):
                self._mark(bound, number, lacking=running.lacking)
            if shown and output.has_shown:
                if rest.delta:
                    await output.show([rest])
                if done.outcome != LOST and not running.was_watched_out:  # another pass may go on
                    await output.show([Chunk(finish=done.completion.finish, response=done.completion.response)])
        if done.outcome == "cut" and done.completion.is_empty and not running.was_watched_out:
            self._choice.refused_by = self._tracker
            raise OutOfBudget
        return done

    def _draft_stream(self, call: Call, number: int) -> DraftStream | None:
        """Where an answer that may still be replaced is shown; None if the user wants no drafts, or it is none."""
        sink = self._choice.drafts
        if sink is None or call.role != "draft" or not call.candidate:
            return None
        return DraftStream(sink=sink, choice=self._choice.number, number=number, tier=self._tier.name)

    async def verify(self, candidate: Pass | Answer) -> Verdict:
        return await self._verifying.verify(candidate)

    async def key(self, candidate: Pass, equality: Equality = "auto") -> str | None:
        return await self._verifying.key(candidate, equality)

    @property
    def _verifying(self) -> Verifying:
        return Verifying(self._choice, self.verifier, self._tracker.deadline, note=self.note, mark=self._mark)

    def note(
        self,
        reason: str,
        *,
        signal: str = "",
        level: float | None = None,
        after: tuple[int, ...] = (),
        about: str = "",
        accepted: bool | None = None,
    ) -> None:
        trace = self._choice.trace
        decision = Decision(
            tier=self._tier.name,
            reason=reason,
            signal=signal,
            level=level,
            after=after,
            about=about,
            accepted=accepted,
            choice=self._choice.number,
            at=now() - trace.began,
        )
        trace.events.append(decision)


def _bound_of_limit(running: RunningPass, call: Call, cap: int | None, tracker: BudgetTracker) -> str:
    """The bound because of which an engine ended a pass at its limit; empty if the limit was the client's, or none."""
    if not running.is_at(cap) or running.finish != "length" or cap == call.prompt.bound:
        return ""
    return "completion_tokens" if tracker.is_empty else "dollars"
