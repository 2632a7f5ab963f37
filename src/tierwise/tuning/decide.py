"""From a searched space to a decision: a certified route, or the fixed tier that is to be served instead, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tierwise.certificate import by_agreement
from tierwise.spec.errors import SpecError
from tierwise.stats.estimates import Estimate
from tierwise.stats.promises import Losses, labels_needed
from tierwise.tuning.certify import (
    MOST_SLOW,
    Certified,
    Promises,
    certify,
    expected_p_value,
    judged,
    losses_of,
    ordered,
    planned_p_value,
    risks,
)
from tierwise.tuning.labels import judge_of
from tierwise.tuning.losses import has_checks, missed_losses, most_weight
from tierwise.tuning.measured import Measured, Measures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.tuning.certify import Tested
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.space import Route
    from tierwise.tuning.split import TaskSplit

_MOST_LABELS = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The risk of the first promise on the test part."""

    tasks: int
    risk: float
    low: float
    """With the promised confidence, the risk is at least this."""
    bound: float
    """With the promised confidence, the risk is at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What can be known before the calibration tasks are looked at."""

    tasks: int
    """Independent units of the calibration part."""
    labels: int
    """Units needed if no loss is seen."""
    likely: Route | None
    """The cheapest setting that would pass on the calibration part if that is like the tuning part; else the one with
    the least risk; None if none keeps the promise on the tuning part."""
    expected: int
    """Losses that it would have on the calibration part, as on the tuning part."""
    labels_for_expected: int
    """Units needed with that rate of losses; 0 if more than 300,000."""
    own_harm: float
    is_least: bool
    saving: float
    """The share of the reference's dollars that it saves, on the tuning part."""
    checked: int = 0
    """With a judge: independent units of the calibration part that have a check."""
    checks: int = 0
    """With a judge: such units needed if it misses nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to serve."""

    promises: Promises
    searched: Searched
    split: TaskSplit
    outlook: Outlook
    serve: str
    """The tier that is served where no route is: the cheapest fixed tier that keeps the promise."""
    certified: Certified | None
    """What passed on the calibration part; None if nothing did."""
    route: Route | None
    """What is worth serving in place of `serve`; None if nothing is."""
    confirmed: Confirmed | None
    """Of the setting that passed."""
    closest: Tested | None
    """Where nothing passed: the setting that came first."""
    why: str
    """One sentence for a reader."""
    figures: Mapping[str, Measured]
    """By setting, on the test part: the certified or closest one, and every fixed tier."""
    saving: Estimate | None
    """Share of the dollars of `serve` that the certified or closest setting saves, on the test part."""

    @property
    def setting(self) -> int:
        """The setting that the report is about: the certified one, else the one that came closest."""
        if self.certified is not None:
            return self.certified.setting
        return self.closest.setting if self.closest is not None else self.searched.index(self.serve)


def outlook(searched: Searched, split: TaskSplit, promises: Promises) -> Outlook:
    """What a promise needs, and what is in reach, from the tuning part and the sizes of the others."""
    evaluated = searched.evaluated
    size = len(np.unique(evaluated.units[split.calibration]))
    labels = labels_for(searched, split, promises, 0.0)
    if promises.p95 is not None:
        slow = Promises(limit=MOST_SLOW, confidence=promises.confidence)
        labels = max(labels, labels_for(searched, split, slow, 0.0))
    found = risks(evaluated, split.tuning, promises)
    costs = evaluated.mean(evaluated.dollars, split.tuning)
    fit = [one for one in cheaper(searched, split) if found[one] < promises.limit]
    passing = [one for one in fit if expected_p_value(evaluated, one, split.tuning, promises, size) <= promises.delta]
    best = min(passing, key=lambda one: costs[one], default=min(fit, key=lambda one: found[one], default=None))
    risk = 0.0 if best is None else max(0.0, float(found[best]))
    reference = costs[searched.index(searched.space.reference)]
    return Outlook(
        tasks=size,
        labels=labels,
        likely=None if best is None else searched.routes[best],
        expected=round(risk * size),
        labels_for_expected=0 if best is None else labels_for(searched, split, promises, risk),
        own_harm=searched.own_harm,
        is_least=searched.is_least,
        saving=0.0 if best is None or not reference else float(1 - costs[best] / reference),
        checked=len(np.unique(evaluated.units[split.calibration][has_checks(evaluated, split.calibration)])),
        checks=labels_needed(promises.missed, promises.delta) if promises.missed else 0,
    )


def _require_reference(searched: Searched) -> None:
    reference, correct = searched.space.reference, searched.evaluated.correct[searched.index(searched.space.reference)]
    if not searched.has_answers:
        raise SpecError(f"{reference!r} answers no task, so there is nothing to agree with; name another --reference")
    if not correct.any() and searched.judge is not None:
        raise SpecError(
            f"{judge_of(searched.labels)!r} judges no answer of {reference!r} to be right, so it sees no harm. Look at "
            "its verdicts in the pool; let another tier judge, give it another rubric, or give all tasks checks",
            field="--labels",
        )
    if not correct.any():
        raise SpecError(
            f"no answer of {reference!r} is right, so no route can do worse, and a promise would say nothing. Look at "
            "the tasks' checks, or name a better tier with --reference"
        )


def require_feasible(found: Outlook, searched: Searched, promises: Promises) -> None:
    """Refuse a promise that cannot be kept or proved.

    Raises:
        SpecError: says what would be feasible.
    """
    if by_agreement(promises.labels) and found.own_harm > promises.limit:
        raise SpecError(
            f"two independent answers of {searched.space.reference!r} differ in "
            f"{'at least ' if found.is_least else ''}{found.own_harm:.1%} of tasks, so it disagrees with itself more "
            f"often than the {promises.limit:.2%} that are allowed. Use a deterministic reference (temperature 0, or "
            f"more votes); give the tasks checks, which tell harm from a difference; or allow --loss "
            f"{_rounded_up(found.own_harm):g}",
            field="--loss",
        )
    if promises.kind == "harm" and found.own_harm > promises.limit:
        raise SpecError(
            f"two independent answers of {searched.space.reference!r} are wrong and right in "
            f"{'at least ' if found.is_least else ''}{found.own_harm:.1%} of tasks, so it harms itself more often than "
            f"the {promises.limit:.2%} that are allowed. Promise the net loss (--promise net), in which gains offset "
            f"harm; use a deterministic reference (temperature 0, or more votes); or allow --loss "
            f"{_rounded_up(found.own_harm):g}",
            field="--loss",
        )
    if found.checked < found.checks:
        raise SpecError(
            f"the error of a judge is bounded on tasks that have a check: {found.checked} of the {found.tasks} "
            f"independent calibration tasks have one, and a loss of {promises.limit:g} takes {found.checks} even if "
            f"the judge misses nothing, and never fewer than {labels_needed(promises.limit, promises.delta)}. Give "
            f"{math.ceil(10 * found.checks / max(1, found.checked)) / 10:g} times as many tasks a check, drawn at "
            "random",
            field="--labels",
        )
    if found.tasks < found.labels:
        most = _feasible_limit(promises, found.tasks)
        share = found.labels / max(1, found.tasks)
        allowed = f"these tasks can show {most:.2g} at best, so allow --loss {_rounded_up(most):g}" if most < 1 else ""
        raise SpecError(
            f"a loss of {promises.limit:g}{'' if promises.p95 is None else ' and a latency'} with confidence "
            f"{promises.confidence:g} needs {found.labels} independent calibration tasks even if none of them has a "
            f"loss, and the workload has {found.tasks}: give about {share:.1f} times as many tasks"
            f"{f'; {allowed}' if allowed else ''}",
            field="--loss",
        )


def decide(searched: Searched, split: TaskSplit, promises: Promises, measures: Measures, *, seed: int = 0) -> Decision:
    """Certify, confirm, and compare with the fixed tiers.

    Args:
        searched: the space on the pool.
        split: of its tasks.
        promises: what a route must keep.
        measures: figures on the test part.
        seed: of the order in which a bet sees the calibration tasks.

    Raises:
        SpecError: the promise is not feasible (`require_feasible`).
    """
    evaluated, reference = searched.evaluated, searched.space.reference
    _require_reference(searched)
    seen = outlook(searched, split, promises)
    require_feasible(seen, searched, promises)
    candidates = cheaper(searched, split)
    if promises.p95 is not None or promises.dollars is not None:
        candidates.append(searched.index(reference))
    found = certify(evaluated, split.tuning, split.calibration, promises, seed=seed, candidates=candidates)
    costs = evaluated.mean(evaluated.dollars, split.tuning)
    fixed = [] if found is None else [one.setting for one in found.passed if searched.routes[one.setting].is_fixed]
    serve = min(
        (searched.routes[one].ladder[0] for one in fixed),
        key=lambda name: costs[searched.index(name)],
        default=reference,
    )
    closest = None
    if found is None:
        order = ordered(evaluated, split.tuning, promises, len(split.calibration), candidates=candidates)
        most = most_weight(evaluated, split.tuning)
        if order.settings:
            first = order.settings[0]
            closest = judged(evaluated, first, split.calibration, promises, seed=seed, most=most, bet=order.bet)
    shown = found.setting if found is not None else closest.setting if closest is not None else None
    saving = None if shown is None else measures.saving(shown, searched.index(serve))
    confirmed = None if shown is None else confirm(searched, split, promises, shown, seed=seed)
    route, why = _choice(searched, promises, seen, found, closest, serve, saving, confirmed)
    names = dict.fromkeys(
        [*(() if shown is None else (shown,)), *(searched.index(one) for one in searched.space.fixed)]
    )
    return Decision(
        promises=promises,
        searched=searched,
        split=split,
        outlook=seen,
        serve=serve,
        certified=found,
        route=route,
        confirmed=confirmed,
        closest=closest,
        why=why,
        figures={evaluated.names[one]: measures.of(one) for one in names},
        saving=saving,
    )


def _choice(
    searched: Searched,
    promises: Promises,
    seen: Outlook,
    found: Certified | None,
    closest: Tested | None,
    serve: str,
    saving: Estimate | None,
    confirmed: Confirmed | None,
) -> tuple[Route | None, str]:
    """The route that is worth serving, and why it is or none is."""
    if found is None:
        if closest is None:
            return None, f"no setting costs less than {serve!r}"
        name, risk = searched.evaluated.names[closest.setting], closest.losses.risk
        risk = 2 * risk - 1 if promises.kind == "net" else risk
        more = f"; at the rate of the tuning tasks it takes {seen.labels_for_expected} calibration tasks"
        more = more if seen.labels_for_expected > seen.tasks else ""
        return None, (
            f"nothing cheaper keeps the promise for certain: the surest setting, {name}, has a {promises.risk_name} of "
            f"{risk:.2%} on {closest.losses.tasks} calibration tasks, and the promise of {_named(promises, closest)} "
            f"has p = {closest.p_value:.3g}, above {promises.delta:g}{more}"
        )
    route = searched.routes[found.setting]
    if confirmed is not None and confirmed.low > promises.limit - promises.missed:
        return None, (
            f"the test tasks contradict the calibration tasks: {found.name} has a {promises.risk_name} of "
            f"{confirmed.risk:.2%} on {confirmed.tasks} of them, at least {confirmed.low:.2%} with the same "
            "confidence. The parts may not be alike: give more tasks, or name what belongs together as `cluster`"
        )
    if route.is_fixed:
        losses = found.tested.losses
        bound = losses.upper_bound(promises.delta) + promises.missed
        risk, bound = (2 * end - 1 for end in (losses.risk, bound)) if promises.kind == "net" else (losses.risk, bound)
        by, with_missed = (" that the judge sees", " with what it may miss") if promises.missed else ("", "")
        return None, (
            f"tier {serve!r} keeps the promise alone, with a {promises.risk_name} of {risk:.2%}{by} on {losses.tasks} "
            f"calibration tasks, at most {bound:.2%}{with_missed}, and no route that keeps it is cheaper"
        )
    if saving is None or saving.interval is None or saving.interval.low <= 0:
        ends = "" if saving is None else f" ({share_said(saving)})"
        return None, f"{found.name} keeps the promise, but may not be cheaper than {serve!r}{ends}"
    return route, f"{found.name} keeps the promise and saves {share_said(saving)} of the dollars of {serve!r}"


def _named(promises: Promises, tested: Tested) -> str:
    return promises.risk_name if tested.binding == promises.kind else tested.binding


def share_said(of: Estimate) -> str:
    """A share with its interval, for a sentence."""
    if of.interval is None or of.interval.high is None:
        return f"{of.value:.1%} (no interval: too few tasks)"
    return f"{of.value:.1%} [{of.interval.low:.1%} to {of.interval.high:.1%}]"


def cheaper(searched: Searched, split: TaskSplit) -> list[int]:
    """The settings that cost less than the reference on the tuning tasks."""
    costs = searched.evaluated.mean(searched.evaluated.dollars, split.tuning)
    return np.flatnonzero(costs < costs[searched.index(searched.space.reference)]).tolist()


def confirm(searched: Searched, split: TaskSplit, promises: Promises, setting: int, *, seed: int = 0) -> Confirmed:
    """The risk of a setting on the test tasks, with both one-sided bounds."""
    losses = losses_of(searched.evaluated, setting, split.test, promises)
    mirrored = Losses(
        values=tuple(1 - value for value in losses.values),
        weights=losses.weights,
        is_plain=losses.is_plain,
        tasks=losses.tasks,
        most_weight=losses.most_weight,
    )
    ends = (
        losses.risk,
        1 - mirrored.upper_bound(promises.delta, seed=seed),
        losses.upper_bound(promises.delta, seed=seed),
    )
    risk, low, bound = (2 * end - 1 for end in ends) if promises.kind == "net" else ends
    if promises.missed:  # two bounds, each at half the level
        missed = missed_losses(searched.evaluated, setting, split.test)
        half = promises.delta / 2
        bound = min(1.0, losses.upper_bound(half, seed=seed) + missed.upper_bound(half, seed=seed))
        risk += missed.risk
    return Confirmed(tasks=losses.tasks, risk=risk, low=low, bound=bound)


def labels_for(searched: Searched, split: TaskSplit, promises: Promises, risk: float) -> int:
    """Independent units that prove a promise if they have this risk; 0 if no number does.

    The losses are spread evenly over the units: half of all samples have more, and need more.
    """
    if risk >= promises.limit:
        return 0
    low, high = 0, 8
    while _p_with(searched, split, promises, risk, high) > promises.delta:
        low, high = high, 2 * high
        if (high > _MOST_LABELS // 100 and promises.kind != "harm") or high > _MOST_LABELS:
            return 0
    while low + 1 < high:
        middle = (low + high) // 2
        passes = _p_with(searched, split, promises, risk, middle) <= promises.delta
        low, high = (low, middle) if passes else (middle, high)
    return high


def _p_with(searched: Searched, split: TaskSplit, promises: Promises, risk: float, units: int) -> float:
    """The p-value of this many equal units with this risk."""
    evaluated = searched.evaluated
    of = evaluated.units[split.calibration]
    is_plain = len(np.unique(of)) == len(of) and len(np.unique(evaluated.weights[split.calibration])) <= 1
    is_plain = is_plain and promises.kind != "net"
    lost = round(risk * units)
    if promises.kind == "net":
        values = (1.0,) * lost + (0.5,) * (units - lost)
    else:
        values = (1.0,) * lost + (0.0,) * (units - lost)
    losses = Losses(values=values, weights=(1.0,) * units, is_plain=is_plain, tasks=units)
    return planned_p_value(losses, promises)


def _feasible_limit(promises: Promises, units: int) -> float:
    """The smallest limit that this many units can prove, if no loss is seen."""
    value = 0.5 if promises.kind == "net" else 0.0
    losses = Losses(values=(value,) * units, weights=(1.0,) * units, is_plain=not value, tasks=units)
    bound = losses.upper_bound(promises.delta)
    return 2 * bound - 1 if promises.kind == "net" else bound


def _rounded_up(value: float) -> float:
    return float(np.ceil(200 * value) / 200)
