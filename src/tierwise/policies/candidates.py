"""The candidates of one prompt, with what a verifier and a scorer said of them, and which is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tierwise.policies.drafts import is_usable, quoted
from tierwise.policies.draw_order import Ended
from tierwise.spec.ask import Ask, Verdict
from tierwise.spec.call import Pass


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One draw, and what is known of it."""

    place: int
    """In draw order, from 0."""
    draw: Pass
    verdict: Verdict | None
    """Of the verifier; None without one."""
    is_decisive: bool
    """Whether a verifier's acceptance means that it is right."""
    score: float | None = None
    """Of the scorer, the highest for the best; None if it gave none."""
    was_scored: bool = False
    """Whether the score is of this candidate, and not of one with an equal answer."""
    equal: int = 1
    """Candidates with an equal answer, this one included."""

    @property
    def is_accepted_for_good(self) -> bool:
        """Whether no other candidate can be better. One that was cut is not as good as a whole one."""
        if self.verdict is None or self.draw.outcome != "finished":
            return False
        return self.is_decisive and self.verdict.ok and self.verdict.judged

    @property
    def standing(self) -> tuple[bool, bool, bool, float]:
        """What the verifier and the engine say; a scorer decides among candidates that are equal here."""
        verdict = self.verdict
        return (
            verdict is not None and verdict.ok,
            is_usable(self.draw),
            self.draw.outcome == "finished",
            0.0 if verdict is None else verdict.score,
        )

    @property
    def _likelihood(self) -> tuple[float, int]:
        likelihood = self.draw.completion.mean_logprob
        return float("-inf") if likelihood is None else likelihood, -self.draw.call.draw

    @property
    def merit(self) -> tuple[tuple[bool, bool, bool, float], float, int, bool, tuple[float, int]]:
        """The candidate with the highest is the best. One without a score ranks below those that have one."""
        score = float("-inf") if self.score is None else self.score
        return self.standing, score, self.equal, self.was_scored, self._likelihood


class Candidates:
    """Collects the candidates of one prompt, in any order.

    Args:
        ask: of the tier that draws them; its verifier judges them.

    Attributes:
        all: those that brought a pass.
        ended: the draws that have ended, with those that brought none.
    """

    def __init__(self, ask: Ask) -> None:
        self.all: list[Candidate] = []
        self._ask = ask
        self._keys: dict[int, str] = {}
        self.ended = Ended()
        self._scorer = ""
        self._different = 0

    async def add(self, place: int, draw: Pass | None) -> bool:
        """Add a draw by its place in draw order, and have it verified; None if it brought no pass.

        Returns:
            Whether no other candidate can be better.
        """
        self.ended.add(place)
        if draw is None:
            return False
        verifier = self._ask.verifier
        verdict = None if verifier is None else await self._ask.verify(draw)
        is_decisive = verifier is not None and verifier.decisive
        made = Candidate(place=place, draw=draw, verdict=verdict, is_decisive=is_decisive)
        self.all.append(made)
        return made.is_accepted_for_good

    @property
    def first(self) -> list[Candidate]:
        """The candidates that a stopping rule may look at and that could be the answer, in draw order."""
        found = [one for one in self.all if one.place < self.ended.first and is_usable(one.draw)]
        return sorted((one for one in found if one.verdict is None or one.verdict.ok), key=lambda one: one.place)

    def keep_first(self) -> None:
        """Forget the candidates of later draws, which are there because they were quick."""
        self.all = [one for one in self.all if one.place < self.ended.first]

    @property
    def best(self) -> Candidate:
        return max(self.all, key=lambda one: one.merit)

    @property
    def is_decided(self) -> bool:
        """Whether the verifier picked one for good."""
        return any(one.is_accepted_for_good for one in self.all)

    @property
    def leading(self) -> list[Candidate]:
        """The usable candidates that the verifier does not tell apart, in draw order."""
        first = self.best.standing
        found = [one for one in self.all if one.standing == first and is_usable(one.draw)]
        return sorted(found, key=lambda one: one.place)

    async def grouped(self, candidates: Sequence[Candidate]) -> list[list[Candidate]]:
        """Candidates with equal answers together, each group and the groups in their order."""
        found: dict[str, list[Candidate]] = {}
        for one in candidates:
            found.setdefault(await self.key(one.draw), []).append(one)
        return list(found.values())

    async def key(self, draw: Pass) -> str:
        """Its answer in canonical form; its text if it has none."""
        if (known := self._keys.get(draw.number)) is None:
            found = await self._ask.key(draw)
            known = self._keys[draw.number] = f"text {quoted(draw)}" if found is None else f"key {found}"
        return known

    def scored(self, scorer: str, different: int) -> None:
        """A scorer has scored so many different answers, or tried to."""
        self._scorer, self._different = scorer, different

    @property
    def _why_unscored(self) -> str:
        if not self._scorer:
            return "no verifier"
        if self._different < 2:
            return "the whole ones agree" if self._different else "none is whole"
        return f"no verdict of the {self._scorer}"

    @property
    def reason(self) -> str:
        """Why the best one is, for the ledger."""
        best, count = self.best, len(self.all)
        if self._scorer and best.score is not None:
            verified = ", accepted," if best.verdict is not None and best.verdict.ok and best.verdict.judged else ""
            return f"best of {self._different} different answers{verified} by the {self._scorer}: {best.score:.2f}"
        verdict = best.verdict
        if verdict is None:
            return f"most likely of {count}: {self._why_unscored}"
        if not verdict.judged:
            return f"calls a tool, of {count} drawn"
        return f"accepted, of {count} drawn" if verdict.ok else f"none of {count} accepted: {verdict.why}"
