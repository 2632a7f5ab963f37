"""Best of n: draw several candidates and pick one by a verifier (Cobbe et al., 2021, arXiv 2110.14168), by a scorer, or
by the engine's own confidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import Annotated, Any

import msgspec

from tierwise import verifiers  # the module: its table of verifiers is complete when a file is read
from tierwise.policies.candidates import Candidate, Candidates
from tierwise.policies.copies import note_copies
from tierwise.policies.drafts import counted
from tierwise.policies.draw_order import paced
from tierwise.policies.scoring import ScorerChoice
from tierwise.spec.ask import Answer, Ask, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.prompt import Prompt
from tierwise.stopping import ScoreStopChoice


class BestOfN(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draw up to `n` candidates. The verifier picks one, then the scorer; ties go to the highest mean log-probability.

    A decisive verifier (tests, a known answer) ends the search at the first accepted candidate. With a verifier that
    checks only the form (a schema, a pattern), or without one, all `n` candidates are drawn. The scorer decides among
    those that the verifier does not tell apart, and scores equal answers once. Drafts of cheaper tiers on the same
    deployment are candidates, in place of own ones.
    """

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 4
    """Maximum number of candidates."""
    verifier: verifiers.VerifierChoice | None = None
    """Verifier for candidates if the request has none."""
    scorer: ScorerChoice | None = None
    """What scores candidates that the verifier, if any, does not tell apart: a `judge` or a `reward` model."""
    stop: ScoreStopChoice | None = None
    """Ends the draws before `n`, by the scores of the first ones. It needs a scorer that grades each candidate by
    itself: `reward`, or a judge with `pivots: 0`."""
    temperatures: Annotated[tuple[Annotated[float, msgspec.Meta(ge=0, le=2)], ...], msgspec.Meta(max_length=64)] = ()
    """Temperatures that are spread over the draws: draw i has number i, and the list repeats. They replace the
    temperature of the request and the tier. Empty: every draw has that one."""

    def __post_init__(self) -> None:
        if self.stop is not None and (self.scorer is None or not self.scorer.member.is_absolute):
            raise ValueError(
                f"stop: {self.stop.kind} needs the score of each candidate by itself; give a scorer: `reward`, or "
                "`judge` with `pivots: 0`"
            )

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - a scorer's passes are its own
        return Budget(passes=self.n + self._scoring(self.n))

    def tiers(self) -> tuple[str, ...]:
        return (self.scorer.member.tier,) if self.scorer is not None and self.scorer.member.tier else ()

    @property
    def graders(self) -> Mapping[str, int]:
        """The reward models that it asks, and the maximum of passes of each."""
        place = "" if self.scorer is None else self.scorer.member.deployment
        return {place: self._scoring(self.n)} if place else {}

    @property
    def sets(self) -> frozenset[str]:
        scored = frozenset[str]() if self.scorer is None else self.scorer.member.sets
        return frozenset({"seed", "logprobs", *(("temperature",) if self.temperatures else ())}) | scored

    def _scoring(self, candidates: int) -> int:
        """The maximum number of the scorer's passes."""
        return 0 if self.scorer is None else self.scorer.member.most(candidates)

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        if self.scorer is not None:
            ask.note(f"candidates are scored by the {self.scorer.kind}", signal=self.scorer.kind)
        candidates = await self._drawn(prompt, ask)
        if not candidates.all:
            raise OutOfBudget
        note_copies(ask, [one.draw for one in candidates.all])
        if self.scorer is not None and not candidates.is_decided:
            groups = await candidates.grouped(candidates.leading)
            candidates.scored(self.scorer.kind, len(groups))
            if len(groups) > 1:
                await self._score(prompt, ask, groups)
        best = candidates.best
        return Answer(
            completion=best.draw.completion,
            chosen=best.draw.number,
            why=candidates.reason,
            verdict=best.verdict,
        )

    async def _drawn(self, prompt: Prompt, ask: Ask) -> Candidates:
        """The candidates. With a scorer, so few that the budget leaves passes to score them, drafts included."""
        left, n = ask.left.passes, self.n
        drafts, _ = counted(ask, n)
        while left is not None and n > 1 and n - len(drafts) + self._scoring(n) > left:
            n -= 1
            drafts, _ = counted(ask, n)
        drawn = Candidates(ask)
        for place, draft in enumerate(drafts):
            if await drawn.add(place, draft):
                return drawn
        asked = prompt.preferring(logprobs=True)
        spread = islice(cycle(self.temperatures), n)
        calls = [Call(prompt=asked.setting(temperature=warmth)) for warmth in spread] or [Call(prompt=asked)] * n
        del calls[: len(drafts)]
        pace = None if self.stop is None else paced(ask, drawn.ended, _one, before=len(drafts), most=len(calls))
        async with ask.panel(calls, order="finish", pace=pace) as arrivals:
            async for draw in arrivals:
                if await drawn.add(len(drafts) + arrivals.position, draw):
                    break
                if self.stop is not None and arrivals.left and await self._is_enough(prompt, ask, drawn):
                    drawn.keep_first()
                    ask.note(f"{self.stop.kind} ends the draws after {drawn.ended.first} of {n}", signal="score")
                    break
        return drawn

    async def _is_enough(self, prompt: Prompt, ask: Ask, drawn: Candidates) -> bool:
        """Whether the scores of the first draws say that another one is not worth its cost."""
        assert self.stop is not None  # noqa: S101 - only then it is called
        first = drawn.first
        await self._score(prompt, ask, await drawn.grouped(first))
        assert self.scorer is not None  # noqa: S101 - a rule needs one
        share = self.scorer.member.share
        return self.stop.member.stops([share(one.score) for one in first if one.score is not None])

    async def _score(self, prompt: Prompt, ask: Ask, groups: Sequence[Sequence[Candidate]]) -> None:
        """Score one of each group of candidates with equal answers, unless one has a score: the likeliest, or the first
        where draws may end early.
        """
        assert self.scorer is not None  # noqa: S101 - only then it is called
        scorer, kind = self.scorer.member, self.scorer.kind
        chosen = [max(group, key=_first if self.stop is not None else _likeliest) for group in groups]
        wanted = [one.draw for one in chosen if not one.was_scored]
        asked = ask.at(scorer.tier) if scorer.tier else ask
        scores = await scorer.scores(prompt, asked, [one.draw for one in chosen], wanted) if wanted else {}
        for judged, group in zip(chosen, groups, strict=True):
            if not judged.was_scored:
                judged.was_scored, judged.score = True, scores.get(judged.draw.number)
                if judged.score is not None:
                    numbers = tuple(one.draw.number for one in group)
                    ask.note("scored", signal=kind, level=judged.score, after=numbers)
            for one in group:
                one.score, one.equal = judged.score, len(group)


def _one() -> int:
    return 1


def _first(one: Candidate) -> Any:
    return one.was_scored, -one.place


def _likeliest(one: Candidate) -> Any:
    return one.merit
