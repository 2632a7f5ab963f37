"""Published scores beside reproduced ones: what was claimed, what was measured here, and whether the two agree.

A verdict is given only where both were measured on the same part of a suite, in the same mode and by the same harness.
It then follows from the interval of the difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tierwise.runs.records import MAX_ERROR_SHARE, TierVariant
from tierwise.spec.claims import UNKNOWN, WHOLE
from tierwise.stats.estimates import Estimate, Interval, wilson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tierwise.analysis.rows import ResultRow
    from tierwise.runs.claims import ClaimedTier, RunClaim
    from tierwise.runs.directory import Manifest
    from tierwise.spec.claims import Claim
    from tierwise.workloads.suites import SuitePart, SuiteRow

MATTERS = 0.10
"""The difference that has to be told from none: where the interval reaches further, n is too small for "within"."""

HARNESS = "tierwise"
"""Who measures a run of `tierwise bench` without a runner."""

_COUNTED = {"livecodebench": "v6", "terminal-bench-2": "2.0"}
"""The release whose tasks a suite's row counts, where there are several."""

Agreement = Literal["within", "below", "above", "not comparable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCheck:
    """A claim beside one row of the run."""

    suite: str
    """The suite with its release and part, as the claim names them."""
    row: str
    """The row of the run, `max · average`; the tiers, if none of their rows is in the claim's mode."""
    claimed: float
    """Share of the tasks."""
    how: str
    """The claim's mode and effort of thinking."""
    harness: str
    date: str
    source: str
    stands_in: str
    doubts: list[str]
    reproduced: Estimate | None
    """The row's share solved; None if the run has no row in the claim's mode."""
    difference: Estimate | None
    """Reproduced minus claimed, with the claim's own sampling error where its number of tasks is known."""
    verdict: Agreement
    why: str


def check_claims(manifest: Manifest, rows: Sequence[ResultRow]) -> Iterator[ClaimCheck]:
    """Compare every claim of a run with the rows in its mode. A claim in whose mode there is none says so."""
    part, harness = manifest.suite, _harness(manifest)
    for stored in manifest.claims:
        claim = stored.claim
        tiers = {one.tier: one for one in stored.tiers}
        about = [(tiers[row.tier], row) for row in rows if row.tier in tiers]
        fitting = [(tier, row) for tier, row in about if not _other_mode(claim, tier, row)]
        for tier, row in fitting:
            name = TierVariant(tier=row.tier, mode=row.mode).name
            doubt = "it is not known whether the tier thinks" if tier.thinks is None else ""
            yield _check(stored, name, row.quality, _incomparable(claim, part, row, harness), doubt)
        if about and not fitting:
            yield _check(stored, ", ".join(dict.fromkeys(row.tier for _, row in about)), None, _modes(claim, about))


def _check(stored: RunClaim, row: str, found: Estimate | None, reason: str, doubt: str = "") -> ClaimCheck:
    claim = stored.claim
    moved = None if found is None or reason else difference(found, claim.score / 100, _tasks(claim))
    verdict: Agreement = "not comparable"
    if moved is not None:
        verdict, reason = judge(moved)
    return ClaimCheck(
        suite=claim.what,
        row=row,
        claimed=claim.score / 100,
        how=claim.how,
        harness=claim.harness,
        date=claim.date,
        source=claim.source,
        stands_in=stored.stands_in,
        doubts=[*_doubts(claim), *([doubt] if doubt else [])],
        reproduced=found,
        difference=moved,
        verdict=verdict,
        why=reason,
    )


def judge(moved: Estimate) -> tuple[Agreement, str]:
    """The verdict of a difference, reproduced minus claimed, and why."""
    low, high = (-math.inf, math.inf) if moved.interval is None else (moved.interval.low, moved.interval.high)
    high = math.inf if high is None else high
    if low > 0:
        return "above", "the interval of the difference is above 0"
    if high < 0:
        return "below", "the interval of the difference is below 0"
    if max(-low, high) <= MATTERS:
        return "within", f"the interval of the difference includes 0, and nothing beyond {MATTERS:.0%}"
    return "not comparable", f"n is too small: a difference of {MATTERS:.0%} could not be told from none"


def difference(found: Estimate, claimed: float, tasks: int | None) -> Estimate:
    """Reproduced minus claimed, with Newcombe's interval for independent shares (1998, method 10).

    Args:
        found: the reproduced share.
        claimed: the claimed share.
        tasks: the number of tasks of the claim; None if it is not known, and the claim counts as exact.
    """
    value = found.value - claimed
    if found.interval is None or found.interval.high is None:
        return Estimate(value=value, interval=None, n=found.n, population=found.population)
    below, above = found.value - found.interval.low, found.interval.high - found.value
    lower = upper = 0.0
    if tasks is not None:
        own = wilson(round(claimed * tasks), tasks)
        share = round(claimed * tasks) / tasks
        lower, upper = share - own.low, (own.high or 1.0) - share
    interval = Interval(value - math.hypot(below, upper), value + math.hypot(above, lower))
    return Estimate(value=value, interval=interval, n=found.n, population=found.population)


def _other_mode(claim: Claim, tier: ClaimedTier, row: ResultRow) -> str:
    """Why a row is not in the claim's mode; empty if it is."""
    if claim.mode == UNKNOWN:
        return "the claim states no mode"
    is_max = row.mode == "max"
    if is_max != (claim.mode == "max"):
        return f"claimed for {claim.how}, run in {'max' if is_max else 'average'} mode"
    if claim.mode == "max" and not claim.effort:
        return ""
    if tier.thinks is None:  # a doubt, if it is not asked to
        unknown = f"claimed for {claim.how}, and it is not known whether the tier thinks"
        return "" if claim.mode == "average" else unknown
    if tier.thinks != (claim.mode == "think" or bool(claim.effort)):
        return f"claimed for {claim.how}, and the tier {'thinks' if tier.thinks else 'does not think'}"
    if claim.effort and claim.effort != tier.effort:
        return f"claimed for {claim.how}, and the tier asks for {tier.effort or 'no effort by name'}"
    return ""


def _modes(claim: Claim, about: Sequence[tuple[ClaimedTier, ResultRow]]) -> str:
    reasons = dict.fromkeys(_other_mode(claim, tier, row) for tier, row in about)
    return f"other mode: {'; '.join(reasons)}"


def _harness(manifest: Manifest) -> str:
    """Who measured a run: the agent that worked on its tasks, or Tierwise."""
    if not (runner := manifest.settings.runner):
        return HARNESS
    from tierwise.runners import parse_runner  # noqa: PLC0415 - few runs have one

    return parse_runner(runner).harness


def _incomparable(claim: Claim, part: SuitePart | None, row: ResultRow, harness: str) -> str:
    """Why a row in the claim's mode cannot be compared with it; empty if it can."""
    counts = row.counts
    suite = _row(claim.suite)
    has_agent = harness != HARNESS or (suite is not None and suite.runner != "here")
    if claim.harness == UNKNOWN and has_agent:
        return "other harness: the claim states none, and an agent's harness is part of the score"
    if claim.harness.casefold() not in (UNKNOWN, harness.casefold()):
        return f"other harness: claimed with {claim.harness}, run by {harness}"
    if part is not None and claim.release != part.release:
        return f"other release: claimed on {claim.release or 'one that is not stated'}, run on " + (
            part.release or "one that the file's name does not tell"
        )
    if claim.subset != (WHOLE if part is None else part.subset):
        return f"other subset: claimed on {claim.subset}, run on {WHOLE if part is None else part.subset}"
    if counts.not_run:
        return f"other subset: {counts.not_run} actions were not run"
    if counts.errors > MAX_ERROR_SHARE * counts.measured:
        return f"{counts.errors} of {counts.measured} actions ended in infrastructure errors"
    return "" if row.quality is not None else "nothing was graded"


def _doubts(claim: Claim) -> Iterator[str]:
    yield from claim.doubts
    if claim.harness == UNKNOWN:
        yield "harness unknown"
    if claim.date == UNKNOWN:
        yield "date unknown"


def _tasks(claim: Claim) -> int | None:
    """The number of tasks of a claim: as it says, else those of the whole suite in the release that its row counts."""
    row = _row(claim.suite)
    if claim.tasks is not None or row is None or claim.subset != WHOLE or row.name == "reasoning-gym":
        return claim.tasks
    if row.name == "aime":
        return row.tasks * len(claim.release.split()) or None
    return row.tasks if claim.release == _COUNTED.get(row.name, "") else None


def _row(suite: str) -> SuiteRow | None:
    from tierwise.workloads.suites import ROWS  # noqa: PLC0415 - loads all suites, and few runs have a claim

    return next((one for one in ROWS if one.name == suite), None)
