"""Racing: deployments answer the same tasks, batch by batch, and those that are shown to be dominated drop out.

A deployment is dominated if another one solves more, and is no dearer (and, where seconds count, no slower). "Solves
more" is decided by an e-value that may be looked at after every batch: a deployment that is not dominated is dropped
with probability at most delta over the whole race, by the union over the pairs that may drop one.

- Scores of 0 and 1 without a margin: sequential McNemar. Of the tasks that only one of two solves, the better one wins
  more than half. E is the likelihood ratio, mixed over a uniform share in (½, 1), to a fair coin (`sign_e_value`).
- Graded scores, or a margin: D is the difference of the scores. A bet on (1 + D)/2 against (1 + margin)/2 is the
  e-process of `drift.BrokenPromise`.

A second rule only saves inference. A dearer deployment is *futile* if it is unlikely that a paired test over all tasks
of the race would show it to solve more than a cheaper one that is still in (`futility.chance_of_showing`): on these
tasks it would not be told from the cheaper one. The cheaper one stands for it from then on: it is futile itself only if
those that it stands for are, too. No bound holds for this rule, and `benchmarks/racing.py` measures its
error.

With K deployments the evidence that drops one is (K - 1)/delta for a fixed incumbent, and K(K - 1)/delta where any
deployment may drop any other.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from itertools import permutations
from typing import Literal, Self

from scipy import special

from tierwise.stats.drift import BrokenPromise
from tierwise.stats.futility import chance_of_showing

Scores = Literal["binary", "graded"]
LEAST_TASKS = 10
"""Before none is futile: with fewer tasks, a prior would decide."""
LOOKS = 20
"""How often at most it is decided who is futile."""


@lru_cache(maxsize=1 << 14)
def sign_e_value(wins: int, losses: int) -> float:
    """The natural logarithm of 2^(m+1) B(a+1, c+1) P(Bin(m+1, ½) ≤ a): evidence that wins are more likely than losses.

    Args:
        wins: a, tasks that only the first solves.
        losses: c, tasks that only the second solves; m = a + c.
    """
    m = wins + losses
    below = float(special.bdtr(wins, m + 1, 0.5))
    if below <= 0:
        return -math.inf
    return (m + 1) * math.log(2) + float(special.betaln(wins + 1, losses + 1)) + math.log(below)


@dataclass(frozen=True, slots=True)
class Result:
    """What a deployment reached on a task."""

    score: float
    """From 0 to 1."""
    dollars: float
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A deployment that left the race."""

    name: str
    by: str
    """The deployment that dominates it."""
    tasks: int
    """Tasks that it was asked."""
    evidence: float
    """The e-value that the other one solves more."""
    wins: int
    """Tasks on which the other one scored higher."""
    losses: int
    """Tasks on which it scored higher itself."""
    chance: float | None = None
    """Where it was not shown to be dominated: the probability that all tasks of the race would show it to be better."""

    @property
    def is_futile(self) -> bool:
        """Whether it left because it is unlikely to be shown better, and not because another one is shown to be."""
        return self.chance is not None

    @property
    def why(self) -> str:
        if self.chance is not None:
            return (
                f"it is dearer than {self.by}, scored higher on {self.losses} tasks and lower on {self.wins}, and "
                f"would be shown to be better with a probability of {self.chance:.1%}"
            )
        return (
            f"{self.by} scored higher on {self.wins} tasks and lower on {self.losses}, and is not dearer "
            f"(evidence {self.evidence:,.0f})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """The evidence that the first of two deployments solves more than the second."""

    wins: int = 0
    losses: int = 0
    bet: BrokenPromise | None = None
    """For graded scores or a margin."""
    most: float = 0.0
    """The largest logarithm of the evidence so far: evidence that was there once is not lost."""
    slower: int = 0
    """Tasks on which the second took longer."""
    faster: int = 0
    most_slower: float = 0.0
    """The largest logarithm of the evidence that the second is slower on more than half of the tasks."""

    def after(self, results: tuple[Result, Result]) -> _Pair:
        """With one more task."""
        first, second = results
        difference = first.score - second.score
        wins, losses = self.wins + (difference > 0), self.losses + (difference < 0)
        bet = None if self.bet is None else self.bet.after((1 + difference) / 2)
        evidence = sign_e_value(wins, losses) if bet is None else bet.log_wealth
        slower = self.slower + (second.seconds > first.seconds)
        faster = self.faster + (second.seconds < first.seconds)
        return _Pair(
            wins=wins,
            losses=losses,
            bet=bet,
            most=max(self.most, evidence),
            slower=slower,
            faster=faster,
            most_slower=max(self.most_slower, sign_e_value(slower, faster)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Race:
    """A race after some batches; `started` begins one.

    Dollars are compared by their sums over the tasks that both were asked: a deployment that is cheaper so far is never
    dropped.
    """

    names: tuple[str, ...]
    """All that began, in the given order."""
    delta: float
    incumbent: str | None
    """The only deployment that may drop others, chosen before the race; None if any may."""
    scores: Scores
    margin: float
    seconds_count: bool
    """Whether a deployment is kept that may be the faster one on half of the tasks."""
    most_tasks: int = 0
    """Tasks of the whole race; 0 if not known, and then none is futile."""
    futility: float = 0.0
    """The chance of being shown better below which a dearer deployment is futile."""
    kept: frozenset[str] = frozenset()
    """Those that are never dropped."""
    tasks: int = 0
    racing: tuple[str, ...]
    """Those still in, in the given order."""
    dropped: tuple[Dropped, ...] = ()
    asked: Mapping[str, int] = field(default_factory=dict)
    """Tasks that each was asked."""
    dollars: Mapping[str, float] = field(default_factory=dict)
    """What each has cost. Those still in were asked the same tasks, so their sums are compared."""
    _pairs: Mapping[tuple[str, str], _Pair] = field(default_factory=dict, repr=False)

    @classmethod
    def started(
        cls,
        names: Sequence[str],
        *,
        delta: float = 0.05,
        incumbent: str | None = None,
        scores: Scores = "binary",
        margin: float = 0.0,
        seconds_count: bool = False,
        most_tasks: int = 0,
        futility: float = 0.0,
        kept: Collection[str] = (),
    ) -> Self:
        """A race that nobody has run yet.

        Args:
            names: the deployments.
            delta: the probability with which one that is not dominated may be dropped.
            incumbent: the only one that may drop others, chosen before the race; None if any may.
            scores: `binary` if every score will be 0 or 1.
            margin: how much more the other one must score on average. A margin below 0 also drops one that does not
                score more than that above another one that is not dearer.
            seconds_count: whether a deployment is only dropped if it is also slower on more than half of the tasks.
            most_tasks: of the whole race, for futility; 0 without.
            futility: the chance of being shown better below which a dearer deployment is dropped; 0 for never.
            kept: deployments that are never dropped, whatever is shown.

        Raises:
            ValueError: fewer than two names, a name twice, an incumbent that does not race, or numbers out of range.
        """
        if len(names) < 2 or len(set(names)) != len(names):
            raise ValueError(f"a race needs at least two different deployments, not {list(names)}")
        if incumbent is not None and incumbent not in names:
            raise ValueError(f"the incumbent {incumbent!r} does not race; names: {', '.join(names)}")
        if not (0 < delta < 1 and -1 < margin < 1):
            raise ValueError(f"delta is between 0 and 1 and margin between -1 and 1, not {delta:g} and {margin:g}")
        if not 0 <= futility < 1 or most_tasks < 0 or (futility and not most_tasks):
            raise ValueError(
                f"futility is from 0 to 1, and needs the tasks of the race; not {futility:g} of {most_tasks}"
            )
        if unknown := sorted(set(kept) - set(names)):
            raise ValueError(f"{', '.join(unknown)} cannot be kept: it does not race; names: {', '.join(names)}")
        bets = scores == "graded" or margin != 0
        limit = (1 + margin) / 2
        ordered = [(one, two) for one, two in permutations(names, 2) if incumbent in (None, one)]
        return cls(
            names=tuple(names),
            delta=delta,
            incumbent=incumbent,
            scores=scores,
            margin=margin,
            seconds_count=seconds_count,
            most_tasks=most_tasks,
            futility=futility,
            kept=frozenset(kept),
            racing=tuple(names),
            asked=dict.fromkeys(names, 0),
            dollars=dict.fromkeys(names, 0.0),
            _pairs={pair: _Pair(bet=BrokenPromise(limit=limit, delta=delta) if bets else None) for pair in ordered},
        )

    @property
    def threshold(self) -> float:
        """The e-value that drops a deployment: the number of ordered pairs that may do so, over delta."""
        return len(self._pairs) / self.delta

    @property
    def is_settled(self) -> bool:
        """Whether more tasks could not change who is on the frontier: one is left, or of each two that are left the
        dearer is shown to solve more, is almost sure to be, or is kept anyway. Nobody leaves by this. Only where any
        deployment may drop any other, and without a margin.
        """
        if len(self.racing) == 1:
            return True
        if self.incumbent is not None or self.margin:
            return False
        enough = math.log(self.threshold)
        cost = self.dollars
        return all(
            cost[cheap] > cost[dear]
            or (cost[cheap] < cost[dear] and (self._pairs[dear, cheap].most >= enough or self.is_sure(dear, cheap)))
            for cheap, dear in permutations(self.racing, 2)
        )

    def is_sure(self, dearer: str, cheaper: str) -> bool:
        """Whether a dearer one stays beside this cheaper one, with all but the chance that makes others futile."""
        if dearer in self.kept:
            return True
        chance = self.chance(dearer, cheaper)
        return chance is not None and self.tasks >= LEAST_TASKS and chance >= 1 - self.futility

    def after(self, batch: Mapping[str, Sequence[Result]]) -> Race:
        """The race after one more batch of tasks, which those still in have all been asked.

        Args:
            batch: the results by deployment, in the same order of tasks for all. Others are ignored.

        Raises:
            ValueError: a deployment that is still in is missing, lengths differ, or a score is out of range.
        """
        if missing := [name for name in self.racing if name not in batch]:
            raise ValueError(f"no results of {', '.join(missing)}; all that are still in answer the same tasks")
        lengths = {len(batch[name]) for name in self.racing}
        if len(lengths) != 1:
            raise ValueError(f"deployments were asked different numbers of tasks: {sorted(lengths)}")
        for name in self.racing:
            self._check(name, batch[name])
        tasks = lengths.pop()
        pairs = dict(self._pairs)
        for (first, second), pair in self._pairs.items():
            if first in self.racing and second in self.racing:
                pairs[first, second] = reduce(_Pair.after, zip(batch[first], batch[second], strict=True), pair)
        dollars = {name: self.dollars[name] + math.fsum(one.dollars for one in batch[name]) for name in self.racing}
        asked = {name: self.asked[name] + tasks * (name in self.racing) for name in self.names}
        whole = {**self.dollars, **dollars}
        race = replace(self, tasks=self.tasks + tasks, asked=asked, dollars=whole, _pairs=pairs)
        race = _without_dominated(race)
        return _without_futile(race) if _is_a_look(race, self.tasks) else race

    def _check(self, name: str, results: Sequence[Result]) -> None:
        for one in results:
            if not 0 <= one.score <= 1 or (self.scores == "binary" and one.score not in (0, 1)):
                allowed = "0 or 1; use scores='graded'" if self.scores == "binary" else "a number from 0 to 1"
                raise ValueError(f"{name} has the score {one.score:g}; a score is {allowed}")

    def dominates(self, winner: str, loser: str) -> bool:
        """Whether the first is shown to dominate the second."""
        pair = self._pairs.get((winner, loser))
        if pair is None or pair.most < math.log(self.threshold):
            return False
        if self.seconds_count and pair.most_slower < math.log(self.threshold):
            return False
        return self.dollars[loser] >= self.dollars[winner]

    def chance(self, dearer: str, cheaper: str) -> float | None:
        """The probability that all tasks of the race would show the first to score higher than the second, or, where
        seconds count, to be faster; None if it is not dearer, or nothing says how many tasks there are.
        """
        if not self.futility or self.dollars[dearer] <= self.dollars[cheaper]:
            return None
        return self.showing(dearer, cheaper)

    def showing(self, first: str, second: str) -> float | None:
        """That probability whatever they cost, also of one that left; None if the second cannot drop the first."""
        pair = self._pairs.get((second, first))
        if pair is None:
            return None
        both = min(self.asked[first], self.asked[second])
        left = max(0, self.most_tasks - both)
        found = chance_of_showing(pair.losses, pair.wins, both - pair.wins - pair.losses, left)
        if self.seconds_count:
            same = both - pair.faster - pair.slower
            found = max(found, chance_of_showing(pair.faster, pair.slower, same, left))
        return found

    def defeat(self, loser: str, winner: str) -> Dropped:
        """What is known about a deployment that another one dominates."""
        pair = self._pairs[winner, loser]
        return Dropped(
            name=loser,
            by=winner,
            tasks=self.asked[loser],
            evidence=math.exp(min(pair.most, 700.0)),
            wins=pair.wins,
            losses=pair.losses,
        )


def _without_dominated(race: Race) -> Race:
    """Drop one after the other, those that most others dominate first: of two that are equal, one stays."""
    racing = list(race.racing)
    leaving: list[Dropped] = []
    while True:
        by = {
            loser: [one for one in racing if one != loser and loser not in race.kept and race.dominates(one, loser)]
            for loser in racing
        }
        loser = max(reversed(racing), key=lambda name: len(by[name]))
        if not by[loser]:
            return replace(race, racing=tuple(racing), dropped=(*race.dropped, *leaving))
        racing.remove(loser)
        leaving.append(race.defeat(loser, by[loser][0]))


def _is_a_look(race: Race, before: int) -> bool:
    """Whether futility is decided now: each of many looks may err, and drops in the first tasks save little more than
    those of the next.

    Args:
        race: after a batch.
        before: tasks before it.
    """
    if not race.futility or race.tasks < LEAST_TASKS:
        return False
    most = race.most_tasks
    return before < LEAST_TASKS or before * LOOKS // most < race.tasks * LOOKS // most


def _chance(race: Race, dropped: Sequence[Dropped], loser: str, winner: str) -> float | None:
    """The largest chance to be shown better than the winner, of the loser and of those that are out because of it: in a
    chain of which each is hardly better than the one before, the last may be much better than the first.
    """
    chance = race.chance(loser, winner)
    waiting = [loser]
    while chance is not None and waiting:
        by = waiting.pop()
        for one in dropped:
            if one.is_futile and one.by == by:
                waiting.append(one.name)
                chance = max(chance, race.showing(one.name, winner) or 0.0)
    return chance


def _without_futile(race: Race) -> Race:
    """Drop those that are unlikely to be shown better than a cheaper one, the least likely first."""
    racing = list(race.racing)
    leaving: list[Dropped] = []
    while True:
        out = (*race.dropped, *leaving)
        found = [
            (chance, loser, winner)
            for winner, loser in permutations(racing, 2)
            if loser not in race.kept
            and (chance := _chance(race, out, loser, winner)) is not None
            and chance < race.futility
        ]
        if not found:
            return replace(race, racing=tuple(racing), dropped=(*race.dropped, *leaving))
        chance, loser, winner = min(found)
        racing.remove(loser)
        leaving.append(replace(race.defeat(loser, winner), chance=chance))
