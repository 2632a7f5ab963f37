"""Routes over two cheaper tiers: a cheap one, a middle one, and the reference.

Each step has its own signal and its own threshold, so the two outcomes of each step are replayed, and all pairs of
thresholds follow from them, as for one step (`tuning.evaluate`). A product of all signals would be a search among
thousands of settings on few tasks: each step takes the signal that tells right from wrong best on the tuning tasks, and
few quantiles of it.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from tierwise.policies import Cascade
from tierwise.pools.grid import Setting
from tierwise.spec.budget import Budget
from tierwise.stats.discrimination import auroc
from tierwise.tuning.outcomes import levels_of, thresholds_of
from tierwise.tuning.space import ACCEPTING, FALLING, NEVER, Route, SignalKind, signal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.pools.replaying import Replayed
    from tierwise.tuning.evaluated import Floats, Numbers
    from tierwise.tuning.outcomes import Mask, Outcomes, Runner
    from tierwise.tuning.space import Space

STEP_QUANTILES = 12
"""Thresholds of each step, at most."""
MOST_LADDERS = 3
"""Pairs of a cheap and a middle tier, at most."""

Pair = tuple[str, str]
"""The cheap and the middle tier."""


def pairs_of(space: Space, fixed: Mapping[str, Outcomes], tuning: Numbers, weights: Floats) -> tuple[Pair, ...]:
    """The pairs of tiers before the reference that could pay, the best first.

    With signals that are never wrong, an action costs what its tiers cost up to the first that is right. A pair for
    which this is no less than for one of its two tiers alone before the reference cannot pay.

    Args:
        space: with its cheap tiers.
        fixed: what each tier does alone.
        tuning: the tuning tasks.
        weights: of all tasks.
    """

    def ideal(*ladder: str) -> float:
        *cheaper, last = (fixed[name] for name in ladder)
        dollars = last.dollars[tuning]
        for tier in reversed(cheaper):
            dollars = tier.dollars[tuning] + (1 - np.nan_to_num(tier.correct[tuning])) * dollars
        return float(np.average(dollars.mean(axis=1), weights=weights[tuning]))

    found: dict[Pair, float] = {}
    for pair in combinations(space.cheap, 2):
        cost = ideal(*pair, space.reference)
        if cost < min(ideal(one, space.reference) for one in pair):
            found[pair] = cost
    return tuple(sorted(found, key=lambda pair: found[pair])[:MOST_LADDERS])


def replayed(
    run: Runner, space: Space, pairs: Sequence[Pair], alone: str
) -> tuple[dict[Pair, list[list[Replayed]]], list[str]]:
    """What follows where the middle tier's answer is accepted, and where neither is.

    Args:
        run: of the pool.
        space: with the reference.
        pairs: of tiers.
        alone: begins the names of the settings.

    Returns:
        The actions of both for each pair, and why other pairs are left out.
    """
    settings = {}
    for number, pair in enumerate(pairs):
        for place, accepting in enumerate((ACCEPTING, (NEVER,))):
            policy = Cascade(ladder=(*pair, space.reference), steps=((NEVER,), accepting))
            name = f"{alone}ladder{number}.{place}"
            settings[pair, place] = Setting(
                name=name, tier=space.reference, policy=policy, verifier=None, budget=Budget()
            )
    done, lacking = run.possible(settings)
    short = {pair: why for (pair, _), why in lacking.items()}
    found = {pair: [done[pair, place] for place in (0, 1)] for pair in pairs if pair not in short}
    return found, [f"routes {' → '.join((*pair, space.reference))} are left out: {why}" for pair, why in short.items()]


def ladder_outcomes(
    run: Runner,
    space: Space,
    actions: Mapping[Pair, Sequence[Sequence[Replayed]]],
    first: Mapping[str, tuple[Mapping[SignalKind, Floats], Outcomes]],
    tuning: Numbers,
) -> Iterator[tuple[Route, Outcomes]]:
    """What every route over a pair of tiers does.

    Args:
        run: of the pool.
        space: that is searched.
        actions: of each pair, from `replayed`.
        first: of each cheap tier, the signals of its answers, and what the route does that accepts all of them.
        tuning: the tuning tasks, on which signals and thresholds are chosen.
    """
    for (cheap, middle), (accepting, refusing) in actions.items():
        if cheap not in first:
            continue  # its own route was left out
        accepted, refused = run.outcomes(accepting, space.reference), run.outcomes(refusing, space.reference)
        levels, cheaply = first[cheap]
        kept = np.array([one.asked == middle for one in accepting]).reshape(run.orders, -1).T
        of_middle = {kind: levels_of(run, middle, kind, accepting) for kind in space.kinds}
        lower = _step(run, space, levels, cheaply.correct, cheaply.kept > 0, tuning)
        upper = _step(run, space, of_middle, accepted.correct, kept, tuning)
        for second, by_middle in upper:
            passed_on = accepted.where(by_middle, refused)
            for one, by_cheap in lower:
                signals = (signal_of(*one), signal_of(*second))
                yield (
                    Route(ladder=(cheap, middle, space.reference), signals=signals),
                    cheaply.where(by_cheap, passed_on),
                )


def _step(
    run: Runner, space: Space, levels: Mapping[SignalKind, Floats], correct: Floats, kept: Mask, tuning: Numbers
) -> list[tuple[tuple[SignalKind, float], Mask]]:
    """The thresholds of one step with the answers that each accepts, by its best signal; none if it has no signal.

    Args:
        run: of the pool.
        space: that is searched.
        levels: of each signal.
        correct: of the step's answers.
        kept: whether an answer is the step's, and not of a tier before or after it.
        tuning: the tuning tasks.
    """
    kind = best_signal(levels, correct, kept, tuning)
    if kind is None:
        return []
    level = levels[kind]
    found: list[tuple[tuple[SignalKind, float], Mask]] = []
    for threshold in thresholds_of(kind, level, kept, tuning, STEP_QUANTILES):
        accepts = level <= threshold if kind in FALLING else level >= threshold
        if not space.may_combine:  # an answer without the signal is accepted where the request offers tools
            accepts |= np.isnan(level) & run.offers_tools[:, None]
        found.append(((kind, threshold), accepts & kept))
    return found


def best_signal(levels: Mapping[SignalKind, Floats], correct: Floats, kept: Mask, tuning: Numbers) -> SignalKind | None:
    """The signal with the highest AUROC of a tier's answers to the tuning tasks; None if none has one."""
    found: dict[SignalKind, float] = {}
    for kind, level in levels.items():
        has = kept[tuning] & ~np.isnan(level[tuning]) & ~np.isnan(correct[tuning])
        scores = (-level if kind in FALLING else level)[tuning][has]
        area = auroc(scores.tolist(), (correct[tuning][has] > 0).tolist(), np.nonzero(has)[0].tolist())
        if area is not None:
            found[kind] = area.value
    return max(found, key=lambda kind: found[kind], default=None)
