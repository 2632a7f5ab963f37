"""Self-consistency: draw several answers and keep the most common (Wang et al., 2023, arXiv 2203.11171)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec

from tierwise.policies.ballots import Ballots
from tierwise.policies.drafts import counted
from tierwise.policies.draw_order import paced
from tierwise.policies.signals import (
    ALTERNATIVES,
    LEAST_ALTERNATIVES,
    SIGNALS,
    Cut,
    calibrated_signal,
    with_logprobs,
)
from tierwise.spec.ask import Answer, Ask, Equality
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Pass
from tierwise.spec.prompt import Prompt
from tierwise.stopping import Calibration, Curtailment, StopChoice, fewest_more


class Majority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw up to `n` votes and keep the most common answer, stopping once no other answer can catch up.

    A stopping rule may end the vote earlier. It is asked about the votes in draw order, so that quick draws, which are
    short answers, are not preferred; the votes that it has seen decide. In a tie the answer that was drawn first wins.
    Votes without an answer and failed passes do not count. Drafts of cheaper tiers are votes, in place of own ones.
    """

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 5
    """Maximum number of votes."""
    equality: Equality = "auto"
    """How votes are compared; `auto` uses the request's verifier, else the form of the answer."""
    stop: StopChoice = msgspec.field(default_factory=lambda: StopChoice(curtailment=Curtailment()))
    """The stopping rule, with its parameter. `curtailment` never changes the answer, and is a part of every rule."""
    confidence: Calibration | None = None
    """Weighs each vote by the probability that it is right, measured on a pool of the same deployment. Needed by
    `stop: cges`; otherwise `stop` must be `curtailment`, because the other rules count votes."""
    cut: Cut | None = None
    """Ends a vote while it is written, as soon as it has become too unsure; it then does not count. The first vote is
    never cut, and if it ends without an answer, no other is cut until one has an answer."""

    def __post_init__(self) -> None:
        rule = self.stop.member
        if self.confidence is None:
            if rule.needs_confidence:
                raise ValueError(f"stop: {self.stop.kind} needs `confidence`: the calibration of a signal on a pool")
            return
        if not (rule.needs_confidence or rule.is_lossless):
            raise ValueError(
                f"stop: {self.stop.kind} counts votes and `confidence` weighs them; use `cges` or `curtailment`, or "
                "remove `confidence`"
            )
        if self.confidence.signal not in SIGNALS:
            known = ", ".join(sorted(SIGNALS))
            raise ValueError(f"confidence: there is no signal {self.confidence.signal!r}; allowed: {known}")
        if SIGNALS[self.confidence.signal].needs_alternatives and self.confidence.alternatives < LEAST_ALTERNATIVES:
            raise ValueError(
                f"confidence: {self.confidence.signal} needs `alternatives`: the number of `top_logprobs` of the pool, "
                f"at least {LEAST_ALTERNATIVES}"
            )

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed", "logprobs", "top_logprobs"} if self._alternatives is not None else {"seed"})

    @property
    def _alternatives(self) -> int | None:
        """How many alternatives of each token votes are asked for; None if they need no log-probabilities."""
        if self.confidence is not None:
            return self.confidence.alternatives or (ALTERNATIVES if self.cut is not None else 0)
        return None if self.cut is None else ALTERNATIVES

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        rule = self.stop.member
        alternatives = self._alternatives
        if alternatives is not None:
            prompt = with_logprobs(prompt, alternatives)
        call = Call(prompt=prompt, role="vote")
        # A calibration holds for one deployment and sampling, so weighted votes are the tier's own.
        first, last = ([], []) if self.confidence is not None else counted(ask, self.n)
        ballots = Ballots(self.n, rule, self.confidence, has_drafts=bool(first or last))
        own = self.n - len(first) - len(last)
        for place, draft in enumerate(first):
            await self._add(ask, ballots, place, draft)
        for place, draft in enumerate(last, self.n - len(last)):  # in a tie, this deployment's answer wins
            await self._add(ask, ballots, place, draft)
        is_over, drawn = self._over(ask, ballots)
        if not is_over:
            pace = paced(
                ask,
                ballots.ended,
                lambda: fewest_more(rule, ballots.first(ballots.ended.first)),
                before=len(first),
                most=own,
            )
            calls: list[Call | tuple[Ask, Call]] = [call] * own
            if self.cut is not None:
                watched = self.cut.watched(
                    ask,
                    alternatives or ALTERNATIVES,
                    lambda: ballots.ended.first > len(first) and not ballots.has_answer,
                )
                calls[1:] = [(watched, call)] * (len(calls) - 1)
            async with ask.panel(calls, order="finish", pace=pace) as arrivals:
                async for vote in arrivals:
                    await self._add(ask, ballots, len(first) + arrivals.position, vote)
                    is_over, drawn = self._over(ask, ballots)
                    if is_over:
                        break
        answer = ballots.elect(drawn)
        if ballots.copied:
            ask.note(answer.why, signal="copies")
        return answer

    def _over(self, ask: Ask, ballots: Ballots) -> tuple[bool, int | None]:
        """Whether no other vote is drawn, and how many of the first draws decide; None for all that ended."""
        if ballots.is_settled:
            return True, None
        if self.stop.member.is_lossless or (drawn := ballots.stopping_point()) is None:
            return False, None
        why = "more copies" if ballots.has_only_copies else self.stop.kind
        ask.note(f"{why} ends the vote after {drawn} of {self.n} draws", signal="votes")
        return True, drawn

    async def _add(self, ask: Ask, ballots: Ballots, place: int, vote: Pass | None) -> None:
        if vote is None:
            ballots.add(place, None)
            return
        key = await ask.key(vote, self.equality)
        if self.confidence is None:
            ballots.add(place, vote, key)
        else:
            sure = self.confidence.probability(calibrated_signal(self.confidence, vote.completion))
            ballots.add(place, vote, key, sure)
