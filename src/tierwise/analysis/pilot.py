"""What a small run shows about a larger one: how often two variants disagree, and what an action costs."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from tierwise.analysis.arms import arms
from tierwise.stats import estimates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tierwise.analysis.arms import Arm
    from tierwise.runs.records import TrialRecord
    from tierwise.stats.estimates import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """Two variants of a run, on the actions that were graded in both."""

    first: str
    second: str
    tasks: int
    discordance: Estimate
    """The share of actions that exactly one of the two solved."""
    steady: float | None
    """The share of the disagreement that returned with every repeat; None where each task was asked once."""
    dollars: float | None
    """Of one action of each, together; None where some are unknown."""
    seconds: float | None
    """As the dollars."""


def read(path: Path) -> list[Pilot]:
    """Every pair of variants of a run with actions in common. Errors as for `arms.arms`."""
    pilots = [_pilot(one, other) for one, other in combinations(arms(path), 2)]
    return [pilot for pilot in pilots if pilot is not None]


def _pilot(one: Arm, other: Arm) -> Pilot | None:
    of: defaultdict[str, list[float]] = defaultdict(list)
    graded: list[tuple[TrialRecord, TrialRecord]] = []
    for unit, record in one.records.items():
        match = other.records.get(unit)
        if match is not None and record.is_graded and match.is_graded:
            graded.append((record, match))
            of[unit.task].append(float(record.is_solved) - float(match.is_solved))
    discordance = estimates.rate(sum(a.is_solved != b.is_solved for a, b in graded), len(graded))
    if discordance is None:
        return None
    dollars = [cost for pair in graded for record in pair if (cost := record.dollars) is not None]
    seconds = [took for pair in graded for record in pair if (took := record.seconds) is not None]
    return Pilot(
        first=one.variant.name,
        second=other.variant.name,
        tasks=len(of),
        discordance=discordance,
        steady=steadiness(list(of.values())),
        dollars=math.fsum(dollars) / len(graded) if len(dollars) == 2 * len(graded) else None,
        seconds=math.fsum(seconds) / len(graded) if len(seconds) == 2 * len(graded) else None,
    )


def steadiness(differences: Sequence[Sequence[float]]) -> float | None:
    """The intraclass correlation of repeats (analysis of variance, Fisher 1925), between 0 and 1.

    Args:
        differences: the repeats of each task; tasks that were asked less often than the others are left out.
    """
    longest = max(map(len, differences), default=0)
    whole = [one for one in differences if len(one) == longest]
    if longest < 2 or len(whole) < 2:
        return None
    means = [math.fsum(one) / longest for one in whole]
    grand = math.fsum(means) / len(means)
    between = longest * math.fsum((mean - grand) ** 2 for mean in means) / (len(means) - 1)
    within = math.fsum((value - mean) ** 2 for one, mean in zip(whole, means, strict=True) for value in one)
    within /= len(whole) * (longest - 1)
    if between + within == 0:
        return None
    return min(1.0, max(0.0, (between - within) / (between + (longest - 1) * within)))
