"""The tiers of a run compared with one of them, with each tier's deployment: how a lever changes quality, speed, memory
and dollars. Separate from the comparison of two rows, which knows tasks but no processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.analysis.arms import arms, choose
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.runs.directory import RunDirectory
from tierwise.stats import estimates
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.analysis.arms import Arm
    from tierwise.analysis.compare import Comparison
    from tierwise.analysis.pairs import Pairs
    from tierwise.runs.records import TrialRecord
    from tierwise.spec.deployed import Deployed


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainstBase:
    """What changed relative to the base tier."""

    tasks: Comparison
    speed: Estimate | None
    """The ratio of tokens per second, as a geometric mean over tasks; None where too few were counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverEffect:
    """One tier of the run."""

    tier: str
    deployment: Deployed | None
    """What it ran on; None where the run did not record it."""
    solved: float
    """Share of the graded actions."""
    tokens_per_second: float | None
    """Tokens of answers over the seconds of their passes, prompts included; None where they are unknown."""
    against: AgainstBase | None
    """None for the base tier."""


def lever_effects(run: Path, base: str = "") -> list[LeverEffect]:
    """Each tier of a run in its first mode, compared with the tier `base`, or with the first one.

    Raises:
        SpecError: the run cannot be read, has no such tier, or has too few tasks in common.
    """
    rows = list({arm.variant.tier: arm for arm in reversed(arms(run))}.values())[::-1]
    first = choose(rows, base)[0]
    recorded = RunDirectory(run).read_manifest().deployments or []
    deployments = {tier: one for one in recorded for tier in one.tiers}
    ordered = [first, *(row for row in rows if row is not first)]
    return [_lever_effect(row, first, deployments.get(row.variant.tier)) for row in ordered]


def _lever_effect(row: Arm, base: Arm, deployment: Deployed | None) -> LeverEffect:
    graded = [record for record in row.records.values() if record.is_graded]
    timed = [(record, seconds) for record in graded if (seconds := _seconds(record))]
    tokens = sum(record.completion_tokens or 0 for record, _ in timed)
    pairs = None if row is base else pair(base, row)
    return LeverEffect(
        tier=row.variant.tier,
        deployment=deployment,
        solved=sum(record.is_solved for record in graded) / len(graded) if graded else math.nan,
        tokens_per_second=tokens / sum(seconds for _, seconds in timed) if timed else None,
        against=None if pairs is None else AgainstBase(tasks=compare(pairs), speed=_faster(pairs)),
    )


def _seconds(record: TrialRecord) -> float:
    return sum(one.seconds for one in record.passes or ())


def _faster(pairs: Pairs) -> Estimate | None:
    logs = []
    for unit in pairs.graded:
        base, other = (_speed(record) for record in pairs.both(unit))
        if base and other:
            logs.append(math.log(other / base))
    found = estimates.mean(logs)
    if found is None:
        return None
    interval = found.interval
    if interval is not None:
        high = None if interval.high is None else math.exp(interval.high)
        interval = Interval(math.exp(interval.low), high)
    return Estimate(value=math.exp(found.value), interval=interval, n=found.n)


def _speed(record: TrialRecord) -> float:
    seconds = _seconds(record)
    return (record.completion_tokens or 0) / seconds if seconds else 0.0
