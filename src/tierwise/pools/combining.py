"""A learned combination of signals, and whether it is worth more than the best single one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tierwise.stats.discrimination import auroc, auroc_gain
from tierwise.stats.estimates import Estimate
from tierwise.stats.reliability import cross_fitted, folds, logistic, logistic_weights

LEAST_UNITS = 50
"""Questions, or clusters, from which on a combination is learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One signal of a combination: it adds `weight · (value - mean) / scale` to the log-odds."""

    signal: str
    mean: float
    scale: float
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """A logistic regression over all signals, beside the best single one on the same answers."""

    best: str
    """The single signal with the highest AUROC of all answers. It is chosen on these answers, which favours it."""
    auroc: Estimate | None
    """Of the combination, each answer by a fit on the questions of other folds."""
    gain: Estimate | None
    """That minus the best single signal's, paired."""
    weights: tuple[Weighed, ...]
    """Fitted to all answers; empty if it is refused."""
    constant: float
    why_not: str
    """Why it is refused; empty if it is not."""


def combination(
    values: Mapping[str, Sequence[float | None]], right: Sequence[bool], units: Sequence[Hashable]
) -> Combination | None:
    """Learn a combination, and measure its gain on answers that it was not fitted to.

    Args:
        values: of each signal, for every answer.
        right: whether each answer is right.
        units: the cluster of each answer's question, or the question.

    Returns:
        None with fewer than two signals.
    """
    complete = {name: list(several) for name, several in values.items() if all(one is not None for one in several)}
    distinct = {name: several for name, several in complete.items() if len(set(several)) > 1}
    singles = {
        name: found.value for name, several in distinct.items() if (found := auroc(_known(several), right, units))
    }
    if len(singles) < 2:
        return None
    best = max(singles, key=lambda name: singles[name])
    features = np.array([_known(distinct[name]) for name in singles]).T
    outcome = np.asarray(right, dtype=bool)
    count = len(set(units))
    if count < LEAST_UNITS:
        why_not = f"{count} questions have answers, {LEAST_UNITS} are needed"
        return Combination(best=best, auroc=None, gain=None, weights=(), constant=0.0, why_not=why_not)
    scores = cross_fitted(features, outcome, folds(units), logistic).tolist()
    gain = auroc_gain(scores, _known(distinct[best]), right, units)
    why_not = _why_not(best, gain)
    weights: tuple[Weighed, ...] = ()
    constant = 0.0
    if not why_not:
        means, scales = features.mean(axis=0), features.std(axis=0)
        fitted, constant = logistic_weights((features - means) / scales, outcome.astype(np.float64))
        columns = zip(singles, means.tolist(), scales.tolist(), fitted.tolist(), strict=True)
        weights = tuple(Weighed(signal=name, mean=mean, scale=scale, weight=one) for name, mean, scale, one in columns)
    return Combination(
        best=best,
        auroc=auroc(scores, right, units),
        gain=gain,
        weights=weights,
        constant=constant,
        why_not=why_not,
    )


def _known(values: Sequence[float | None]) -> list[float]:
    return [one for one in values if one is not None]


def _why_not(best: str, gain: Estimate | None) -> str:
    if gain is None or gain.interval is None:
        return "right and wrong answers of several questions are needed"
    if gain.interval.low > 0:
        return ""
    ends = f"[{gain.interval.low:+.3f}, {gain.interval.high or 0.0:+.3f}]"
    return f"its AUROC beyond {best} is {gain.value:+.3f} {ends}, which does not exclude 0: use {best}"
