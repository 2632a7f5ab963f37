"""A learned combination of a tier's signals as a signal of routes, where it is worth more than what there is.

It is fitted to the tuning tasks, and used only if two intervals of its AUROC on tasks that it was not fitted to exclude
no gain: the paired one over the best single signal (`pools.combining`), and the one over a fixed tier, which treats all
answers alike and so has an AUROC of ½.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tierwise.policies.acceptance import CascadeSignal
from tierwise.policies.learned import LearnedSignal, SignalWeight
from tierwise.pools.combining import Combination, combination
from tierwise.tuning.outcomes import quantiles
from tierwise.tuning.space import FALLING, Route, SignalKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from tierwise.tuning.evaluated import Floats, Numbers
    from tierwise.tuning.outcomes import Mask, Outcomes
    from tierwise.tuning.space import Space

_DIGITS = 6
"""Significant digits of a weight, as it is written into the config file."""
_OF_A_FIXED_TIER = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned of one cheap tier."""

    tier: str
    signal: LearnedSignal | None
    """Accepts everything that has its signals; None if it is refused."""
    said: str
    """What it gains, or why it is refused; empty if there are too few signals to combine."""
    levels: Floats = field(repr=False)
    """Of each answer, tasks × orders; not a number where there is none."""


def learn(
    tier: str, levels: Mapping[SignalKind, Floats], correct: Floats, kept: Mask, tuning: Numbers, units: Numbers
) -> Learned:
    """Learn a combination of a tier's signals.

    Args:
        tier: its name.
        levels: of each signal, tasks × orders.
        correct: of the tier's answers.
        kept: whether an answer is the tier's own.
        tuning: the tuning tasks.
        units: the independent unit of each task.
    """
    there = {kind: level for kind, level in levels.items() if not np.isnan(level).all()}
    nothing = np.full(correct.shape, np.nan)
    has = kept & ~np.isnan(correct)
    for level in there.values():
        has &= ~np.isnan(level)
    rows = np.zeros_like(has)
    rows[tuning] = has[tuning]
    values: dict[str, list[float | None]] = {
        str(kind): (-level if kind in FALLING else level)[rows].tolist() for kind, level in there.items()
    }
    found = combination(values, (correct[rows] > 0).tolist(), units[np.nonzero(rows)[0]].tolist())
    if found is None:
        return Learned(tier=tier, signal=None, said="", levels=nothing)
    if why := found.why_not or _why_no_better_than_a_tier(found):
        said = f"tier {tier!r}: a learned combination of its signals is not used: {why}"
        return Learned(tier=tier, signal=None, said=said, levels=nothing)
    signal = _signal(found)
    at = np.full(correct.shape, np.nan)
    for place in np.argwhere(has).tolist():
        task, order = place
        chance = signal.probability(lambda kind: float(there[kind][task, order]))  # noqa: B023 - called at once
        at[task, order] = np.nan if chance is None else chance
    return Learned(tier=tier, signal=signal, said=_gained(tier, found), levels=at)


def _why_no_better_than_a_tier(found: Combination) -> str:
    area = found.auroc
    if area is not None and area.interval is not None and area.interval.low > _OF_A_FIXED_TIER:
        return ""
    shown = "unknown" if area is None else f"{area.value:.3f}"
    return f"its AUROC is {shown}, and its interval does not exclude the ½ of a fixed tier"


def _gained(tier: str, found: Combination) -> str:
    gain = found.gain
    assert gain is not None and gain.interval is not None  # noqa: S101, PT018 - it is not refused
    ends = f"[{gain.interval.low:+.3f}, {gain.interval.high or 0.0:+.3f}]"
    beyond = f"its AUROC beyond {found.best} is {gain.value:+.3f} {ends}"
    return f"tier {tier!r}: routes may use a learned combination of its signals: {beyond}"


def _signal(found: Combination) -> LearnedSignal:
    """Its weights per unit of each signal, as a config file has them."""
    intercept, weights = found.constant, []
    for one in found.weights:
        slope = one.weight / one.scale
        intercept -= slope * one.mean
        kind = msgspec.convert(one.signal, SignalKind)
        weights.append(SignalWeight(signal=kind, weight=_rounded(-slope if kind in FALLING else slope)))
    return LearnedSignal(least=0.0, intercept=_rounded(intercept), weights=tuple(weights))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def learned_outcomes(
    space: Space,
    learned: Mapping[str, Learned],
    accepting: Mapping[str, Outcomes],
    refusing: Mapping[tuple[str, str], Outcomes],
    tuning: Numbers,
    offers_tools: NDArray[np.bool_],
) -> Iterator[tuple[Route, Outcomes]]:
    """What every route by a learned combination does.

    Args:
        space: that is searched.
        learned: of each cheap tier.
        accepting: of each cheap tier, what the route does that accepts all of its answers.
        refusing: of each cheap tier and last tier, what the route does that accepts none; without those that the pool
            has too few draws for.
        tuning: the tuning tasks, on which thresholds are chosen.
        offers_tools: of each task, whether its request does.
    """
    for cheap, one in learned.items():
        if one.signal is None:
            continue
        anything = accepting[cheap]
        for least in quantiles(one.levels[tuning][anything.kept[tuning] > 0], falls=False):
            signal = CascadeSignal(learned=msgspec.structs.replace(one.signal, least=least))
            accepted = one.levels >= least
            if not space.may_combine:  # an answer without the signal is accepted where the request offers tools
                accepted |= np.isnan(one.levels) & offers_tools[:, None]
            for top in space.tops:
                if (cheap, top.ladder[0]) not in refusing:
                    continue
                route = Route(ladder=(cheap, *top.ladder), signals=(signal,), variant=top.variant)
                yield route, anything.where(accepted, refusing[cheap, top.ladder[0]])
