"""Answers that were lost to thinking: the model reached its limit, or stopped, and had written nothing but thinking.

Such an answer is recovered once per tier of an action: from the thinking, closed, on a deployment that can continue a
message, else (or if that is lost too) by the same request with thinking off. All passes are on the bill. A pass whose
output the policy needs (a draft, a critique, a judgement) is recovered at once. A vote or a candidate of a panel is
not, because the others can answer without it for fewer tokens; if none of them can, the action's answer is recovered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Protocol

from tierwise.engines.thinking_switch import OF_THINKING, asked_by_client, is_thinking_off, turned_off
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.call import Call, Chunk, Completion, Pass, Usage
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import ANSWER, FORM
from tierwise.spec.thinking import closing_mark

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.run.output import OutputStream
    from tierwise.spec.ask import Answer

LOST: Final = "lost_to_thinking"
"""The outcome of such a pass, and the signal of the decisions about it."""

_OFF, _CLOSED = "with thinking off", "with its thinking closed"


@dataclass(slots=True)
class Recoveries:
    """The recoveries of one choice.

    Attributes:
        tiers: names of the tiers whose answer was lost, and which are not recovered again.
        thinking: the thinking that the user may have seen before the answer of a pass, by its number.
    """

    tiers: set[str] = field(default_factory=set)
    thinking: dict[int, str] = field(default_factory=dict)

    def join(self, number: int, done: Pass, passes: Iterable[Pass]) -> None:
        """Remember that a user who was shown pass `number` sees `done` as its continuation."""
        before = next((one.completion.reasoning for one in passes if one.number == number), "")
        if done.number != number:
            self.thinking[done.number] = self.thinking.get(number, "") + before

    def shown(self, answer: Answer) -> Answer:
        """An answer as a client gets it: with the thinking that a stream has shown before it."""
        thinking = "" if answer.chosen is None else self.thinking.get(answer.chosen, "")
        if not thinking:
            return answer
        completion = replace(answer.completion, reasoning=thinking + answer.completion.reasoning)
        return replace(answer, completion=completion)


class Note(Protocol):
    def __call__(self, reason: str, *, signal: str, after: tuple[int, ...]) -> None:
        """As `Ask.note`."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Answers in place of a pass that was lost to thinking.

    Attributes:
        known: the recoveries of the choice.
        output: the user's stream.
        deployment: it ran the pass.
        again: runs a call within the budget of the tier.
        note: records a decision.
    """

    known: Recoveries
    output: OutputStream
    deployment: Deployment
    again: Callable[[Call], Awaitable[Pass]]
    note: Note

    async def answer(self, lost: Pass, *, shown: bool) -> Pass:
        """The pass that answers, or the lost one if no other could. `shown`: it was shown to the user, and so is this.

        Raises:
            EngineError: the engine failed after the user had seen a part of the answer.
        """
        if lost.tier in self.known.tiers:
            return lost
        self.known.tiers.add(lost.tier)
        calls = recoveries_of(lost, self.deployment)
        if isinstance(calls, str):
            self._note(lost, calls)
            return lost
        if shown and self.output.has_shown and (mark := closing_mark(lost.completion.text)):
            await self.output.show([Chunk(delta={"content": f"\n{mark}\n\n"})])
        before = lost
        for how, call in calls:
            done = await self._again(lost, call, how)
            if done is None:
                continue
            if shown:
                self.known.join(before.number, done, [before])
            if not has_no_answer(done.completion, done.usage):
                self._note(lost, f"pass {done.number} answered {how}")
                return done
            self._note(lost, f"pass {done.number}, {how}, has no answer either")
            if shown and self.output.has_shown:
                self.output.owner = lost.number
            before = done
        return lost

    async def _again(self, lost: Pass, call: Call, how: str) -> Pass | None:
        """The pass of a call; None if there is none."""
        try:
            return await self.again(call)
        except OutOfBudget:
            self._note(lost, f"the budget allows no pass {how}")
        except EngineError as error:
            if error.was_shown:
                raise
            self._note(lost, f"the pass {how} failed: {error}")
        return None

    def _note(self, lost: Pass, result: str) -> None:
        how = "reached its limit" if lost.completion.finish == "length" else "stopped"
        spent = f"after {lost.usage.completion} tokens without an answer"
        what = f"pass {lost.number} was lost to thinking, because it {how} {spent}"
        self.note(f"{what}; {result}", signal=LOST, after=(lost.number,))


def is_lost(completion: Completion, usage: Usage) -> bool:
    """Whether a pass that the engine ended has an answer that was lost to thinking. Some servers count thinking and do
    not send it.
    """
    return completion.is_only_thinking or (completion.is_empty and usage.reasoning > 0)


def has_no_answer(completion: Completion, usage: Usage) -> bool:
    """Whether a pass that was to answer in place of a lost one has no answer either."""
    return is_lost(completion, usage) or completion.is_empty


def recoveries_of(lost: Pass, deployment: Deployment) -> list[tuple[str, Call]] | str:
    """The calls that may answer in place of a lost pass, each with how, or why there is none.

    A deployment that continues messages is given the thinking, closed, so that what it found is not lost. Only if that
    has no answer either, or cannot be done, thinking is turned off.
    """
    prompt, off = lost.call.prompt, deployment.thinking_off
    if (named := asked_by_client(prompt, off)) is not None:
        return f"the request sets {named} itself, so it is not answered again"
    found: list[tuple[str, Call]] = []
    base = replace(lost.call, role="recovery", is_prefill=False, continues=lost.number)
    thinking = lost.completion.reasoning.strip()
    if thinking and deployment.current_capabilities().continues and not any(map(prompt.fields.get, FORM)):
        closed = prompt.without(*OF_THINKING).continuing(thinking, ANSWER)
        found.append((_CLOSED, replace(base, prompt=closed, after=(*lost.call.after, lost.number))))
    if off is not None:
        if is_thinking_off(prompt, off):
            return f"{deployment.name} thinks although thinking is off"
        found.append((_OFF, replace(base, prompt=turned_off(prompt, off))))
    return found or f"no thinking switch of {deployment.name} is known, so it is not answered again"
