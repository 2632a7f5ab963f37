"""Published scores beside reproduced ones: what was claimed, what was measured here, and whether the two agree.

A verdict is given only where both were measured on the same part of a suite, in the same mode and by the same harness.
It then follows from the interval of the difference (`claim_verdict.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tierwise.analysis.claim_verdict import Agreement, Tasks, compare, verdict_of
from tierwise.runs.records import MAX_ERROR_SHARE, TierVariant
from tierwise.spec.claims import UNKNOWN, WHOLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tierwise.analysis.rows import ResultRow
    from tierwise.runs.claims import ClaimedTier, RunClaim
    from tierwise.runs.directory import Manifest
    from tierwise.spec.claims import Claim
    from tierwise.stats.estimates import Estimate
    from tierwise.workloads.suites import SuitePart, SuiteRow

HARNESS = "tierwise"
"""Who measures a run of `tierwise bench` without a runner."""

_COUNTED = {"livecodebench": "v6", "terminal-bench-2": "2.0"}
"""The release whose tasks a suite's row counts, where there are several."""


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
    samples: int | Literal["greedy"] | None
    """Answers per task that the claim is the mean of; None if it does not say."""
    margin: float
    """Points: a difference within it counts as none."""
    harness: str
    date: str
    source: str
    stands_in: str
    doubts: list[str]
    reproduced: Estimate | None
    """The row's share solved; None if the run has no row in the claim's mode."""
    difference: Estimate | None
    """Reproduced minus claimed; None if the two are not about the same tasks, or in the same mode."""
    verdict: Agreement
    why: str


def check_claims(manifest: Manifest, rows: Sequence[ResultRow]) -> Iterator[ClaimCheck]:
    """Compare every claim of a run with the rows in its mode. A claim in whose mode there is none says so."""
    for stored in manifest.claims:
        claim = stored.claim
        tiers = {one.tier: one for one in stored.tiers}
        about = [(tiers[row.tier], row) for row in rows if row.tier in tiers]
        fitting = [(tier, row) for tier, row in about if not _other_mode(claim, tier, row)]
        for tier, row in fitting:
            yield _compared(manifest, stored, tier, row)
        if about and not fitting:
            tiers_of = ", ".join(dict.fromkeys(row.tier for _, row in about))
            yield _check(stored, tiers_of, None, None, ("not comparable", _modes(claim, about)))


def _compared(manifest: Manifest, stored: RunClaim, tier: ClaimedTier, row: ResultRow) -> ClaimCheck:
    """A claim beside a row in its mode."""
    claim, part = stored.claim, manifest.suite
    tasks = Tasks(len(manifest.tasks), _tasks(claim), is_sample=part is not None and part.sampled)
    other = _other_tasks(claim, part, row)
    found = None if other else compare(claim, tier, row, tasks)
    reason = "; ".join(filter(None, (other, _other_harness(claim, _harness(manifest)))))
    verdict: tuple[Agreement, str] = ("not comparable", reason)
    if found is not None and not reason:
        verdict = verdict_of(found, claim.margin)
    name = TierVariant(tier=row.tier, mode=row.mode).name
    doubts = list(_doubts(claim, tier))
    if found is None:
        return _check(stored, name, row.quality, None, verdict, doubts)
    return _check(stored, name, row.quality, found.difference, verdict, [*doubts, *_other_counts(claim, tasks)])


def _check(
    stored: RunClaim,
    row: str,
    reproduced: Estimate | None,
    difference: Estimate | None,
    verdict: tuple[Agreement, str],
    doubts: Sequence[str] = (),
) -> ClaimCheck:
    claim = stored.claim
    return ClaimCheck(
        suite=claim.what,
        row=row,
        claimed=claim.score / 100,
        how=claim.how,
        samples=claim.samples,
        margin=claim.margin,
        harness=claim.harness,
        date=claim.date,
        source=claim.source,
        stands_in=stored.stands_in,
        doubts=[*_unstated(claim), *doubts],
        reproduced=reproduced,
        difference=difference,
        verdict=verdict[0],
        why=verdict[1],
    )


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


def _other_harness(claim: Claim, harness: str) -> str:
    """Why a claim's harness is another than the run's; empty if it is the same, or not stated where it matters less."""
    suite = _row(claim.suite)
    has_agent = harness != HARNESS or (suite is not None and suite.runner != "here")
    if claim.harness == UNKNOWN and has_agent:
        return "other harness: the claim states none, and an agent's harness is part of the score"
    if claim.harness.casefold() not in (UNKNOWN, harness.casefold()):
        return f"other harness: claimed with {claim.harness}, run by {harness}"
    return ""


def _other_tasks(claim: Claim, part: SuitePart | None, row: ResultRow) -> str:
    """Why a row in the claim's mode is not about its tasks; empty if it is."""
    counts = row.counts
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


def _unstated(claim: Claim) -> Iterator[str]:
    yield from claim.doubts
    if claim.harness == UNKNOWN:
        yield "harness unknown"
    if claim.date == UNKNOWN:
        yield "date unknown"


def _doubts(claim: Claim, tier: ClaimedTier) -> Iterator[str]:
    """What speaks against comparing a claim with a row in its mode."""
    if tier.thinks is None:
        yield "it is not known whether the tier thinks"
    if claim.samples == "greedy" and not tier.greedy:
        yield "claimed for greedy answers, and the tier samples"


def _other_counts(claim: Claim, tasks: Tasks) -> Iterator[str]:
    """Doubts about the number of tasks that a claim is of."""
    if not tasks.is_sample and not tasks.are_same:
        yield f"claimed on {tasks.claimed} tasks, run on {tasks.run}: both count as samples"
    if claim.samples in ("greedy", 1) and tasks.claimed and not _is_count(claim.score, tasks.claimed):
        yield f"no whole number of {tasks.claimed} tasks is {claim.score:g} %: the tasks or the samples are others"


def _is_count(score: float, tasks: int) -> bool:
    """Whether some number of solved tasks rounds to a published percentage (the GRIM test, Brown & Heathers 2017)."""
    decimals = len(f"{score!r}".removesuffix(".0").partition(".")[2])
    return math.isclose(round(score / 100 * tasks) / tasks * 100, score, rel_tol=1e-12, abs_tol=0.5 / 10**decimals)


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
