"""The votes of one prompt: who leads, whether that can change, and which of them a stopping rule may look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tierwise.policies.copies import Chances, is_long, without_copies
from tierwise.policies.draw_order import Ended
from tierwise.spec.ask import Answer, OutOfBudget
from tierwise.spec.call import Pass
from tierwise.stopping import StoppingRule, VotesSoFar
from tierwise.stopping.confidence import HIGHEST, Calibration, log_odds, possible_answers, weight
from tierwise.stopping.curtailment import is_settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """One draw that brought a pass, as it was added."""

    place: int
    vote: Pass
    key: str | None
    confidence: float


class Ballots:
    """Collects votes in any order.

    Args:
        draws: number of draws of the whole vote.
        rule: when it ends early. A rule that needs confidences also weighs the votes by them.
        calibration: of the confidences; None if every vote counts alike.
        has_drafts: whether some of the draws are drafts of other tiers. That those are copies says nothing about the
            others.

    Attributes:
        ended: the draws that have ended.
        has_only_copies: whether the vote ended because its draws are copies of one, so that further draws would be too.
        copied: why votes are copies of others, once an answer was elected; empty if none is.
    """

    def __init__(
        self, draws: int, rule: StoppingRule, calibration: Calibration | None = None, *, has_drafts: bool = False
    ) -> None:
        self._draws = draws
        self._rule = rule
        self._calibration = calibration
        self._cast: dict[int, Ballot] = {}
        self._counted: dict[str, tuple[int, int]] = {}
        """For each answer, its votes and the first draw of them."""
        self.ended = Ended()
        self._looked_at = 0
        self._has_drafts = has_drafts
        self._chances: Chances = {}
        self._known: dict[int, tuple[list[Ballot], str]] = {}
        """What `_independent` found for first draws that have all ended."""
        self.has_only_copies = False
        self.copied = ""

    def add(self, place: int, vote: Pass | None, key: str | None = None, confidence: float = 1.0) -> None:
        """Add a draw that has ended.

        Args:
            place: in draw order, from 0.
            vote: None if it brought no pass.
            key: its answer in canonical form; None without one.
            confidence: the probability that it is right; used only with a calibration.
        """
        self.ended.add(place)
        if vote is None:
            return
        self._cast[place] = Ballot(place=place, vote=vote, key=key, confidence=confidence)
        if key is not None:
            votes, first = self._counted.get(key, (0, place))
            self._counted[key] = votes + 1, min(first, place)

    @property
    def has_answer(self) -> bool:
        """Whether some vote contains an answer."""
        return bool(self._counted)

    @property
    def left(self) -> int:
        """Draws that have not ended."""
        return self._draws - len(self.ended)

    def first(self, draws: int) -> VotesSoFar:
        """The votes of the first draws, as a stopping rule sees them: copies of one draw are one vote."""
        cast = [(one, one.key) for one in self._independent(draws)[0] if one.key is not None]
        sure = tuple(one.confidence for one, _ in cast) if self._calibration is not None else ()
        return VotesSoFar(tuple(key for _, key in cast), self._draws - draws, sure)

    @property
    def is_settled(self) -> bool:
        """Whether the draws that are left cannot change the answer. They may come in any order."""
        if not self._counted:
            return False  # the panel ends by itself, with the error of the last draw
        left, first_open = self.left, self.ended.first
        if self._calibration is None:
            return is_settled(list(self._counted.values()), left=left, first_open=first_open)
        ballots, seen = self._with_answer(self._draws), len(self._counted)
        for possible in sorted({possible_answers(seen), possible_answers(seen + left)}):
            tallied = [(total, first.place) for total, first in self._tallied(ballots, possible).values()]
            if not is_settled(tallied, left=left, first_open=first_open, heaviest=self._heaviest(possible)):
                return False
        return True

    def stopping_point(self) -> int | None:
        """The smallest number of first draws at which the rule stops; None if it does not yet.

        The rule is asked after every draw of the draw order, so its decision does not depend on which draws were quick.
        """
        while self._looked_at < self.ended.first:
            self._looked_at += 1
            if self._rule.stops(self.first(self._looked_at)):
                return self._looked_at
            independent, why = self._independent(self._looked_at)
            if why and len(independent) == 1 and is_long(independent[0].vote) and not self._has_drafts:
                self.has_only_copies = True
                return self._looked_at
        return None

    def elect(self, draws: int | None = None) -> Answer:
        """The answer of the first draws, or of all that ended.

        Raises:
            OutOfBudget: no pass ended.
        """
        within = self._draws if draws is None else draws
        cast = [self._cast[place] for place in sorted(self._cast) if place < within]
        ballots = self._with_answer(within)
        if not cast:
            raise OutOfBudget
        if not ballots:
            chosen = min(cast, key=lambda one: (one.vote.outcome != "finished", one.place)).vote
            why = f"none of {len(cast)} votes contained an answer"
            return Answer(completion=chosen.completion, chosen=chosen.number, why=why, agreement=0.0)
        tallied = self._tallied(ballots, possible_answers(len({one.key for one in ballots})))
        _, first = max(tallied.values(), key=lambda one: (one[0], -one[1].place))
        equal = sum(one.key == first.key for one in ballots)
        why = f"{equal} of {len(cast)} votes"
        agreement: float | None = equal / len(cast)
        independent, copied = self._independent(within)
        self.copied = copied
        if copied and len(independent) == 1:
            why, agreement = f"{why}, all copies of one draw: {copied}", None
        elif copied:
            votes = len(cast) - len(ballots) + len(independent)
            why = f"{why}, {votes} of them independent: {copied}"
            agreement = sum(one.key == first.key for one in independent) / votes
        return Answer(completion=first.vote.completion, chosen=first.vote.number, why=why, agreement=agreement)

    def _independent(self, draws: int) -> tuple[list[Ballot], str]:
        """The ballots with an answer of the first draws that are no copies, and why the others are."""
        if (known := self._known.get(draws)) is None:
            known = self._without_copies(self._with_answer(draws))
            if draws <= self.ended.first:
                self._known[draws] = known
        return known

    def _without_copies(self, ballots: list[Ballot]) -> tuple[list[Ballot], str]:
        if len({one.vote.completion.text for one in ballots}) == len(ballots):
            return ballots, ""
        kept, why = without_copies((one.vote for one in ballots), self._chances)
        numbers = {vote.number for vote in kept}
        return [one for one in ballots if one.vote.number in numbers], why

    def _with_answer(self, draws: int) -> list[Ballot]:
        ballots = (self._cast[place] for place in sorted(self._cast) if place < draws)
        return [one for one in ballots if one.key is not None]

    def _tallied(self, ballots: Sequence[Ballot], possible: int) -> dict[str, tuple[float, Ballot]]:
        """For each answer, the weight of its votes and the first of them."""
        found: dict[str, tuple[float, Ballot]] = {}
        for one in ballots:
            assert one.key is not None  # noqa: S101 - only ballots with an answer are tallied
            total, first = found.get(one.key, (0.0, one))
            found[one.key] = total + self._weight(one.confidence, possible), first
        return found

    def _weight(self, confidence: float, possible: int) -> float:
        if self._calibration is None:
            return 1.0
        if self._rule.needs_confidence:
            return log_odds(confidence, possible)
        return weight(confidence, self._calibration.temperature)

    def _heaviest(self, possible: int) -> float:
        """The largest difference that one vote can make."""
        return self._weight(HIGHEST if self._rule.needs_confidence else 1.0, possible)
