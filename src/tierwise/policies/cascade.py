"""Ask the cheapest tier first, and a stronger one only if its answer is not accepted (Chen et al., 2023, arXiv
2305.05176). A route of the config file is a tier with this policy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from tierwise.policies.acceptance import CascadeSignal, DrawVotes, Reading, measured, unusable
from tierwise.policies.copies import is_sampled
from tierwise.policies.signals import ALTERNATIVES, Cut, with_logprobs
from tierwise.spec.ask import Answer, Ask, OutOfBudget, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import Prompt
from tierwise.verifiers.tool_calls import wrong_call

SESSION = "session"
"""The signal of a decision to begin at the tier that the session has reached."""
FAILED, OUT_OF_BUDGET, UNFINISHED = "failed", "out_of_budget", "unfinished"
"""The signals of a decision about a tier that could not answer, or whose answer a budget ended unseen."""
NO_SIGNAL = "no_signal"
"""The signal of a decision about an answer that has none of the signals."""
DEFAULT_SIGNALS = (CascadeSignal(span_probability=0.5), CascadeSignal(agreement=2), CascadeSignal(margin=0.9))
"""Those that were best on a recorded pool of one model (docs/policies.md): a sure answer costs one pass, and only one
that is not sure is drawn again. A route to a larger model loses more by them (docs/evidence.md).
"""


class Cascade(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Try tiers in turn, cheapest first, until an answer is accepted. The last tier's answer is final.

    The request's verifier decides, else the tier's own. Where there is none, a truncated, refused or empty answer and a
    tool call that its schema does not allow are not accepted. The rest is accepted by the first signal that accepts it;
    `agreement` decides for good once there are enough draws. An answer that has none of the signals is accepted if the
    request offers tools, and otherwise not.

    Later tiers get the earlier candidates, to count or to refine. A tier that fails or runs out of budget is skipped.
    If the last tier cannot answer, or the budget ends its answer unseen, the best answer so far is returned. Of several
    passes that a budget allows, one is kept for the last tier.
    """

    ladder: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = msgspec.field(name="tiers")
    """Tiers of this file, cheapest first."""
    signals: tuple[CascadeSignal, ...] = DEFAULT_SIGNALS
    """Signals with thresholds, in the order in which they are tried. Set by hand: measure them on your workload. Empty
    to accept only what a verifier accepts; the last tier then answers at once where there is none."""
    steps: tuple[tuple[CascadeSignal, ...], ...] | None = None
    """In place of `signals`, where tiers need other ones: a list for each tier but the last, in the order of the tiers.
    An empty list accepts only what a verifier accepts, and skips the tier where there is none."""
    cut: Cut | None = None
    """Ends a pass of a cheap tier while it is written, as soon as it has become too unsure: the next tier is asked at
    once. Passes of the last tier are never cut."""
    session_seconds: Annotated[float, msgspec.Meta(ge=0)] = 1800.0
    """How long a session stays at the tier that it reached, after its last action: its next actions begin there, so
    that what that tier has cached of the conversation is used. A session's first action begins at the cheapest tier. 0:
    every action does."""

    def __post_init__(self) -> None:
        if why := wrong_steps(self.ladder, self.steps, has_signals=self.signals != DEFAULT_SIGNALS):
            raise ValueError(why)

    def most(self, at: Callable[[str], Budget]) -> Budget:
        *cheaper, last = self.ladder
        return sum((_with_draws(at(name), _more_draws(self.signals_of(name))) for name in cheaper), at(last))

    def signals_of(self, tier: str) -> tuple[CascadeSignal, ...]:
        """The signals that accept an answer of one of the cheap tiers."""
        return self.signals if self.steps is None else self.steps[self.ladder.index(tier)]

    def tiers(self) -> tuple[str, ...]:
        return self.ladder

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"logprobs", "top_logprobs"} if self.needs_logprobs else ())

    @property
    def needs_logprobs(self) -> bool:
        """Whether cheap tiers are asked for log-probabilities."""
        return self.cut is not None or any(
            signal.needs_logprobs for several in self.steps or (self.signals,) for signal in several
        )

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        reached = self._reached(ask)
        left = ask.left.passes
        reserve = Budget(passes=1) if left is not None and left > 1 else None  # the last tier can always answer
        *names, top = self.ladder[reached:]
        cheaper, last = [ask.at(name, reserve=reserve) for name in names], ask.at(top)
        tried = [tier for tier in cheaper if self.signals_of(tier.tier) or tier.verifier is not None]
        if reached:
            level = float(reached)
            begins = self.ladder[reached]
            ask.note(f"its session has reached {begins}, so it begins there", signal=SESSION, level=level, about=begins)
        else:
            ask.note(_plan(cheaper, tried))
        climb = _Climb(self, prompt, ask)
        for tier in tried:
            answer = await climb.accepted(tier if self.cut is None else self.cut.watched(tier))
            if answer is not None:
                self._keep(ask, tier.tier, climb.refused)
                return answer
        try:
            answer = await last.solve(prompt, shown=True, drafts=climb.drafts)
        except (OutOfBudget, EngineError) as failure:
            self._keep(ask, self.ladder[reached], climb.refused)
            if climb.kept is None or ask.is_shown:
                raise
            said = f"{last.tier} {_failure(failure)}: the best earlier answer is returned"
            ask.note(said, signal=_kind(failure), about=last.tier, accepted=False)
            return climb.kept
        self._keep(ask, last.tier, climb.refused)
        if climb.keeps_whole and not ask.is_shown and _is_unfinished(answer, ask):
            assert climb.kept is not None  # noqa: S101 - it keeps one
            said = f"{last.tier} did not finish its answer: the best earlier answer is returned"
            ask.note(said, signal=UNFINISHED, about=last.tier, accepted=False)
            return climb.kept
        return answer

    def _reached(self, ask: Ask) -> int:
        """The place in the ladder of the tier at which the session begins."""
        kept = ask.recall() if self.session_seconds else ""
        return self.ladder.index(kept) if kept in self.ladder else 0

    def _keep(self, ask: Ask, tier: str, refused: str) -> None:
        """Keep for the session the tier that answered, or the one after the last whose answer was refused if that is
        cheaper: the tiers between them only failed, and will be back.
        """
        place = min(self.ladder.index(tier), self.ladder.index(refused) + 1) if refused else 0
        place = max(place, self._reached(ask))  # another choice of the action may have got further
        if self.session_seconds and place:
            ask.keep(self.ladder[place], self.session_seconds)


def wrong_steps(
    ladder: Sequence[str], steps: tuple[tuple[CascadeSignal, ...], ...] | None, *, has_signals: bool
) -> str:
    """What is wrong with the signals of each step; empty if nothing is."""
    if steps is None:
        return ""
    if has_signals:
        return "`signals` and `steps` are both given; give one of them"
    if len(steps) != len(ladder) - 1:
        cheaper = ", ".join(ladder[:-1]) or "none"
        return f"`steps` has {len(steps)} lists; give one for each tier but the last ({cheaper})"
    return ""


class _Climb:
    """One prompt's way up the tiers.

    Attributes:
        kept: the best answer so far that was not accepted.
        refused: the last tier whose answer was not accepted; empty if there is none.
    """

    def __init__(self, policy: Cascade, prompt: Prompt, ask: Ask) -> None:
        self._policy, self._prompt, self._ask = policy, prompt, ask
        self._votes = DrawVotes(ask)
        self._verdicts: dict[int, Verdict] = {}
        self._kept_rank = (False, 0.0)
        self.kept: Answer | None = None
        self.refused = ""

    @property
    def keeps_whole(self) -> bool:
        """Whether `kept` is an answer that somebody could use."""
        return self._kept_rank[0]

    @property
    def drafts(self) -> list[Answer]:
        """Every finished candidate so far, with its verdict if it has one."""
        return [
            Answer(completion=one.completion, chosen=one.number, tier=one.tier, verdict=self._verdicts.get(one.number))
            for one in self._ask.drawn
            if one.call.candidate and one.outcome == "finished" and not unusable(one)
        ]

    async def accepted(self, tier: Ask) -> Answer | None:
        """A tier's answer if it is accepted; None if it is not, or if the tier cannot answer."""
        try:
            answer = await tier.solve(self._asked(tier), drafts=self.drafts)
        except (OutOfBudget, EngineError) as failure:
            self._ask.note(f"{tier.tier} {_failure(failure)}", signal=_kind(failure), about=tier.tier, accepted=False)
            return None
        candidate = next((one for one in self._ask.drawn if one.number == answer.chosen), None)
        is_cut = self._policy.cut is not None and candidate is not None and candidate.outcome == "cut"
        verdict = None if is_cut else answer.verdict  # a check of half an answer says nothing about the whole
        if verdict is None and tier.verifier is not None and not is_cut:
            verdict = await tier.verify(answer)
        if verdict is not None and verdict.judged:
            return self._judged(tier, replace(answer, verdict=verdict))
        if candidate is None:
            self._note(tier, answer, "not accepted: it is no single pass's answer", accepted=False, signal="usable")
        elif await self._is_accepted(tier, candidate):
            return answer
        self._keep(tier, answer, is_usable=candidate is not None and not unusable(candidate))
        return None

    def _asked(self, tier: Ask) -> Prompt:
        """The prompt, with log-probabilities if a signal may need them."""
        judges_all = tier.verifier is not None and not self._prompt.has_tools
        if not self._policy.needs_logprobs or (judges_all and self._policy.cut is None):
            return self._prompt
        return with_logprobs(self._prompt, ALTERNATIVES)

    def _judged(self, tier: Ask, answer: Answer) -> Answer | None:
        """A verifier's judgement is final."""
        verdict = answer.verdict
        assert verdict is not None  # noqa: S101 - the caller has one
        self._note(tier, answer, _said(verdict), accepted=verdict.ok, signal="verifier", level=verdict.score)
        if verdict.ok:
            return answer
        if answer.chosen is not None:
            self._verdicts[answer.chosen] = verdict
            self._votes.reject(answer.chosen)
        self._keep(tier, answer, is_usable=True, score=verdict.score)
        return None

    async def _is_accepted(self, tier: Ask, candidate: Pass) -> bool:
        """Whether an answer that no verifier judges is accepted by a signal."""
        if why := unusable(candidate):
            self._note(tier, candidate, f"not accepted: {why}", accepted=False, signal="usable", level=0.0)
            return False
        calls = bool(candidate.completion.tool_calls)
        if calls and (why := await wrong_call(candidate.completion, self._prompt.fields)):
            self._note(tier, candidate, f"not accepted: {why}", accepted=False, signal="tool_schema", level=0.0)
            return False
        was_read = False
        for signal in self._policy.signals_of(tier.tier):
            if signal.agreement is not None:
                reading = await self._agreement(tier, candidate, signal.agreement, draws_more=not calls)
            else:
                reading = measured(signal, candidate)
            if reading is None:
                continue
            was_read = True
            said = f"{'accepted' if reading.accepts else 'not accepted'}: {reading.said}"
            self._note(tier, candidate, said, accepted=reading.accepts, signal=signal.kind, level=reading.level)
            if reading.accepts or signal.agreement is not None:
                return reading.accepts
        if was_read:
            return False
        has_tools = self._prompt.has_tools
        said = f"accepted: {'its tool calls match their schemas' if calls else 'nothing speaks against it'}"
        said, why = (said, "usable") if has_tools else ("not accepted: it has no signal", NO_SIGNAL)
        self._note(tier, candidate, said, accepted=has_tools, signal=why, level=1.0)
        return has_tools

    async def _agreement(self, tier: Ask, candidate: Pass, wanted: int, *, draws_more: bool) -> Reading | None:
        """Agreement of independent draws; with `draws_more` those that are missing are drawn, one pass each.

        An agent's turn that calls a tool is not drawn again: an agent takes many turns, and each would cost twice.
        """
        reading, draws = await self._votes.agreement(tier, candidate, wanted)
        own = sum(one.tier == candidate.tier for one in self._votes.candidates)
        if not draws_more or candidate.deployment != tier.deployment or not is_sampled(candidate):
            return reading
        while reading is None and draws and own < wanted:
            try:
                await tier(Call(prompt=self._asked(tier), role="vote"))
            except (OutOfBudget, EngineError) as failure:
                self._ask.note(f"{tier.tier} {_failure(failure)} at another draw", signal=_kind(failure))
                break
            own += 1
            reading, draws = await self._votes.agreement(tier, candidate, wanted)
        return reading

    def _keep(self, tier: Ask, answer: Answer, *, is_usable: bool, score: float = 0.0) -> None:
        self.refused = tier.tier
        if self.kept is None or (is_usable, score) >= self._kept_rank:
            self.kept, self._kept_rank = answer, (is_usable, score)

    def _note(
        self, tier: Ask, of: Answer | Pass, said: str, *, accepted: bool, signal: str, level: float | None = None
    ) -> None:
        number = of.number if isinstance(of, Pass) else of.chosen
        after = () if number is None else (number,)
        said = f"{tier.tier} {said}"
        self._ask.note(said, signal=signal, level=level, after=after, about=tier.tier, accepted=accepted)


def _more_draws(signals: Sequence[CascadeSignal]) -> int:
    """How many draws are taken from a cheap tier besides its answer, at most. They are within its budget."""
    return max((signal.agreement - 1 for signal in signals if signal.agreement), default=0)


def _with_draws(budget: Budget, draws: int) -> Budget:
    passes = None if budget.passes is None else budget.passes + draws
    return msgspec.structs.replace(budget, passes=passes)


def _is_unfinished(answer: Answer, ask: Ask) -> bool:
    """Whether a budget ended the pass of an answer, or it was lost to thinking."""
    return any(done.number == answer.chosen and done.outcome != "finished" for done in ask.drawn)


def _plan(cheaper: list[Ask], tried: list[Ask]) -> str:
    if not cheaper:
        return "its only tier"
    if not tried:
        return "no verifier and no signals, so the strongest tier"
    verifier = tried[0].verifier
    return "escalates by its signals" if verifier is None else f"escalates until {verifier.kind} accepts"


def _said(verdict: Verdict) -> str:
    if verdict.ok:
        return "accepted"
    return f"not accepted: {verdict.why}" if verdict.why else "not accepted"


def _kind(failure: Exception) -> str:
    return OUT_OF_BUDGET if isinstance(failure, OutOfBudget) else FAILED


def _failure(failure: Exception) -> str:
    return "ran out of budget" if isinstance(failure, OutOfBudget) else f"failed: {failure}"
