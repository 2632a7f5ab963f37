"""What a decision of `tierwise tune` becomes under other prices.

Whether an answer is right does not depend on a price, so the tests need not be run again: with the promised confidence
*all* settings that passed keep the promise, together. Any of them may be served, whichever is the cheapest now. One
that was not tested, or that failed, may not: the order of the tests came from the earlier prices, and a later test on
the same tasks would be another look at them (`tuning.looks`). Two things do depend on prices: a budget in dollars ends
actions, and a mean cost may be promised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from tierwise import plan as planning
from tierwise.analysis.duty import per_solved
from tierwise.analysis.summary import design_of
from tierwise.certificate import Certificate, Saving, Split, by_agreement, conditions_of
from tierwise.pools.reading import read_pool, used_by
from tierwise.runs.directory import ConfigSource, RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.stats.estimates import Estimate, Interval
from tierwise.tuning.complete import with_all_draws
from tierwise.tuning.costs import by_hour, costs_of
from tierwise.tuning.decide import share_said
from tierwise.tuning.record import Kept, TuningRecord
from tierwise.tuning.writing import ROUTE, figure_of, now, source_of, void_if

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.ledger.prices import Price
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.stats.design import Sample
    from tierwise.tuning.costs import Costs
    from tierwise.tuning.evaluated import Floats
    from tierwise.tuning.space import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class RepricedSetting:
    """A setting under other prices, on the test part."""

    kept: Kept
    dollars: Estimate
    """Of an action."""
    saving: Estimate | None
    """Share of the dollars of the fixed tier to be served that it saves now, on the same tasks."""
    per_solved: tuple[Estimate | None, ...]
    """Dollars per solved action at each of `analysis.duty.DUTIES`; None where nothing is solved. Per action where no
    label tells what is. Empty if nothing is by the hour."""

    @property
    def has_passed(self) -> bool:
        return self.kept.evidence is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A decision under other prices."""

    record: TuningRecord
    pool: Pool
    before: Mapping[str, Price]
    prices: Mapping[str, Price]
    settings: tuple[RepricedSetting, ...]
    serve: str
    """The fixed tier to be served unless a route is: the cheapest that passed, else the reference."""
    chosen: RepricedSetting | None
    """The cheapest setting that passed; None if none did."""
    route: Route | None
    """What is worth serving; None if nothing is."""
    why: str
    savings: tuple[Saving, ...]
    """Of the chosen setting."""
    notes: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether the certified setting is still the cheapest that passed."""
        return self.chosen is not None and self.chosen.kept.name == self.record.certified


def open_pool(record: TuningRecord, folder: Path, given: Path | None = None) -> tuple[RunDirectory, Pool]:
    """The pool of a record, if it is as it was.

    Args:
        record: of the folder.
        folder: of the record.
        given: where the pool is now, if it was moved.

    Raises:
        NotFound: it is not there.
        SpecError: it has other draws.
    """
    directory = RunDirectory(given if given is not None else folder / record.pool)
    if not directory.has_manifest:
        raise SpecError(
            f"the pool {directory.path} is not there, and costs follow from its draws; give its directory",
            field="--pool",
        )
    pool = read_pool(directory)
    if source_of(pool, directory).pool_sha256 != record.source.pool_sha256:
        raise SpecError(
            f"the pool {directory.path} has other draws than when {folder} was made; give the one of that time, or run "
            "`tierwise tune --from` to decide anew",
            field="--pool",
        )
    return directory, with_all_draws(used_by(plan_of(record, folder), pool))


def plan_of(record: TuningRecord, folder: Path = Path()) -> Plan:
    """The config file of a record, in whose folder its paths are right."""
    return planning.parse(record.config.text, folder / record.config.path)


def reprice(record: TuningRecord, pool: Pool, prices: Mapping[str, Price]) -> Repriced:
    """Price the frontier and the routes that passed.

    Args:
        record: what was decided.
        pool: that it follows from.
        prices: by deployment; a deployment that is not among them keeps its price.

    Raises:
        SpecError: under these prices a budget in dollars would end an action.
    """
    plan = plan_of(record)
    before = plan.file.prices
    merged = {**before, **prices}
    routes = [one.setting for one in record.settings]
    seed = record.parts.seed
    costs = costs_of(pool, plan, routes, merged, orders=record.orders, seed=seed)
    _require_within_budgets(plan, routes, costs)
    timed = None
    if any(one.dollars_per_hour for one in merged.values()):
        timed = costs_of(pool, plan, routes, by_hour(merged), orders=record.orders, seed=seed).dollars
    tasks = [one.task for one in pool.tasks]
    index = {task.id: at for at, task in enumerate(tasks)}
    tuning, test = ([index[name] for name in part] for part in (record.parts.tuning, record.parts.test))
    weights = np.array([task.weight for task in tasks])[tuning]
    mean = costs.dollars[:, tuning] @ weights / weights.sum()
    passed = [at for at, one in enumerate(record.settings) if one.evidence is not None]
    fixed = [at for at in passed if routes[at].is_fixed]
    names = [one.name for one in record.settings]
    reference = names.index(record.reference)
    serve = min(fixed, key=lambda at: mean[at], default=reference)
    ids = [tasks[at].id for at in test]
    measured = _Measured(design_of(ids, tasks, ()).sample(ids), costs.dollars[:, test])
    is_labelled = not by_agreement(record.promise.labels)
    solved = costs.correct[:, test] if is_labelled else np.ones_like(costs.dollars[:, test])
    rows = tuple(
        RepricedSetting(
            kept=one,
            dollars=measured.dollars(at),
            saving=None if at == serve else measured.saving(at, serve),
            per_solved=() if timed is None else measured.per_solved(at, timed[at, test], solved[at]),
        )
        for at, one in enumerate(record.settings)
    )
    best = min(passed, key=lambda at: mean[at], default=None)
    chosen = None if best is None else rows[best]
    route, why = _choice(record, chosen, names[serve], is_free=record.promise.dollars is None)
    return Repriced(
        record=record,
        pool=replace(pool, plan=plan),
        before=before,
        prices=merged,
        settings=rows,
        serve=names[serve],
        chosen=chosen,
        route=route,
        why=why,
        savings=() if best is None else tuple(_savings(measured, names, best, serve, reference, mean, routes)),
        notes=tuple(_notes(plan, before, prices)),
    )


class _Measured:
    """Figures of the test part."""

    def __init__(self, sample: Sample, dollars: Floats) -> None:
        self._sample, self._dollars = sample, dollars

    def dollars(self, at: int) -> Estimate:
        found = self._sample.mean(self._dollars[at].tolist(), least=0.0)
        if found is None:
            raise ValueError("the test part has too few tasks")
        return found

    def saving(self, at: int, other: int) -> Estimate | None:
        ratio = self._sample.ratio(self._dollars[at].tolist(), self._dollars[other].tolist())
        if ratio is None:
            return None
        ends = ratio.interval
        low = None if ends is None else -float("inf") if ends.high is None else 1 - ends.high
        interval = None if ends is None or low is None else Interval(low, 1 - ends.low)
        return Estimate(value=1 - ratio.value, interval=interval, n=ratio.n, population=ratio.population)

    def per_solved(self, at: int, timed: Floats, solved: Floats) -> tuple[Estimate | None, ...]:
        return per_solved(self._sample, self._dollars[at].tolist(), timed.tolist(), solved.tolist())


def _require_within_budgets(plan: Plan, routes: Sequence[Route], costs: Costs) -> None:
    for route, most in zip(routes, costs.largest.tolist(), strict=True):
        for name in route.ladder:
            base = route.variant.base if route.variant is not None and route.variant.name == name else name
            bound = plan.tiers[base].budget.dollars
            if bound is not None and most >= bound:
                raise SpecError(
                    f"at these prices an action of {route.name} costs up to ${most:.6f}, and the budget of tier "
                    f"{base!r} ends it at ${bound:g}: answers would be others than those that were tested. Raise the "
                    "budget, and run `tierwise tune --from`",
                    field=f"tiers.{base}.budget.dollars",
                )


def _choice(
    record: TuningRecord, chosen: RepricedSetting | None, serve: str, *, is_free: bool
) -> tuple[Route | None, str]:
    """The route that is worth serving at these prices, and why it is or none is."""
    if chosen is None:
        return None, "nothing passed the tests, and prices do not change that"
    name = chosen.kept.name
    if not is_free:
        return None, (
            "a mean cost was promised and tested at the earlier prices, so nothing is certified at these; "
            "`tierwise tune --from` tests it again"
        )
    if chosen.kept.least > record.promise.limit - record.missed:
        return None, f"the test tasks contradict the calibration tasks for {name}, the cheapest that passed"
    route = chosen.kept.setting
    if route.is_fixed:
        return None, f"tier {serve!r} passed the tests, and nothing that did is cheaper"
    saving = chosen.saving
    if saving is None or saving.interval is None or saving.interval.low <= 0:
        ends = "" if saving is None else f" ({share_said(saving)})"
        return None, f"{name} passed the tests, but may not be cheaper than {serve!r} at these prices{ends}"
    return route, f"{name} passed the tests, and at these prices saves {share_said(saving)} of the dollars of {serve!r}"


def _savings(
    measured: _Measured,
    names: Sequence[str],
    best: int,
    serve: int,
    reference: int,
    mean: Floats,
    routes: Sequence[Route],
) -> Iterator[Saving]:
    """Of the chosen setting, against the cheapest tier, the reference and the best fixed one."""
    cheapest = min((at for at, route in enumerate(routes) if route.is_fixed), key=lambda at: mean[at])
    roles: dict[Literal["cheapest", "reference", "best fixed"], int] = {
        "cheapest": cheapest,
        "reference": reference,
        "best fixed": serve,
    }
    for role, at in roles.items():
        if at != best and (saving := measured.saving(best, at)) is not None:
            yield Saving(against=names[at], role=role, share=figure_of(saving))


def _notes(plan: Plan, before: Mapping[str, Price], prices: Mapping[str, Price]) -> Iterator[str]:
    asked = {place for name in plan.file.tiers for place in plan.reached_deployments(name)}
    for name in sorted(asked - prices.keys()):
        yield f"deployment {name!r} is not in the new price book, and keeps its price"
    if all(before.get(name) == one for name, one in prices.items()):
        yield "these are the prices that the routes were certified at"


def certificate_at(found: Repriced, directory: RunDirectory, plan: Plan) -> Certificate:
    """The certificate of the route at these prices. Its evidence is that of the test that was made.

    Args:
        found: with a route.
        directory: of the pool.
        plan: the config file with route and prices.
    """
    record, chosen, route = found.record, found.chosen, found.route
    if route is None or chosen is None or chosen.kept.evidence is None or chosen.kept.confirmed is None:
        raise ValueError("only a route that passed has a certificate")
    conditions = conditions_of(plan, ROUTE, {one.name: one for one in found.pool.manifest.deployments or ()})
    shown = [one for one in found.settings if one is chosen or one.kept.setting.is_fixed]
    parts = record.parts
    return Certificate(
        made=now(),
        route=ROUTE,
        tiers=list(route.ladder),
        reference=record.reference,
        safe=found.serve,
        promise=record.promise,
        evidence=chosen.kept.evidence,
        confirmed=chosen.kept.confirmed,
        figures={
            ROUTE if one is chosen else one.kept.name: msgspec.structs.replace(
                one.kept.figures, dollars=figure_of(one.dollars)
            )
            for one in shown
        },
        savings=list(found.savings),
        disagreement=chosen.kept.disagreement,
        split=Split(
            seed=parts.seed, tuning=len(parts.tuning), calibration=len(parts.calibration), test=len(parts.test)
        ),
        source=msgspec.structs.replace(source_of(found.pool, directory), repriced=now()),
        conditions=conditions,
        alternatives=record.alternatives,
        thinking=record.thinking,
        void_if=void_if(conditions, record.promise.dollars),
    ).signed()


def record_at(found: Repriced, text: str, path: Path, pool: Path) -> TuningRecord:
    """The record of the decision at these prices, from which other prices can be tried, or a run be made again.

    Args:
        found: the decision.
        text: of the config file with these prices.
        path: of the file, in the folder of the record.
        pool: the pool's directory.
    """
    record = found.record
    settings = [
        msgspec.structs.replace(
            one.kept,
            figures=msgspec.structs.replace(one.kept.figures, dollars=figure_of(one.dollars)),
            saving=None if one.saving is None else figure_of(one.saving),
        )
        for one in found.settings
    ]
    return msgspec.structs.replace(
        record,
        made=now(),
        config=ConfigSource(path=path.name, sha256=hashlib.sha256(text.encode()).hexdigest(), text=text),
        pool=str(pool.resolve()),
        settings=settings,
        certified="" if found.chosen is None else found.chosen.kept.name,
        serve=found.serve,
    ).signed()
