"""The heart: one prompt, one tier → an answer and a trace. Budget, blame, timing and bookkeeping happen here, once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from tierwise.ledger.records import Check, Trace
from tierwise.spec.ask import Answer, OutOfBudget, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk, Completion, Outcome, Pass, Recorder
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, BudgetError, EngineError, Garbled, PolicyError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from tierwise.engines.engine import Deployment
    from tierwise.policies.policy import Policy
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier


class Show(Protocol):
    """Streams to the user. Waits while the user cannot take more."""

    async def __call__(self, chunk: Chunk) -> bool:
        """Whether the user has it now: what was seen cannot be taken back by a second attempt."""


async def unseen(chunk: Chunk) -> bool:  # noqa: ARG001 - it shows nothing
    """For a user who waits for the whole answer."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A named level of service, ready to run."""

    name: str
    deployment: Deployment
    policy: Policy
    budget: Budget = field(default_factory=Budget)
    sampling: Fields = field(default_factory=dict)
    """Request levers where the client is silent."""
    verifier: Verifier | None = None
    """What candidates are judged with where the request does not say."""


class Action:
    """One user-visible request while it runs.

    Args:
        climb: the tiers to try in turn, cheapest first, often just one; all but the last need `verifier` to be trusted.
        trace: what happens is written here.
        budget: the caller's own, which can only tighten a tier's.
        verifier: what the request says that candidates can be checked with.
        judges: whether it judges another action's answer, so that none of its passes is a draft of anything.
    """

    def __init__(
        self,
        climb: Sequence[Tier],
        trace: Trace,
        *,
        budget: Budget | None = None,
        verifier: Verifier | None = None,
        judges: bool = False,
    ) -> None:
        self._judges = judges
        self._climb = climb
        self._trace = trace
        self._verifier = verifier
        asked = budget or Budget()
        whole = Purse(asked, trace.began)
        self._purses = {tier.name: Purse(tier.budget.within(asked), trace.began, inside=whole) for tier in climb}
        self.tier = ""
        """The tier that is answering, or that answered last."""

    async def solve(self, prompt: Prompt, show: Show = unseen) -> Answer:
        """Answer one prompt; called once per choice, and all choices share the budget.

        Raises:
            BudgetError: nothing could be said within the budget.
            EngineError: the last tier's engine failed, and no tier before it had an answer.
            PolicyError: our own decision code broke.
        """
        *cheaper, last = self._climb
        kept: tuple[str, Answer] | None = None
        for tier in cheaper:
            door = self._open(tier, unseen)
            try:
                with _blaming(tier):
                    answer = await door.judged(await tier.policy.solve(prompt.by_default(tier.sampling), door))
            except (OutOfBudget, EngineError):
                continue
            if answer.verdict is not None and answer.verdict.ok:
                return await _say(answer, show)
            if kept is None or _score(answer) >= _score(kept[1]):
                kept = (tier.name, answer)
        door = self._open(last, show)
        try:
            with _blaming(last):
                answer = await last.policy.solve(prompt.by_default(last.sampling), door)
        except (OutOfBudget, EngineError) as failure:
            if kept is None or door.has_shown:
                out = BudgetError(self._purses[last.name].describe())
                raise (out if isinstance(failure, OutOfBudget) else failure) from None
            self.tier, answer = kept
        return answer if door.has_shown else await _say(answer, show)

    def _open(self, tier: Tier, show: Show) -> Door:
        self.tier = tier.name
        verifier = self._verifier or tier.verifier
        return Door(tier, self._trace, self._purses[tier.name], verifier, show, judges=self._judges)


@contextmanager
def _blaming(tier: Tier) -> Iterator[None]:
    """The one seam at which whatever our decision code does wrong gets its name."""
    try:
        yield
    except (TierwiseError, OutOfBudget):
        raise
    except Exception as error:
        name = type(tier.policy).__name__
        raise PolicyError(f"policy {name} of tier {tier.name!r} broke: {error!r}", policy=name) from error


def _score(answer: Answer) -> float:
    return 0.0 if answer.verdict is None else answer.verdict.score


async def _say(answer: Answer, show: Show) -> Answer:
    for chunk in answer.completion.chunks():
        await show(chunk)
    return answer


class Purse:
    """What an action may still spend in one tier, out of what the caller allows it `inside` all tiers together."""

    def __init__(self, budget: Budget, began: float, *, inside: Purse | None = None) -> None:
        self._budget = budget
        self._inside = inside
        self._passes = 0
        self._completion_tokens = 0
        self.deadline = None if budget.seconds is None else began + budget.seconds

    def admit(self, now: float) -> None:
        """Count a pass in, or refuse it."""
        if self.is_over(now) or self.is_drawn:
            raise OutOfBudget
        self.draw()

    def pay(self, completion_tokens: int) -> None:
        self._completion_tokens += completion_tokens
        if self._inside is not None:
            self._inside.pay(completion_tokens)

    @property
    def is_drawn(self) -> bool:
        """Whether all passes have been started."""
        own = self._budget.passes is not None and self._passes >= self._budget.passes
        return own or (self._inside is not None and self._inside.is_drawn)

    def draw(self) -> None:
        """Count one pass, here and around."""
        self._passes += 1
        if self._inside is not None:
            self._inside.draw()

    def is_over(self, now: float) -> bool:
        """Whether the tokens are spent or the time is up."""
        return self.is_empty or (self.deadline is not None and now >= self.deadline)

    @property
    def is_empty(self) -> bool:
        return self.tokens_left is not None and self.tokens_left <= 0

    @property
    def tokens_left(self) -> int | None:
        bound = self._budget.completion_tokens
        own = None if bound is None else bound - self._completion_tokens
        around = None if self._inside is None else self._inside.tokens_left
        return min((left for left in (own, around) if left is not None), default=None)

    def cap(self, prompt: Prompt) -> int | None:
        """The most completion tokens that the next pass may produce; None where the budget has no say."""
        if (left := self.tokens_left) is None:
            return None
        return left if prompt.bound is None else min(left, prompt.bound)

    def describe(self) -> str:
        budget = self._budget
        bounds = [
            (budget.passes, "passes"),
            (budget.completion_tokens, "completion tokens"),
            (None if budget.seconds is None else f"{budget.seconds:g}", "seconds"),
        ]
        allowed = ", ".join(f"{bound} {name}" for bound, name in bounds if bound is not None) or "the policy itself"
        return f"nothing could be answered within the budget of {allowed}; allow more, or ask a faster tier"


class Door:
    """The one door through which a policy spends: `spec.ask.Ask`, with the books behind it."""

    def __init__(
        self, tier: Tier, trace: Trace, purse: Purse, verifier: Verifier | None, show: Show, *, judges: bool = False
    ) -> None:
        self._judges = judges
        self._tier = tier
        self._trace = trace
        self._purse = purse
        self._verifier = verifier
        self._show = show
        self.has_shown = False
        self._task = asyncio.current_task()
        self._cancelled = 0 if self._task is None else self._task.cancelling()

    @property
    def width(self) -> int:
        return self._tier.deployment.slots

    @property
    def verifier(self) -> Verifier | None:
        return self._verifier

    async def __call__(self, call: Call, *, shown: bool = False) -> Pass:
        if self._judges:
            call = replace(call, role="judge")
        self._purse.admit(now())
        first = self._next_number()
        try:
            done = await self._attempt(call, first, shown=shown)
        except Broken:
            if self.has_shown or self._purse.is_over(now()):
                raise
            done = await self._attempt(call, self._next_number(), shown=shown, retry_of=first)
        if done.outcome == "cut" and done.completion.is_empty:
            raise OutOfBudget
        return done

    async def verify(self, candidate: Pass) -> Verdict:
        return await self._check(candidate.completion, candidate.number)

    async def judged(self, answer: Answer) -> Answer:
        """The answer with a verdict, where there is something to judge it with."""
        if answer.verdict is not None or self._verifier is None:
            return answer
        return replace(answer, verdict=await self._check(answer.completion, answer.chosen))

    async def _check(self, completion: Completion, number: int | None) -> Verdict:
        if self._verifier is None:
            return Verdict(ok=False, score=0.0, why="nothing to verify with")
        began = now()
        try:
            async with asyncio.timeout_at(self._purse.deadline) as clock:
                verdict = await self._verifier.verify(completion)
        except TimeoutError:
            if not clock.expired():
                raise
            verdict = Verdict(ok=False, score=0.0, why="the time was up before it was verified")
        seconds = now() - began
        self._trace.events.append(Check(number=number, kind=self._verifier.kind, verdict=verdict, seconds=seconds))
        return verdict

    def _next_number(self) -> int:
        """Counts a pass that begins now. None does once the action is cancelled, which its other tasks learn later."""
        if self._task is not None and self._task.cancelling() > self._cancelled:
            raise asyncio.CancelledError
        self._trace.started += 1
        return self._trace.started - 1

    async def _attempt(self, call: Call, number: int, *, shown: bool, retry_of: int | None = None) -> Pass:
        """Run one pass; whatever becomes of it, even when it is cancelled, it is on the trace afterwards."""
        running = Running(call, self._tier, self._trace, number=number, retry_of=retry_of, now=now())
        try:
            await self._follow(running, self._purse.cap(call.prompt), shown=shown)
            running.outcome = "finished" if running.is_complete else "cut"
        except Exception as error:
            running.outcome, running.error = "failed", str(error) or repr(error)
            if isinstance(error, EngineError):
                error.was_shown = self.has_shown
            raise
        finally:
            done = running.end(now())
            self._trace.events.append(done)
        if shown and done.outcome == "cut" and self.has_shown:
            await self._show(Chunk(finish=done.completion.finish))
        return done

    async def _follow(self, running: Running, cap: int | None, *, shown: bool) -> None:
        """Take chunks in until the engine has finished, the tokens are spent or the time is up."""
        try:
            async with asyncio.timeout_at(self._purse.deadline) as clock, aclosing(running.stream(cap)) as stream:
                async for chunk in stream:
                    self._purse.pay(running.add(chunk))
                    if shown:
                        await self._reveal(chunk)
                    # At its own cap the engine stops by itself and says so; others may have spent the rest meanwhile.
                    if self._purse.is_empty and running.completion_tokens != cap and not running.is_complete:
                        return
        except TimeoutError:
            if not clock.expired():
                raise
            return
        if not running.is_complete:
            name = self._tier.deployment.name
            raise Garbled(f"deployment {name!r} ended its answer without saying why", engine=name)

    async def _reveal(self, chunk: Chunk) -> None:
        was_seen = True  # even when the deadline comes while the user is being waited for: it is on its way
        try:
            was_seen = await self._show(chunk)
        finally:
            self.has_shown |= was_seen and chunk.is_output


class Running:
    """A pass while it runs: what it said so far, and what it has cost until now."""

    def __init__(self, call: Call, tier: Tier, trace: Trace, *, number: int, retry_of: int | None, now: float) -> None:
        self.outcome: Outcome = "aborted"
        self.error = ""
        self._call, self._tier, self._number, self._retry_of = call, tier, number, retry_of
        self._began, self._after = now, now - trace.began
        self._recorder = Recorder()
        self._first_token: float | None = None
        self._mark = tier.deployment.occupancy.enter(now)

    def stream(self, cap: int | None) -> AsyncGenerator[Chunk, None]:
        """The engine's chunks; `cap` bounds the completion tokens."""
        call = self._call if cap is None else replace(self._call, prompt=self._call.prompt.bounded(cap))
        return self._tier.deployment.engine.stream(call)

    def add(self, chunk: Chunk) -> int:
        """Take a chunk in. Returns the completion tokens that it brought."""
        if self._first_token is None and chunk.is_output:
            self._first_token = now() - self._began
        return self._recorder.add(chunk)

    @property
    def completion_tokens(self) -> int:
        return self._recorder.completion_tokens

    @property
    def is_complete(self) -> bool:
        return self._recorder.finish is not None

    def end(self, now: float) -> Pass:
        """The pass as it will be remembered."""
        return Pass(
            number=self._number,
            tier=self._tier.name,
            deployment=self._tier.deployment.name,
            call=self._call,
            outcome=self.outcome,
            completion=self._recorder.completion("length"),
            usage=self._recorder.usage,
            started=self._after,
            first_token=self._first_token,
            seconds=now - self._began,
            busy_seconds=self._tier.deployment.occupancy.leave(self._mark, now),
            error=self.error,
            retry_of=self._retry_of,
            routing=self._recorder.routing,
        )
