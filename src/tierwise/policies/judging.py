"""A model as judge of candidates: grades in letters, and a tournament among them.

Every prompt of the judge is the conversation, the candidates in a block, what a grade means, and at the very end which
candidates this pass grades. So all of an action's judge passes share all but the end of their prompts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise, product
from typing import Annotated

import msgspec

from tierwise.policies.drafts import MATERIAL, about
from tierwise.spec.ask import Ask
from tierwise.spec.call import Call, Pass
from tierwise.spec.errors import EngineError
from tierwise.spec.prompt import BOUNDS, FORM, Prompt
from tierwise.verifiers.letter_grades import LETTERS, SCALE, grades_of, letter_grades
from tierwise.verifiers.model_judge import RUBRIC

_DROPPED = (
    *FORM, *BOUNDS, "functions", "function_call", "stop", "logit_bias", "logprobs", "top_logprobs", "presence_penalty",
    "frequency_penalty", "repetition_penalty",
)  # fmt: skip
"""The request fields that are about the answer, and would distort or end a grade."""

Pair = tuple[int, int]


class LetterJudge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tier grades the candidates with letters from A to T; a grade is the mean over the letters' probabilities.

    Candidates with equal answers are graded once. If its replies have no grades, or it fails, the candidate with the
    highest mean log-probability is the answer.
    """

    tier: str = ""
    """The tier that grades, with its deployment and sampling; its policy is not used. Empty: the tier of the
    candidates, whose prompt is then in the cache already."""
    rubric: str = RUBRIC
    """The criteria of a good answer, as an instruction to the judge."""
    pivots: Annotated[int, msgspec.Meta(ge=0, le=8)] = 2
    """Candidates with which all others are compared, two in each pass, after a first round of as many passes as
    candidates. 0: no comparison, each candidate is graded by a pass of its own."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 32
    """Maximum completion tokens of a judge pass. A judge that thinks needs more."""

    def __post_init__(self) -> None:
        if not self.rubric.strip():
            raise ValueError("rubric: is empty; say what a good answer does")

    @property
    def deployment(self) -> str:
        return ""

    @property
    def is_absolute(self) -> bool:
        return not self.pivots

    def share(self, score: float) -> float:
        return score  # grades and shares of won comparisons are from 0 to 1

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"messages", "temperature", *_DROPPED})

    def most(self, candidates: int) -> int:
        if candidates < 2:
            return 0 if self.pivots else candidates
        if not self.pivots or candidates == 2:
            return candidates
        pivots = min(self.pivots, candidates - 1)
        others = pivots * (candidates - pivots) + math.comb(pivots, 2)
        return candidates + others - (pivots + 1)  # the first round has at least so many of these pairs

    async def scores(
        self, prompt: Prompt, ask: Ask, drafts: Sequence[Pass], wanted: Sequence[Pass]
    ) -> Mapping[int, float]:
        asked = _Judge(self, prompt, ask, drafts)
        if not self.pivots:
            numbers = {draft.number for draft in wanted}
            places = [place for place, draft in enumerate(drafts) if draft.number in numbers]
            graded = await asked.grades([(place,) for place in places])
            return {drafts[place].number: grade[place] for (place,), grade in graded.items() if place in grade}
        tally = Tournament(len(drafts))
        ring = tally.ring(f"{prompt.seed}/judge")
        tally.add(await asked.grades(ring))
        if rest := tally.rest(self.pivots):
            tally.add(await asked.grades(rest))
        return {drafts[place].number: share for place, share in tally.shares().items()}

    def request(self, prompt: Prompt) -> Prompt:
        """The request of a judge pass, but for its messages."""
        bare = prompt.bounded(self.max_tokens)
        bounds = {name: bare.fields[name] for name in BOUNDS if name in bare.fields}
        asked = bare.without(*_DROPPED).setting(temperature=0, **bounds)
        return asked.preferring(logprobs=True, top_logprobs=len(LETTERS))

    def task(self, places: Sequence[int]) -> str:
        """What the judge is told after the candidates. Only the end of it depends on the places, from 0."""
        numbers = [place + 1 for place in places]
        return f"{MATERIAL} Now judge them. What a good answer does: {self.rubric}\n\n{SCALE}\n\n{grades_of(numbers)}"


class _Judge:
    """The judge passes of one action."""

    def __init__(self, settings: LetterJudge, prompt: Prompt, ask: Ask, drafts: Sequence[Pass]) -> None:
        self._settings, self._ask, self._drafts = settings, ask, drafts
        self._prompt = settings.request(prompt)

    async def grades(self, groups: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], dict[int, float]]:
        """The grades of each group of candidates, by place; without those that got none."""
        after = tuple(draft.number for draft in self._drafts)
        calls = [
            Call(
                prompt=about(self._prompt, self._drafts, self._settings.task(group)),
                role="judge",
                candidate=False,
                after=after,
            )
            for group in groups
        ]
        found: dict[tuple[int, ...], dict[int, float]] = {}
        try:
            async with self._ask.panel(calls) as arrivals:
                async for done in arrivals:
                    group = groups[arrivals.position]
                    said = {} if done is None else letter_grades(done.completion, [place + 1 for place in group])
                    if len(said) < len(group):
                        self._say_none(done)
                    else:
                        found[group] = {place: said[place + 1] for place in group}
        except EngineError as error:
            self._ask.note(f"no verdict: the judge failed: {error}", signal="judge", after=after)
        return found

    def _say_none(self, done: Pass | None) -> None:
        if done is None:
            self._ask.note("no verdict: a judge pass failed, or the budget allowed none", signal="judge")
        elif not done.completion.text.strip():
            why = "only thinking" if done.completion.reasoning else "nothing"
            hint = "; raise max_tokens of the judge" if done.completion.finish == "length" else ""
            self._ask.note(f"no verdict: the judge said {why}{hint}", signal="judge", after=(done.number,))
        else:
            said = done.completion.text.strip()[:80]
            self._ask.note(f"no verdict: the judge gave no grade: {said!r}", signal="judge", after=(done.number,))


class Tournament:
    """The probabilistic pivot tournament (LLM-as-a-Verifier, 2026, arXiv 2607.05391) among candidates.

    A ring compares each with two others, once in either position, so that a preference for a position cancels. Then
    the leaders are compared with all. A comparison of grades a and b is won with probability 1 / (1 + exp(b − a)); the
    score of a candidate is its mean probability.

    Args:
        candidates: their number.
    """

    def __init__(self, candidates: int) -> None:
        self._count = candidates
        self._won: dict[int, list[float]] = {place: [] for place in range(candidates)}
        self._asked: set[frozenset[int]] = set()

    def ring(self, seed: str) -> list[Pair]:
        """The pairs of the first round."""
        if self._count < 2:
            return []
        order = random.Random(seed).sample(range(self._count), self._count)  # noqa: S311 - an order, not a secret
        pairs = list(pairwise([*order, order[0]]))
        self._asked |= {frozenset(pair) for pair in pairs}
        return pairs

    def add(self, graded: Mapping[tuple[int, ...], Mapping[int, float]]) -> None:
        """Count the comparisons of a round."""
        for (one, other), grades in graded.items():
            chance = 1 / (1 + math.exp(grades[other] - grades[one]))
            self._won[one].append(chance)
            self._won[other].append(1 - chance)

    def rest(self, pivots: int) -> list[Pair]:
        """The pairs of the second round: the leaders with all that they were not to meet yet."""
        shares = self.shares()
        leaders = sorted(shares, key=lambda place: (-shares[place], place))[:pivots]
        others = [place for place in range(self._count) if place not in leaders]
        pairs = [*product(others, leaders), *combinations(sorted(leaders), 2)]
        return [pair for pair in pairs if frozenset(pair) not in self._asked]

    def shares(self) -> dict[int, float]:
        """The mean probability of winning of each candidate that was compared."""
        return {place: math.fsum(won) / len(won) for place, won in self._won.items() if won}
