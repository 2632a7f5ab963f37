"""The verdict of a published score and its reproduction: how far the difference may reach, and what follows.

Where both are about the very same tasks, only the noise of asking them is between the two (`stats/reproduction.py`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

from tierwise.stats import reproduction
from tierwise.stats.estimates import Estimate, wilson
from tierwise.stats.reproduction import Score

if TYPE_CHECKING:
    from tierwise.analysis.rows import ResultRow
    from tierwise.runs.claims import ClaimedTier
    from tierwise.spec.claims import Claim

Agreement = Literal["within", "below", "above", "not comparable"]

_ALIKE = 1e-9


class Tasks(NamedTuple):
    """What a claim and a run are measured on: parts of one name."""

    run: int
    """Tasks of the run."""
    claimed: int | None
    """Tasks of the claim; None if that is not known, and the part is the same."""
    is_sample: bool
    """Whether the run's are a random sample of the claim's."""

    @property
    def are_same(self) -> bool:
        return not self.is_sample and self.claimed in (None, self.run)


class Comparison(NamedTuple):
    """A difference, and what would make it more precise."""

    difference: Estimate
    """Reproduced minus claimed."""
    remedy: str


def compare(claim: Claim, tier: ClaimedTier, row: ResultRow, tasks: Tasks) -> Comparison | None:
    """The difference between a claim and a row in its mode; None if nothing was graded.

    On the very same tasks it is about these tasks. A random sample of the claim's has the error of choosing it, and
    where the numbers of tasks differ, both count as samples.
    """
    if row.quality is None:
        return None
    own, published = _reproduced(row, tier, tasks), _published(claim, tasks)
    found = reproduction.difference(own, published, tasks=row.quality.n)
    if not tasks.are_same:
        found = Estimate(value=found.value, interval=found.interval, n=found.n, population=row.quality.population)
    # What is left of the interval however often the tasks are asked here.
    alone = max(published.below, published.above) + abs(found.value)
    if not tasks.are_same:
        remedy = "run all of the claim's tasks"
    elif alone * 100 > claim.margin:
        remedy = "the claim alone leaves so much open: state its `samples`, or a wider `margin`"
    else:
        remedy = "ask more often, with --repeats"
    return Comparison(found, remedy)


def verdict_of(found: Comparison, margin: float) -> tuple[Agreement, str]:
    """The verdict of a difference, and why.

    Args:
        found: the difference, and what would make it more precise.
        margin: in points.
    """
    interval = found.difference.interval
    low = -math.inf if interval is None else interval.low
    high = math.inf if interval is None or interval.high is None else interval.high
    within = f"{margin:g} points"
    if max(-low, high) * 100 <= margin + _ALIKE:
        return "within", f"the interval of the difference is within {within}"
    if low > 0:
        return "above", f"the interval of the difference is above 0, and not within {within}"
    if high < 0:
        return "below", f"the interval of the difference is below 0, and not within {within}"
    return "not comparable", f"n is too small to tell a difference of {within} from none; {found.remedy}"


def is_exact(row: ResultRow, tier: ClaimedTier) -> bool:
    """Whether asking a row's tasks again gives the same score: greedy, without thinking, and with no task in doubt.

    A chain of thought diverges with the last bit of a kernel, by up to 9 points (arXiv 2506.09501).
    """
    passes = row.mode != "max" or row.most_passes == 1
    agree = row.any_of is None or row.all_of is None or row.any_of.value == row.all_of.value
    return tier.greedy and tier.thinks is not True and passes and agree


def _reproduced(row: ResultRow, tier: ClaimedTier, tasks: Tasks) -> Score:
    assert row.quality is not None  # noqa: S101 - the caller has checked it
    counts, quality = row.counts, row.quality
    is_plain = abs(quality.value * counts.graded - counts.correct) < _ALIKE * counts.graded  # not weighted
    if tasks.are_same and is_plain:
        if is_exact(row, tier):
            score = reproduction.exact(quality.value)
        elif row.quality_again is not None and row.quality_again.interval is not None:
            score = reproduction.between(quality.value, row.quality_again.interval)
        else:
            score = reproduction.asked(quality.value, counts.graded)
        return reproduction.with_missing(score, counts.errors / counts.measured)
    if quality.interval is None:
        return Score(quality.value, quality.value, 1 - quality.value)
    return reproduction.between(quality.value, quality.interval)


def _published(claim: Claim, tasks: Tasks) -> Score:
    share, count = claim.score / 100, tasks.claimed or tasks.run
    if not tasks.are_same and not tasks.is_sample:
        solved = round(share * count)
        drawn = reproduction.between(solved / count, wilson(solved, count))
        return Score(share, drawn.below, drawn.above)
    if claim.samples == "greedy" and claim.mode == "average":
        return reproduction.exact(share)
    samples = claim.samples if isinstance(claim.samples, int) else 1
    return reproduction.asked(share, count * samples)
