"""Best of n: draw several candidates and pick one by a verifier (Cobbe et al., 2021, arXiv 2110.14168), by a scorer, or
by the engine's own confidence.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from typing import Annotated

import msgspec

from tierwise import verifiers  # the module: its table of verifiers is complete when a file is read
from tierwise.policies.candidates import Candidates
from tierwise.policies.copies import note_copies
from tierwise.policies.drafts import counted
from tierwise.policies.scoring import ScorerChoice
from tierwise.spec.ask import Answer, Ask, OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.prompt import Prompt


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
    """What scores candidates that the verifier, if any, does not tell apart: a model as `judge`."""
    temperatures: Annotated[tuple[Annotated[float, msgspec.Meta(ge=0, le=2)], ...], msgspec.Meta(max_length=64)] = ()
    """Temperatures that are spread over the draws: draw i has number i, and the list repeats. They replace the
    temperature of the request and the tier. Empty: every draw has that one."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - a scorer's passes are its own
        return Budget(passes=self.n + self._scoring(self.n))

    def tiers(self) -> tuple[str, ...]:
        return (self.scorer.member.tier,) if self.scorer is not None and self.scorer.member.tier else ()

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
            await self._score(prompt, ask, candidates)
        best = candidates.best
        return Answer(
            completion=best.draw.completion,
            chosen=best.draw.number,
            why=candidates.reason,
            verdict=best.verdict,
        )

    async def _drawn(self, prompt: Prompt, ask: Ask) -> Candidates:
        """The candidates. With a scorer, so few that the budget leaves passes to score them."""
        left, n = ask.left.passes, self.n
        while left is not None and n > 1 and n + self._scoring(n) > left:
            n -= 1
        drawn = Candidates(ask)
        drafts, _ = counted(ask, n)
        for draft in drafts:
            if (await drawn.add(draft)).is_accepted_for_good:
                return drawn
        asked = prompt.preferring(logprobs=True)
        spread = islice(cycle(self.temperatures), n)
        calls = [Call(prompt=asked.setting(temperature=warmth)) for warmth in spread] or [Call(prompt=asked)] * n
        del calls[: len(drafts)]
        async with ask.panel(calls, order="finish") as arrivals:
            async for candidate in arrivals:
                if candidate is not None and (await drawn.add(candidate)).is_accepted_for_good:
                    break
        return drawn

    async def _score(self, prompt: Prompt, ask: Ask, candidates: Candidates) -> None:
        """Score the different answers among the candidates that the verifier does not tell apart."""
        assert self.scorer is not None  # noqa: S101 - only then it is called
        scorer = self.scorer.member
        groups = await candidates.groups()
        candidates.scored(self.scorer.kind, len(groups))
        if len(groups) < 2:
            return
        asked = ask.at(scorer.tier) if scorer.tier else ask
        drafts = [group[0].draw for group in groups]
        scores = await scorer.scores(prompt, asked, drafts, drafts)
        for group in groups:
            score = scores.get(group[0].draw.number)
            for one in group:
                one.score, one.equal = score, len(group)
            if score is not None:
                ask.note("scored", signal=self.scorer.kind, level=score, after=tuple(one.draw.number for one in group))
