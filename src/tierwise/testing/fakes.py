"""Engines that follow a script or fail on purpose, a clock that skips waiting times, and functions that run actions."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tierwise.engines.engine import Deployment, Engine, Health
from tierwise.ledger.records import Trace
from tierwise.policies import Cascade
from tierwise.policies.policy import Policy
from tierwise.run import Action, Sink, Tier, discard
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk, Usage
from tierwise.spec.clock import expect_frozen, now
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, TimedOut
from tierwise.spec.json import Fields
from tierwise.spec.prompt import Prompt
from tierwise.verifiers.verifier import Verifier

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A scripted engine's reply to one call: streams `text` word by word, one token each, and then ends or fails."""

    text: str = ""
    step: float | None = None
    """Seconds before each word; the engine's default if None."""
    logprob: float | None = None
    """Log-probability of every token, if the call asks for log-probabilities."""
    finish: str = "stop"
    error: EngineError | None = None
    """Raised after the last word instead of finishing."""
    thinking: str = ""
    """Streamed word by word before the text, as thinking."""
    delta: Fields | None = None
    """Sent unchanged instead of words, such as a tool call or a refusal."""
    scores: tuple[float, ...] = ()
    """What a reward model says, without words."""


class ScriptedEngine:
    """Answers calls with the script's replies, in the order in which the calls start; the last reply repeats.

    Attributes:
        calls: every call so far, in order.
        produced: tokens produced so far; the ledger's sums must equal it.
        running: number of calls that are running.
        thinking_off: the request fields that turn its thinking off; None without a switch. A call that has them is
            answered without the `thinking` of its reply.
    """

    def __init__(
        self, *replies: str | Reply, step: float = 0.01, prompt_tokens: int = 3, thinking_off: Fields | None = None
    ) -> None:
        self.thinking_off = thinking_off
        self._replies = [Reply(text=reply) if isinstance(reply, str) else reply for reply in replies] or [Reply()]
        self._step = step
        self._prompt_tokens = prompt_tokens
        self.calls: list[Call] = []
        self.produced = Usage()
        self.running = 0

    async def start(self) -> None:
        """Do nothing: it is always ready."""

    async def stop(self) -> None:
        """Do nothing."""

    def health(self) -> Health:
        return Health(state="ready")

    def reply_to(self, number: int, call: Call) -> Reply:  # noqa: ARG002 - subclasses look at the call
        """The reply to call number `number`, from 0."""
        return self._replies[min(number, len(self._replies) - 1)]

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        reply = self.reply_to(len(self.calls), call)
        self.calls.append(call)
        self.running += 1
        try:
            async with aclosing(self._say(call, reply)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self.running -= 1

    async def _say(self, call: Call, reply: Reply) -> AsyncGenerator[Chunk, None]:
        step = self._step if reply.step is None else reply.step
        usage = Usage(prompt=self._prompt_tokens)
        is_off = self.thinking_off is not None and self.thinking_off.items() <= call.prompt.fields.items()
        thought = reply.thinking.split(" ") if reply.thinking and not is_off else []
        words = [*thought, *(reply.text.split(" ") if reply.text else [])]
        said = words[: call.prompt.bound]
        for position, word in enumerate(said):
            await asyncio.sleep(step)
            if position == 0:
                self.produced += usage
            usage = replace(usage, completion=usage.completion + 1)
            self.produced += Usage(completion=1)
            is_thinking = position < len(thought)
            if is_thinking:
                usage = replace(usage, reasoning=usage.reasoning + 1)
            text = word if position in (0, len(thought)) else " " + word
            field = "reasoning_content" if is_thinking else "content"
            yield Chunk(delta={field: text}, logprobs=_logprobs(call, reply, text), usage=usage)
        if not said:
            await asyncio.sleep(step)
            if reply.error is None:
                self.produced += usage
        if reply.error is not None:
            raise reply.error
        yield Chunk(delta=reply.delta or {}, usage=usage)
        yield Chunk(finish="length" if len(said) < len(words) else reply.finish, usage=usage, scores=reply.scores)


def _logprobs(call: Call, reply: Reply, text: str) -> Fields | None:
    if reply.logprob is None or not call.prompt.fields.get("logprobs"):
        return None
    return {"content": [{"token": text, "logprob": reply.logprob, "bytes": list(text.encode()), "top_logprobs": []}]}


class FlakyEngine(ScriptedEngine):
    """Answers with `text`, or fails at random with `Broken`, `Garbled`, `Overloaded` or `TimedOut`, at any word.

    Args:
        text: the answer.
        seed: makes the failures reproducible.
        failing: share of calls that fail.
        step: seconds before each word; a call takes this, none, or five times as much.
    """

    def __init__(self, text: str, *, seed: int, failing: float = 0.3, step: float = 0.01) -> None:
        super().__init__(text, step=step)
        self._random = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._failing = failing
        self._words = text.split(" ")

    def reply_to(self, number: int, call: Call) -> Reply:  # noqa: ARG002
        if self._random.random() >= self._failing:
            return Reply(text=" ".join(self._words), step=self._random.choice((0.0, self._step, 5 * self._step)))
        kind = self._random.choice((Broken, Garbled, Overloaded, TimedOut))
        said = self._random.randrange(len(self._words) + 1)
        return Reply(text=" ".join(self._words[:said]), error=kind(f"{kind.__name__} on purpose", engine="flaky"))


class FrozenClock(asyncio.SelectorEventLoop):
    """An event loop whose clock advances only when all tasks wait, and then at once to the next timer.

    A test of a 60-second deadline takes a millisecond. Sockets work, but the clock does not advance while they wait.
    """

    is_frozen = True

    def __init__(self) -> None:
        expect_frozen()
        self._moment = 0.0
        super().__init__(_Skipping(self))

    def time(self) -> float:
        return self._moment

    def skip(self, seconds: float) -> None:
        """Advance the clock."""
        self._moment += seconds


class _Skipping(selectors.DefaultSelector):
    def __init__(self, clock: FrozenClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            return super().select(None)
        ready = super().select(0)
        if not ready:
            self._clock.skip(max(0.0, timeout))
        return ready


def frozen(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to completion on a frozen clock."""
    with asyncio.Runner(loop_factory=FrozenClock) as runner:
        return runner.run(main)


def ask_user(text: str, **fields: Any) -> Prompt:
    """A prompt of one user message."""
    return Prompt(messages=({"role": "user", "content": text},), fields=fields)


@dataclass(slots=True, kw_only=True)
class RecordingSink:
    """A sink that records the chunks shown to the user."""

    chunks: list[Chunk] = field(default_factory=list)

    async def __call__(self, chunks: Sequence[Chunk]) -> bool:
        self.chunks.extend(chunks)
        return True

    @property
    def text(self) -> str:
        return "".join(str(chunk.delta.get("content") or "") for chunk in self.chunks)


def new_trace() -> Trace:
    """An empty trace that starts now; needs a running event loop."""
    return Trace(action="act_test", began=now(), started_at=0.0)


def tier(
    policy: Policy,
    engine: Engine,
    *,
    slots: int = 64,
    budget: Budget | None = None,
    name: str = "tier",
    grader: Engine | None = None,
) -> Tier:
    """A tier around an engine, without a config file. The reward models of its policy run on `grader`, or on the
    same engine.
    """
    deployment = Deployment(name="fake", engine=engine, slots=slots)
    graders = {
        one: Deployment(name=one, engine=grader or engine, slots=slots) for one in getattr(policy, "graders", {})
    }
    return Tier(name=name, deployment=deployment, policy=policy, budget=budget or Budget(), graders=graders)


def solve(
    policy: Policy,
    *replies: str | Reply,
    prompt: Prompt | None = None,
    budget: Budget | None = None,
    verifier: Verifier | None = None,
    engine: ScriptedEngine | None = None,
    slots: int = 64,
    others: Sequence[Tier] = (),
    sink: Sink = discard,
) -> tuple[Answer, Trace]:
    """Let a policy answer one prompt on a scripted engine and a frozen clock.

    Args:
        policy: the policy of the tier.
        replies: the script of the engine.
        prompt: the prompt; a short question if None.
        budget: the tier's budget; unlimited if None.
        verifier: the request's verifier.
        engine: an engine to use instead of `replies`.
        slots: the deployment's maximum number of concurrent passes.
        others: other tiers that the policy may ask.
        sink: gets the chunks that are shown to the user.

    Raises:
        AssertionError: a pass outlived its action.
        BudgetError: nothing was answered within the budget.
        EngineError: an engine failed.
    """
    engine = engine or ScriptedEngine(*replies)

    async def main() -> tuple[Answer, Trace]:
        trace = new_trace()
        action = Action(
            tier(policy, engine, slots=slots, budget=budget), trace, tiers=tiers_of(others), verifier=verifier
        )
        try:
            return await action.solve(prompt or ask_user("2+2?"), sink), trace
        finally:
            assert engine.running == 0, "a pass outlived its action"  # noqa: S101 - this is a test helper

    return frozen(main())


def tiers_of(tiers: Sequence[Tier]) -> dict[str, Tier]:
    """Tiers by name, as an action takes them."""
    return {tier.name: tier for tier in tiers}


def cascade(tiers: Sequence[Tier], name: str = "auto") -> Tier:
    """A route over these tiers, which are given cheapest first."""
    policy = Cascade(ladder=tuple(tier.name for tier in tiers))
    return Tier(name=name, deployment=tiers[-1].deployment, policy=policy)


def with_routes(tiers: Sequence[Tier], routes: Mapping[str, Sequence[str]]) -> dict[str, Tier]:
    """Tiers by name, followed by the routes: names of tiers, cheapest first, by name of the route."""
    found = tiers_of(tiers)
    return found | {name: cascade([found[one] for one in ladder], name) for name, ladder in routes.items()}


def solve_cascade(tiers: Sequence[Tier], prompt: Prompt, *, verifier: Verifier | None = None) -> tuple[Answer, Trace]:
    """Let a route over several tiers answer one prompt on a frozen clock."""

    async def main() -> tuple[Answer, Trace]:
        trace = new_trace()
        action = Action(cascade(tiers), trace, tiers=tiers_of(tiers), verifier=verifier)
        return await action.solve(prompt), trace

    return frozen(main())
