"""What a decision's report shows beside the certificate: frontier, kinds of tasks, signals, and more labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from scipy import stats

from tierwise.pools.calibrating import calibrate
from tierwise.stats.frontier import on_frontier
from tierwise.stats.promises import Losses
from tierwise.tuning.certify import expected_p_value, pareto, risks
from tierwise.tuning.chains import LARGEST_BET
from tierwise.tuning.decide import cheaper
from tierwise.tuning.losses import has_checks, is_plain, missed_losses
from tierwise.tuning.measured import sample_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.pools.calibrating import Calibrated
    from tierwise.pools.reading import Pool
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.decide import Decision
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.evaluated import Floats, Numbers
    from tierwise.tuning.measured import Measured, Measures
    from tierwise.tuning.racing import Raced
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.task import Task

MOST_ON_FRONTIER = 12
"""Settings that are shown beside the fixed tiers, evenly thinned."""
MOST_STRATA = 30
FACTORS = (1, 2, 4)
"""Multiples of the calibration tasks."""
_LOOSEST = 0.5
_ORDERS = 9
"""Orders in which a bet sees the tasks, for what it would show in the middle of them."""
_P95 = Fraction(95, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A setting of the frontier, on the test tasks."""

    setting: int
    name: str
    measured: Measured
    membership: float
    """The share of joint resamples of the test tasks in which no other one that is shown is at least as good in points,
    95th percentile and dollars, and better in one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Test tasks of one kind, under the setting that the report is about."""

    tag: str
    """Empty for all tasks."""
    tasks: int
    escalated: Estimate | None
    """Share of actions that reached the last tier."""
    harm: Estimate | None
    """Share on which the answer is wrong and the reference's right; by agreement, on which the two differ."""
    points: Estimate | None
    reference: Estimate | None
    """Points of the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InReach:
    """What is expected to pass at a limit."""

    limit: float
    setting: str
    """The cheapest that is expected to pass, at the rate of the tuning tasks; empty if none is."""
    chance: float | None
    """The probability that it passes, with what the tuning tasks leave open about its rate (beta-binomial, Jeffreys'
    prior). It was chosen on these tasks, so the true one is rather lower. None for clusters, weights and means."""
    saving: float | None
    """Share of the reference's dollars that it saves on the tuning tasks; None without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreLabels:
    """What a number of calibration tasks could prove."""

    factor: int
    """Times those of the workload."""
    units: int
    """Independent ones."""
    tightest: float
    """The smallest loss that they can prove, if none is seen."""
    bound: float | None
    """The risk that could be shown for the setting that the report is about, if its rate of losses stays that of the
    calibration tasks; None if nothing was tested."""
    in_reach: tuple[InReach, ...]
    """At the promised limit, and at twice as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All of it."""

    measures: Measures
    frontier: tuple[Candidate, ...]
    """The cheapest first."""
    strata: tuple[Stratum, ...]
    """All tasks first, then tags, the most frequent first."""
    signals: tuple[Calibrated, ...]
    """On all draws of the pool, for each deployment, sampling and thinking mode."""
    labels: tuple[MoreLabels, ...]
    raced: Raced | None
    """The race before the pool was recorded; None without one."""
    raced_share: float | None
    """The share of the draws of the full grid that race and pool took together."""


def findings(decision: Decision, measures: Measures, pool: Pool, raced: Raced | None = None) -> Findings:
    """What the report of a decision shows.

    Args:
        decision: on the pool.
        measures: of the test part.
        pool: with log-probabilities, where signals are to be shown.
        raced: before it was recorded.
    """
    tasks = [one.task for one in pool.tasks]
    share = None if raced is None else raced.share(len(tasks), pool.manifest.settings.repeats)
    return Findings(
        measures=measures,
        frontier=tuple(_frontier(decision, measures)),
        strata=tuple(_strata(decision, tasks)),
        signals=tuple(
            one for one in calibrate(pool, decision.searched.agreeing) if any(row.answers for row in one.signals)
        ),
        labels=tuple(more_labels(decision)),
        raced=raced,
        raced_share=share,
    )


def _frontier(decision: Decision, measures: Measures) -> list[Candidate]:
    """The Pareto set of dollars and wrong answers on the tuning tasks, thinned, the fixed tiers, and the setting that
    the report is about.
    """
    searched, part = decision.searched, decision.split.test
    evaluated = searched.evaluated
    costs = evaluated.mean(evaluated.dollars, decision.split.tuning)
    best = pareto(costs, 1 - evaluated.mean(evaluated.correct, decision.split.tuning)).tolist()
    step = max(1, -(-len(best) // MOST_ON_FRONTIER))
    fixed = [searched.index(name) for name in searched.space.fixed]
    shown = sorted({*best[::step], *fixed, decision.setting}, key=lambda one: costs[one])
    if not len(part):
        return []
    _, labels = np.unique(evaluated.units[part], return_inverse=True)
    names = [evaluated.names[one] for one in shown]
    found = on_frontier(
        {name: evaluated.correct[one][part].tolist() for name, one in zip(names, shown, strict=True)},
        {name: evaluated.seconds[one][part][:, 0].tolist() for name, one in zip(names, shown, strict=True)},
        {name: evaluated.dollars[one][part].tolist() for name, one in zip(names, shown, strict=True)},
        latency=_P95,
        labels=labels.tolist(),
        weights=evaluated.weights[part].tolist(),
    )
    return [
        Candidate(setting=one, name=name, measured=measures.of(one), membership=found[name])
        for one, name in zip(shown, names, strict=True)
    ]


def _strata(decision: Decision, tasks: Sequence[Task]) -> Iterator[Stratum]:
    part = decision.split.test.tolist()
    of = Counter(tag for index in part for tag in set(tasks[index].tags))
    groups = {"": part} | {
        tag: [index for index in part if tag in tasks[index].tags]
        for tag, count in sorted(of.items(), key=lambda one: (-one[1], one[0]))[:MOST_STRATA]
        if count < len(part)
    }
    for tag, indexes in groups.items():
        yield _stratum(decision, tag, tasks, np.array(indexes, dtype=np.int64))


def _stratum(decision: Decision, tag: str, tasks: Sequence[Task], part: Numbers) -> Stratum:
    searched, shown = decision.searched, decision.setting
    evaluated = searched.evaluated
    sample, is_graded = sample_of(tasks, part), evaluated.seconds.shape[2] > 1
    has_steps = len(searched.routes[shown].ladder) > 1

    def share(values: Floats) -> Estimate | None:
        return sample.share(values[part].tolist(), is_graded=is_graded) if len(part) else None

    return Stratum(
        tag=tag,
        tasks=len(part),
        escalated=share(1 - evaluated.kept[shown]) if has_steps else None,
        harm=share(evaluated.harm[shown]),
        points=share(evaluated.correct[shown]),
        reference=share(evaluated.correct[searched.index(searched.space.reference)]),
    )


def more_labels(decision: Decision) -> Iterator[MoreLabels]:
    """What calibration tasks could prove if there were more of them. With a judge, the same share of them has a check:
    what it sees is bounded on all, and what it misses on these.
    """
    searched, split, promises = decision.searched, decision.split, decision.promises
    evaluated = searched.evaluated
    units = len(np.unique(evaluated.units[split.calibration]))
    checked = len(np.unique(evaluated.units[split.calibration][has_checks(evaluated, split.calibration)]))
    shown = _losses_of_shown(decision)
    is_exact = promises.kind != "net" and is_plain(evaluated, split.calibration)
    limits = sorted({promises.limit, min(_LOOSEST, 2 * promises.limit)})
    for factor in FACTORS:
        size = factor * units
        yield MoreLabels(
            factor=factor,
            units=size,
            tightest=_tightest(promises, size, is_exact=is_exact)
            + (_tightest(promises, factor * checked, is_exact=is_exact) if promises.missed else 0.0),
            bound=None if shown is None else _bound(promises, shown, factor, split.seed) + promises.missed,
            in_reach=tuple(
                _in_reach(searched, split, replace(promises, limit=limit), size, is_exact=is_exact) for limit in limits
            ),
        )


def _in_reach(searched: Searched, split: TaskSplit, promises: Promises, size: int, *, is_exact: bool) -> InReach:
    evaluated = searched.evaluated
    found = risks(evaluated, split.tuning, promises)
    costs = evaluated.mean(evaluated.dollars, split.tuning)
    reference = float(costs[searched.index(searched.space.reference)])
    fit = [one for one in cheaper(searched, split) if found[one] < promises.limit]
    sure = {one: expected_p_value(evaluated, one, split.tuning, promises, size) for one in fit}
    passing = [one for one, p_value in sure.items() if p_value <= promises.delta]
    best = min(passing, key=lambda one: costs[one], default=None)
    return InReach(
        limit=promises.limit,
        setting="" if best is None else evaluated.names[best],
        chance=_chance(searched, split, promises, best, size) if best is not None and is_exact else None,
        saving=None if best is None or not reference else float(1 - costs[best] / reference),
    )


def _losses_of_shown(decision: Decision) -> Losses | None:
    """Those of the first promise; None also where a judge misses more than its part of the limit, so that no bound on
    what it sees is one on the risk.
    """
    tested = decision.certified.tested if decision.certified is not None else decision.closest
    if tested is None:
        return None
    promises, part = decision.promises, decision.split.calibration
    if promises.missed:
        missed = missed_losses(decision.searched.evaluated, tested.setting, part)
        if missed.upper_bound(promises.delta, seed=decision.split.seed) > promises.missed:
            return None
    return tested.losses


def _tightest(promises: Promises, units: int, *, is_exact: bool) -> float:
    """The smallest limit that is proved without a loss."""
    value = 0.5 if promises.kind == "net" else 0.0
    bet = LARGEST_BET if promises.kind == "harm" and not is_exact else 0.0
    losses = Losses(values=(value,) * units, weights=(1.0,) * units, is_plain=is_exact, tasks=units, bet=bet)
    return _as_risk(promises, losses.upper_bound(promises.delta))


def _bound(promises: Promises, losses: Losses, factor: int, seed: int) -> float:
    """The bound on the risk of losses like these, with a multiple of their number. A bet depends on the order of the
    tasks: as they are, that of the certificate is taken; with more of them, the median of several.
    """
    several = Losses(
        values=losses.values * factor,
        weights=losses.weights * factor,
        is_plain=losses.is_plain,
        tasks=losses.tasks * factor,
        most_weight=losses.most_weight,
        bet=losses.bet,
    )
    orders = [seed] if factor == 1 or several.method == "exact" else range(_ORDERS)
    return _as_risk(promises, float(np.median([several.upper_bound(promises.delta, seed=one) for one in orders])))


def _as_risk(promises: Promises, bound: float) -> float:
    return 2 * bound - 1 if promises.kind == "net" else bound


def _chance(searched: Searched, split: TaskSplit, promises: Promises, setting: int, size: int) -> float | None:
    """The probability that the first promise passes on this many tasks; None for means over orders."""
    if promises.kind != "harm" or promises.p95 is not None or promises.dollars is not None:
        return None
    seen = searched.evaluated.first_harm[setting][split.tuning]
    lost, tasks = float(seen.sum()), len(seen)
    allowed = int(stats.binom.ppf(promises.delta, size, promises.limit))
    while allowed >= 0 and stats.binom.cdf(allowed, size, promises.limit) > promises.delta:
        allowed -= 1
    if allowed < 0:
        return 0.0
    return float(stats.betabinom.cdf(allowed, size, lost + 0.5, tasks - lost + 0.5))


def as_facts(found: Findings) -> Mapping[str, object]:
    """The same for programs."""
    return {
        "frontier": [
            {"setting": one.name, "membership": one.membership, **msgspec.to_builtins(one.measured)}
            for one in found.frontier
        ],
        "strata": msgspec.to_builtins(found.strata),
        "signals": msgspec.to_builtins(found.signals),
        "labels": msgspec.to_builtins(found.labels),
        "race": None if found.raced is None else _race(found.raced, found.raced_share),
    }


def _race(raced: Raced, share: float | None) -> Mapping[str, object]:
    race = raced.race
    return {
        "deployments": {one.tier: one.deployment for one in raced.sources},
        "tasks": race.tasks,
        "most_tasks": race.most_tasks,
        "left_out": raced.left_out,
        "racing": race.racing,
        "kept": sorted(race.kept),
        "recorded": raced.tiers,
        "dropped": [{**msgspec.to_builtins(one), "why": one.why} for one in race.dropped],
        "draws": len(raced.records),
        "dollars": sum(one.spent for one in raced.records),
        "share": share,
    }
