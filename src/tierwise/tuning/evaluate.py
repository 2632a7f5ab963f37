"""What every setting of a space does to every task, by replay of a recorded pool.

Route and reference run on the same order of a task's draws. A threshold only chooses between two outcomes of an
action, that of an accepted and that of a refused answer, so both are replayed once and all thresholds follow from them,
with the same result as a replay of each.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from tierwise.certificate import by_agreement
from tierwise.policies import Cascade
from tierwise.policies.acceptance import CascadeSignal
from tierwise.policies.signals import ALTERNATIVES, has_k
from tierwise.pools.grid import Setting, tiers_as_settings
from tierwise.spec.errors import SpecError
from tierwise.tuning.agreement import agreeing_draws
from tierwise.tuning.evaluated import Evaluated
from tierwise.tuning.judge_error import JudgeError, judge_error
from tierwise.tuning.labels import judge_of
from tierwise.tuning.ladders import ladder_outcomes, pairs_of, replayed
from tierwise.tuning.learning import Learned, learn, learned_outcomes
from tierwise.tuning.outcomes import Outcomes, Runner, levels_of, thresholds_of
from tierwise.tuning.self_harm import own_harm
from tierwise.tuning.space import (
    ACCEPTING,
    AGREEMENTS,
    FALLING,
    NEVER,
    SIGNALS,
    Route,
    SignalKind,
    Space,
    cascaded,
    reference_of,
    setting_of,
    variants_of,
    wanted_reference,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tierwise.certificate import Labels
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.pools.replaying import Replayed, Replayer
    from tierwise.tuning.evaluated import Floats, Numbers
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.checks import CheckChoice

_ALONE = "~"
"""Begins the names of settings that only this module sees; no tier's name can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """The space on one pool."""

    space: Space
    routes: tuple[Route, ...]
    """The settings, in the order of `evaluated.names`."""
    evaluated: Evaluated
    orders: int
    own_harm: float
    """E[p (1 - p)] over tasks: how often two independent answers of the reference are wrong and right. By agreement:
    how often two of them differ."""
    is_least: bool
    """Whether the reference's harm to itself is at least this: its orders share draws."""
    largest: Mapping[str, float]
    """Dollars of the dearest action of each fixed tier."""
    left_out: tuple[str, ...]
    """Why tiers are no part of the space, and whether learned combinations of signals are."""
    recorded: float = 0.0
    """Completion tokens of the pool for a task."""
    dearest: float = 0.0
    """Completion tokens of an action of the setting that takes the most."""
    labels: Labels = "check"
    """What tells a loss."""
    has_answers: bool = True
    """Whether the reference answers any task."""
    judge: JudgeError | None = None
    """With a judge, how often it errs."""
    agreeing: Mapping[tuple[str, tuple[str, bytes]], tuple[bool, ...]] | None = None
    """By agreement, whether each draw agrees (`tuning.agreement`); None where draws are graded."""

    @property
    def inference(self) -> float:
        """What was recorded, as a multiple of the dearest setting's inference on the same tasks; 0 if not known."""
        return self.recorded / self.dearest if self.dearest else 0.0

    def index(self, tier: str) -> int:
        """The setting that is a tier served alone."""
        return self.routes.index(Route(ladder=(tier,)))


def search_space(
    replayer: Replayer,
    split: TaskSplit,
    *,
    reference: str = "",
    orders: int = 8,
    seed: int = 0,
    labels: Labels = "check",
    checks: Mapping[str, CheckChoice] | None = None,
    ended: Callable[[str], None] = lambda _: None,
) -> Searched:
    """Replay what the space is made of, and evaluate every setting.

    Args:
        replayer: of the pool.
        split: of the pool's tasks. Thresholds are chosen on its tuning part.
        reference: a tier; empty to choose.
        orders: of each task's draws.
        seed: of the orders.
        labels: what tells a loss.
        checks: with a judge, the tasks' own checks, by task id.
        ended: called with what has been done.

    Raises:
        SpecError: the pool answers fewer than two tiers, an answer cannot be graded, or all tiers are the same.
    """
    pool, plan = replayer.pool, replayer.pool.plan
    run = Runner(replayer, orders, seed, labels, checks)
    actions, left_out = _fixed_tiers(run, replayer, wanted_reference(plan, reference))
    ended(f"replayed {len(actions)} tiers")
    costs = {name: float(np.mean([one.dollars for one in of])) for name, of in actions.items()}
    chosen = reference_of(plan, reference, costs)
    _require_different(actions, chosen)
    space = _space(run, plan, chosen, costs)
    run.baseline = actions[chosen]
    outcomes, why = _outcomes_of(run, space, split, actions, ended)
    routes = tuple(outcomes)
    own, is_least = own_harm(run, chosen, outcomes[Route(ladder=(chosen,))])
    return Searched(
        space=space,
        routes=routes,
        evaluated=_evaluated(pool, split, routes, [outcomes[one] for one in routes], outcomes[Route(ladder=(chosen,))]),
        orders=orders,
        labels=labels,
        own_harm=own,
        has_answers=any(one.answer is not None for one in run.baseline),
        judge=judge_error(run, checks) if checks else None,
        agreeing=agreeing_draws(run, chosen) if by_agreement(labels) else None,
        is_least=is_least,
        largest={name: max(one.dollars for one in of) for name, of in actions.items()},
        left_out=(*left_out, *why),
        recorded=pool.tokens,
        dearest=run.dearest,
    )


def _outcomes_of(
    run: Runner,
    space: Space,
    split: TaskSplit,
    actions: Mapping[str, Sequence[Replayed]],
    ended: Callable[[str], None],
) -> tuple[dict[Route, Outcomes], list[str]]:
    """What every setting does, and why others are left out.

    Args:
        run: with the actions of the reference.
        space: what is searched.
        split: of the pool's tasks.
        actions: of each tier that the pool answers.
        ended: called with what has been done.
    """
    plan, tuning = run.plan, split.tuning
    fixed = {name: run.outcomes(of, "") for name, of in actions.items()}
    weights = np.array([task.task.weight for task in run.pool.tasks])
    of, lacking = run.possible(_bases(plan, space), _variants(plan, space))
    ladders, too_short = replayed(run, space, pairs_of(space, fixed, tuning, weights), _ALONE)
    ended(f"replayed {len(of) + 2 * len(ladders)} routes")
    first = dict(_first(run, space, of))
    learned = {
        cheap: learn(cheap, levels, accepted.correct, accepted.kept > 0, tuning, split.units)
        for cheap, (levels, accepted) in first.items()
    }
    outcomes = {
        **{Route(ladder=(name,)): one for name, one in fixed.items()},
        **dict(_outcomes(run, space, of, first, tuning)),
        **dict(_learned_outcomes(run, space, of, first, learned, tuning)),
        **dict(ladder_outcomes(run, space, ladders, first, tuning)),
    }
    return outcomes, [*_said(lacking), *too_short, *(one.said for one in learned.values() if one.said)]


def _fixed_tiers(run: Runner, replayer: Replayer, wanted: str) -> tuple[dict[str, list[Replayed]], list[str]]:
    """The actions of the tiers that the pool answers, and why others are left out.

    Args:
        run: of the pool.
        replayer: of the same pool.
        wanted: the tier that is the reference if the pool answers it; empty for any.

    Raises:
        SpecError: there are fewer than two, or the pool has not the draws of the wanted one in every order.
    """
    plan, judge = replayer.pool.plan, judge_of(run.labels)
    names = [name for name in plan.file.tiers if not isinstance(plan.tiers[name].policy.member, Cascade)]
    if judge in names and wanted != judge and not _has_draws(replayer.pool, judge):
        names.remove(judge)  # it only judges
    settings = {one.name: one for one in tiers_as_settings(plan, names).settings} if names else {}
    fixed, left_out = replayer.answerable(list(settings.values()))
    actions, lacking = run.possible({one.name: one for one in fixed})
    left_out += [f"{name} is left out: {why}" for name, why in lacking.items()]
    if wanted in settings and wanted not in actions:
        with suppress(SpecError):  # another reason than draws: then another tier is the reference
            lacking |= run.possible({wanted: settings[wanted]})[1]
    if wanted in lacking:
        raise SpecError(f"the reference {wanted!r} cannot be replayed: {lacking[wanted]}", field="--pool")
    if len(actions) < 2:
        why = "; ".join(left_out) or "the config file has one tier"
        raise SpecError(
            f"there is nothing to choose from: the pool answers {len(actions)} of {len(names)} tiers ({why}). Record a "
            "pool of a cheap and a strong tier"
        )
    return actions, left_out


def _has_draws(pool: Pool, tier: str) -> bool:
    plan = pool.plan
    return pool.source(plan.runs_as[plan.deployment_of(tier)], plan.tiers[tier].sampling.fields()) is not None


def _space(run: Runner, plan: Plan, reference: str, costs: Mapping[str, float]) -> Space:
    """What is searched.

    Args:
        run: of the pool.
        plan: the config file.
        reference: the tier that routes are compared with.
        costs: dollars of an action of each tier that the pool answers.
    """
    cheaper = [name for name in costs if costs[name] < costs[reference]]
    return Space(
        reference=reference,
        fixed=tuple(costs),
        cheap=tuple(sorted(cheaper, key=lambda name: costs[name])),
        variants=tuple(variants_of(plan, reference)),
        agreements=tuple(n for n in AGREEMENTS if n <= run.pool.manifest.settings.repeats),
        kinds=_kinds(run.pool),
        may_combine=not run.offers_tools.any(),
    )


def _kinds(pool: Pool) -> tuple[SignalKind, ...]:
    """The signals that have thresholds. Without the recorded number of alternatives, what refuses every answer of a
    request that offers tools is not known.
    """
    recorded = pool.manifest.settings.pool
    has_alternatives = recorded is not None and has_k(recorded.top_logprobs, ALTERNATIVES)
    return SIGNALS if has_alternatives or not any(task.task.tools for task in pool.tasks) else ()


_Base = tuple[str, str, tuple[CascadeSignal, ...]]
"""What must be replayed: a cheap tier, a last tier, and the signals between them."""


def _bases(plan: Plan, space: Space) -> dict[_Base, Setting]:
    """What all settings follow from. A variant has no cheap tier and no signals."""
    refusing = tuple(_refusing(space))
    found = _variants(plan, space)
    for cheap in space.cheap:
        bases: list[_Base] = [(cheap, space.reference, ACCEPTING)]
        for top in space.tops:
            bases += [(cheap, top.ladder[0], signals) for signals in refusing]
        for base in bases:
            found[base] = cascaded(f"{_ALONE}{len(found)}", base[:2], space.reference, *base[2])
    return found


def _variants(plan: Plan, space: Space) -> dict[_Base, Setting]:
    return {("", one.name, ()): setting_of(plan, one) for one in space.variants}


def _refusing(space: Space) -> Iterator[tuple[CascadeSignal, ...]]:
    """What happens to an answer that a threshold does not accept, and agreement alone: log-probabilities, which are
    asked for where there is a threshold, show which equal draws are copies.
    """
    yield (NEVER,)
    for n in space.agreements:
        yield (CascadeSignal(agreement=n),)
        if space.may_combine:
            yield (NEVER, CascadeSignal(agreement=n))


_First = tuple[dict[SignalKind, "Floats"], Outcomes]
"""The signals of a cheap tier's answers, and what the route does that accepts all of them."""


def _first(run: Runner, space: Space, of: Mapping[_Base, Sequence[Replayed]]) -> Iterator[tuple[str, _First]]:
    for cheap in space.cheap:
        if (actions := of.get((cheap, space.reference, ACCEPTING))) is None:
            continue
        levels = {kind: levels_of(run, cheap, kind, actions) for kind in space.kinds}
        yield cheap, (levels, run.outcomes(actions, space.reference))


def _outcomes(
    run: Runner,
    space: Space,
    of: Mapping[_Base, Sequence[Replayed]],
    first_of: Mapping[str, _First],
    tuning: Numbers,
) -> Iterator[tuple[Route, Outcomes]]:
    """Of every setting with one step, or none, but the fixed tiers."""
    based = {base: run.outcomes(actions, base[1]) for base, actions in of.items() if base[2] != ACCEPTING}
    thresholds = {
        (cheap, kind): thresholds_of(kind, level, accepted.kept > 0, tuning)
        for cheap, (levels, accepted) in first_of.items()
        for kind, level in levels.items()
    }
    for route in space.routes(thresholds):
        if route.is_fixed:
            continue
        cheap, last = route.ladder if len(route.ladder) > 1 else ("", *route.ladder)
        first, *rest = route.signals or (None,)
        if first is None or first.agreement is not None:
            if (alone := based.get((cheap, last, route.signals))) is not None:
                yield route, alone
            continue
        kind = cast("SignalKind", first.kind)
        levels, anything = first_of[cheap]
        level = levels[kind]
        accepted = level <= first.member if kind in FALLING else level >= first.member
        if not space.may_combine:  # an answer without the signal is accepted where the request offers tools
            accepted |= np.isnan(level) & run.offers_tools[:, None]
        refused = based.get((cheap, last, tuple(rest) if rest and not first.needs_logprobs else (NEVER, *rest)))
        if refused is not None:
            yield route, anything.where(accepted, refused)


def _learned_outcomes(
    run: Runner,
    space: Space,
    of: Mapping[_Base, Sequence[Replayed]],
    first: Mapping[str, _First],
    learned: Mapping[str, Learned],
    tuning: Numbers,
) -> Iterator[tuple[Route, Outcomes]]:
    used = [(cheap, top.ladder[0]) for cheap, one in learned.items() if one.signal is not None for top in space.tops]
    refusing = {
        (cheap, top): run.outcomes(of[cheap, top, (NEVER,)], top) for cheap, top in used if (cheap, top, (NEVER,)) in of
    }
    accepting = {cheap: accepted for cheap, (_, accepted) in first.items()}
    yield from learned_outcomes(space, learned, accepting, refusing, tuning, run.offers_tools)


def _said(lacking: Mapping[_Base, str]) -> Iterator[str]:
    """Why routes, or a variant of the reference, are left out: once for each pair of tiers and reason."""
    seen: dict[tuple[str, str], str] = {}
    for (cheap, last, _), why in lacking.items():
        seen.setdefault((cheap, last), why)
    for (cheap, last), why in seen.items():
        yield f"{f'some routes {cheap} → {last} are' if cheap else f'{last} is'} left out: {why}"


def _require_different(actions: Mapping[str, Sequence[Replayed]], reference: str) -> None:
    """Raises if every tier gives the reference's answers at its price.

    Raises:
        SpecError: names the tiers.
    """

    def seen(of: Sequence[Replayed]) -> list[tuple[str | None, float]]:
        return [(None if one.answer is None else one.answer.text, one.dollars) for one in of]

    if all(seen(of) == seen(actions[reference]) for of in actions.values()):
        raise SpecError(
            f"all tiers ({', '.join(actions)}) are the same on this pool: equal answers at equal prices. Give them "
            "different deployments, policies or sampling"
        )


def _evaluated(
    pool: Pool, split: TaskSplit, routes: Sequence[Route], of: Sequence[Outcomes], reference: Outcomes
) -> Evaluated:
    """All settings as arrays.

    Raises:
        SpecError: answers could not be graded.
    """
    ungraded = np.flatnonzero(np.isnan(np.stack([one.correct for one in of])).any(axis=(0, 2))).tolist()
    if ungraded:
        ids = ", ".join(pool.tasks[index].task.id for index in ungraded[:3])
        raise SpecError(
            f"the answers to {len(ungraded)} of {len(pool.tasks)} tasks cannot be graded on a pool ({ids}, …): a judge "
            "graded what was recorded, and cannot grade what a route chooses. Give these tasks a check, or remove them"
        )
    harm = [(1 - one.correct) * reference.correct for one in of]
    missed = [(1 - one.truth) * reference.truth * (1 - seen) for one, seen in zip(of, harm, strict=True)]
    is_judged = not np.isnan(reference.truth).all()
    return Evaluated(
        names=tuple(route.name for route in routes),
        tasks=tuple(task.task.id for task in pool.tasks),
        units=split.units,
        weights=np.array([task.task.weight for task in pool.tasks]),
        correct=_means(one.correct for one in of),
        harm=_means(harm),
        gain=_means(one.correct * (1 - reference.correct) for one in of),
        first_harm=np.stack([one[:, 0] for one in harm]),
        missed=_means(missed) if is_judged else None,
        first_missed=np.stack([one[:, 0] for one in missed]) if is_judged else None,
        disagreement=_means(one.differs for one in of),
        kept=_means(one.kept for one in of),
        kept_wrong=_means(one.kept * (1 - one.correct) for one in of),
        dollars=_means(one.dollars for one in of),
        seconds=np.stack([one.seconds for one in of]),
    )


def _means(values: Iterable[Floats]) -> Floats:
    return np.stack([one.mean(axis=1) for one in values])
