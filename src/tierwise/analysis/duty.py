"""Dollars per solved action where a machine is paid by the hour, also while nothing runs on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise import plan as planning
from tierwise.ledger.prices import Price, PriceBook
from tierwise.spec.call import Usage
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tierwise.plan import Plan
    from tierwise.runs.directory import Manifest
    from tierwise.runs.records import Mode, TierVariant, TrialRecord
    from tierwise.stats.design import Design, Sample
    from tierwise.stats.estimates import Estimate

DUTIES = (0.05, 0.5, 1.0)
"""Shares of a deployment's hours in which anything runs on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DutyRow:
    """One row of a run."""

    tier: str
    mode: Mode
    per_solved: tuple[Estimate | None, ...]
    """Dollars per solved action at each of `DUTIES`; None where nothing is solved."""


def duty_rows(manifest: Manifest, of: Mapping[TierVariant, Iterable[TrialRecord]], design: Design) -> Iterator[DutyRow]:
    """The rows of a run whose passes ran on machines that are paid by the hour.

    A row whose policy has candidates graded by another deployment is left out: records do not say which pass ran where.

    Args:
        manifest: of the run.
        of: the records of each row.
        design: of its tasks.
    """
    try:
        plan = planning.parse(manifest.config.text, Path(manifest.config.path))
    except SpecError:
        return  # of another version, or of an imported run
    for variant, records in of.items():
        if variant.tier not in plan.tiers or not _by_hour(plan, variant.tier):
            continue
        priced = [one for one in records if one.is_graded and one.dollars is not None and one.passes is not None]
        sample = design.sample([one.task for one in priced])
        found = per_solved(
            sample,
            [one.dollars or 0.0 for one in priced],
            [_timed(one, plan) for one in priced],
            [float(one.is_solved) for one in priced],
        )
        yield DutyRow(tier=variant.tier, mode=variant.mode, per_solved=found)


def _by_hour(plan: Plan, tier: str) -> bool:
    reached = [tier, *plan.reached_tiers(tier)]
    if any(plan.tiers[name].policy.graders for name in reached):
        return False
    prices = [plan.file.prices.get(place) for place in plan.reached_deployments(tier)]
    return any(one is not None and one.dollars_per_hour for one in prices)


def _timed(record: TrialRecord, plan: Plan) -> float:
    """The part of an action's dollars that is by the hour: what its tokens did not cost."""
    found = 0.0
    for done in record.passes or ():
        place = plan.runs_as[plan.deployment_of(done.tier or record.tier)]
        price = plan.file.prices.get(place, Price())
        if price.dollars_per_hour:
            usage = Usage(prompt=done.prompt_tokens, cached=done.cached_tokens, completion=done.completion_tokens)
            found += max(0.0, done.dollars - PriceBook({place: price}).price(place, usage, 0.0).tokens)
    return found


def per_solved(
    sample: Sample, dollars: Sequence[float], timed: Sequence[float], solved: Sequence[float]
) -> tuple[Estimate | None, ...]:
    """Dollars per solved action at each of `DUTIES`: at a duty of 5 %, a busy second is paid 20 times.

    Args:
        sample: of the actions.
        dollars: of each action, with its share of busy time alone.
        timed: the part of them that is by the hour.
        solved: 1 or 0, or a share.

    Returns:
        None where nothing is solved.
    """
    if not any(solved):
        return (None,) * len(DUTIES)
    pairs = list(zip(dollars, timed, strict=True))
    return tuple(sample.ratio([all_ - part + part / duty for all_, part in pairs], solved) for duty in DUTIES)
