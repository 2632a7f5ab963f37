"""One pass whose thinking is capped, and ended early once answers tried from it agree.

Trial answers: Fu et al., 2024, arXiv 2412.20993 (Certaindex); early exit: DEER, 2025, arXiv 2504.15895. Closing the
thinking from outside and letting the model answer is budget forcing (s1: Muennighoff et al., 2025, arXiv 2501.19393).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tierwise.spec.ask import Answer, Ask, Equality, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import ANSWER, BOUNDS, FORM, Prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

TRIAL = "The final answer is"
"""Begins a trial answer, which is one line."""
_SIGNAL = "thinking"
_SLACK = 1.1
_SLACK_TOKENS = 16
"""An engine that caps thinking itself may write this much more, to end a sentence and the block."""


class Thinking(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One pass whose thinking ends after `tokens`, or once `agree` trial answers in a row are equal.

    A trial answer is made from the thinking so far, every `every` tokens, while the pass goes on. Thinking is ended by
    the engine's own control, else by a second pass that is given the thinking so far, closed. On a deployment that can
    do neither, only the engine's own cap holds, and the trace says so.
    """

    tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Maximum thinking tokens; None for no cap."""
    trials: Annotated[int, msgspec.Meta(ge=0, le=64)] = 8
    """Maximum number of trial answers; 0 for none."""
    every: Annotated[int, msgspec.Meta(ge=16)] = 256
    """Thinking tokens between two trial answers."""
    agree: Annotated[int, msgspec.Meta(ge=2, le=8)] = 3
    """Number of consecutive equal trial answers that end thinking."""
    trial_tokens: Annotated[int, msgspec.Meta(ge=4, le=512)] = 32
    """Maximum tokens of a trial answer."""
    equality: Equality = "auto"
    """How trial answers are compared, as in `majority`."""

    def __post_init__(self) -> None:
        if self.trials == 0 and self.tokens is None:
            raise ValueError("thinking: set `tokens`, `trials` or both; without them it is `single`")
        if 0 < self.trials < self.agree:
            raise ValueError(
                f"thinking: {self.trials} trials can never show {self.agree} equal answers; raise `trials`"
            )

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=2 + self.trials)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        continued = {"messages", "seed", "continue_final_message", "add_generation_prompt"}
        trial = {"temperature", "stop", *BOUNDS} if self.trials else set[str]()
        return frozenset({"thinking_tokens", "reasoning_control", "thinking"} | continued | trial)

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        able = ask.capabilities
        resumes = bool(able.continues) and not any(prompt.fields.get(name) for name in FORM)
        controls = bool(able.thinking_control)
        asked = prompt.setting(reasoning_control=True) if controls else prompt
        if self.tokens is not None and able.thinking_end:
            own = prompt.fields.get("thinking_tokens")
            raises = own and not (isinstance(own, int) and 0 < own <= self.tokens)
            asked = (asked.setting if raises else asked.preferring)(thinking_tokens=self.tokens)
        limit = self._limit(prompt, caps=bool(able.thinking_end))
        follower = _Follower(limit, self.every, "end_thinking" if controls else "cut")
        if not (resumes or controls):
            ask.note(f"{ask.deployment} cannot end thinking from outside: only its own cap holds", signal=_SIGNAL)
            follower.limit = None
        trials = self.trials if resumes else 0
        call = Call(prompt=asked)
        if trials:
            draft = await self._tried(prompt, ask, call, follower, trials)
        else:
            draft = await ask(call, shown=True, watch=follower.watch)
        if follower.reason:
            ask.note(follower.reason, signal=_SIGNAL, level=float(follower.tokens), after=(draft.number,))
        if draft.outcome != "cut" or not follower.reason:
            return Answer(completion=draft.completion, chosen=draft.number, why=follower.reason or "thought to its end")
        # A control that failed cuts a pass too. What it thought cannot be sent on with an answer that has a form.
        closed = prompt.continuing(follower.thinking, ANSWER) if resumes else prompt.preferring(thinking=False)
        return await self._answered(closed, ask, draft, follower)

    def _limit(self, prompt: Prompt, *, caps: bool) -> int | None:
        """Thinking tokens after which thinking is ended from outside. An engine's own cap has a little longer."""
        if self.tokens is None:
            return None
        own = prompt.fields.get("thinking_tokens")
        tokens = min(self.tokens, own) if isinstance(own, int) and own > 0 else self.tokens
        return int(_SLACK * tokens) + _SLACK_TOKENS if caps else tokens

    async def _answered(self, prompt: Prompt, ask: Ask, draft: Pass, follower: _Follower) -> Answer:
        """The answer of a pass that goes on where the draft was cut."""
        call = Call(prompt=prompt, role="answer", after=(draft.number,), continues=draft.number)
        try:
            done = await ask(call, shown=True)
        except OutOfBudget:
            why = f"{follower.reason}; no budget for its answer"
        except EngineError as error:
            if error.was_shown:
                raise
            why = f"{follower.reason}; the pass with its answer failed"
        else:
            return Answer(completion=done.completion, chosen=done.number, why=follower.reason)
        return Answer(completion=draft.completion, chosen=draft.number, why=why)

    async def _tried(self, prompt: Prompt, ask: Ask, call: Call, follower: _Follower, trials: int) -> Pass:
        """Run the pass, and trial answers beside it until they agree. A budget's last pass is kept for the answer."""
        draft = asyncio.ensure_future(ask(call, shown=True, watch=follower.watch))
        draft.add_done_callback(lambda _: follower.due.set())
        trial: asyncio.Future[Pass] | None = None
        keys: list[str | None] = []
        try:
            while not draft.done():
                await follower.due.wait()
                follower.due.clear()
                left = ask.left.passes
                if draft.done() or follower.reason or len(keys) >= trials or (left is not None and left < 2):
                    continue
                trial = asyncio.ensure_future(_alone(ask, self._trial(prompt, follower.thinking)))
                await asyncio.wait({draft, trial}, return_when=asyncio.FIRST_COMPLETED)
                if not trial.done():
                    continue
                try:
                    keys.append(await ask.key(trial.result(), self.equality))
                except (OutOfBudget, EngineError) as error:
                    ask.note(f"no further trial answers: {str(error) or 'the budget is used up'}", signal=_SIGNAL)
                    trials = 0
                if _agree(keys, self.agree):
                    follower.end(f"thinking ended early: {self.agree} trial answers in a row agree")
            return draft.result()
        finally:
            for task in (trial, draft):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, OutOfBudget, EngineError):
                        await task

    def _trial(self, prompt: Prompt, thinking: str) -> Call:
        """A greedy one-line answer from the thinking so far."""
        continued = prompt.continuing(thinking, TRIAL).bounded(self.trial_tokens)
        return Call(prompt=continued.setting(temperature=0, stop=["\n"]), role="trial", candidate=False)


async def _alone(ask: Ask, call: Call) -> Pass:
    """A pass that is not recovered if it is lost to thinking, because the answer does not need it.

    Raises:
        EngineError: the engine failed.
        OutOfBudget: the budget does not allow it.
    """
    async with ask.panel([call]) as arrivals:
        done = await anext(arrivals)
    if done is None:
        raise OutOfBudget
    return done


class _Follower:
    """Follows the thinking of a pass.

    Args:
        limit: as the attribute.
        every: thinking tokens between two trial answers.
        verb: what ends its thinking.

    Attributes:
        limit: thinking tokens after which it is ended; None for no limit.
        thinking: the thinking so far.
        tokens: its tokens, as far as they are known.
        due: set when a trial answer is due.
        reason: why thinking is ended; empty while it is not.
    """

    def __init__(self, limit: int | None, every: int, verb: Literal["cut", "end_thinking"]) -> None:
        self.limit = limit
        self._verb = verb
        self.tokens = 0
        self.due = asyncio.Event()
        self.reason = ""
        self._every = every
        self._next = every
        self._pieces: list[str] = []
        self._is_thinking = True
        self._ended_at: int | None = None

    @property
    def thinking(self) -> str:
        return "".join(self._pieces)

    def end(self, reason: str) -> None:
        """End thinking with the next token, unless it has ended."""
        if self._is_thinking:
            self.reason = self.reason or reason

    def watch(self, chunk: Chunk) -> Literal["cut", "end_thinking"] | None:
        thought = chunk.delta.get("reasoning_content") or chunk.delta.get("reasoning")
        if not self._is_thinking or not isinstance(thought, str):
            self._is_thinking = self._is_thinking and not (chunk.is_output or chunk.finish)
            return None
        self._pieces.append(thought)
        counted = 0 if chunk.usage is None else chunk.usage.completion
        self.tokens = max(self.tokens + 1, counted)
        if self.limit is not None and self.tokens >= self.limit:
            self.end(f"thinking ended at its cap, after {self.tokens} tokens")
        elif self.tokens >= self._next:
            self._next = self.tokens + self._every
            self.due.set()
        if not self.reason:
            return None
        if self._ended_at is None:
            self._ended_at = self.tokens
            return self._verb
        return "cut" if self.tokens > self._ended_at + _SLACK_TOKENS else None  # a control that had no effect


def _agree(keys: Sequence[str | None], count: int) -> bool:
    last = keys[-count:]
    return len(last) == count and last[0] is not None and len(set(last)) == 1
