"""Whether a probability means what it says: its calibration, by isotonic regression, and the error that is left.

Everything is cross-fitted: the probability of an answer comes from a fit that did not see its cluster. A fit judged on
its own answers looks calibrated whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from tierwise.stats.clusters import rate
from tierwise.stats.estimates import Interval

Floats = NDArray[np.float64]
Predict = Callable[[Floats], Floats]
"""Probabilities of rows of features."""

FOLDS = 5
BINS = 10
_RIDGE = 1.0
"""Penalty of the squared weights of standardised features, as `C=1` of scikit-learn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Answers with similar scores."""

    low: float
    """The lowest score."""
    high: float
    answers: int
    predicted: float
    """The mean probability that was predicted for them."""
    right: float
    """The share that is right."""
    interval: Interval | None
    """95 % of that share, for clusters; None for a single one."""


def folds(clusters: Sequence[Hashable], count: int = FOLDS) -> NDArray[np.int64]:
    """The fold of each answer. A cluster is in one fold, and folds have about as many clusters."""
    names = list(dict.fromkeys(clusters))
    order = np.random.default_rng(0).permutation(len(names)) % count
    fold = dict(zip(names, order.tolist(), strict=True))
    return np.array([fold[one] for one in clusters], dtype=np.int64)


def cross_fitted(
    features: Floats, right: NDArray[np.bool_], fold: NDArray[np.int64], fit: Callable[[Floats, Floats], Predict]
) -> Floats:
    """The probability of each answer, from a fit on the other folds.

    Args:
        features: answers × features.
        right: whether each is right.
        fold: of each answer.
        fit: fits features to outcomes.
    """
    found = np.empty(len(features))
    for number in np.unique(fold):
        own = fold == number
        found[own] = fit(features[~own], right[~own].astype(np.float64))(features[own])
    return found


def isotonic(features: Floats, right: Floats) -> Predict:
    """The probability rises with the first feature, and is constant between the answers that it was fitted to (Zadrozny
    and Elkan 2002).
    """
    values, places = np.unique(features[:, 0], return_inverse=True)
    counts = np.bincount(places).astype(np.float64)
    shares = np.bincount(places, weights=right) / counts
    fitted = isotonic_regression(shares, weights=counts).x
    return lambda rows: np.interp(rows[:, 0], values, fitted)


def logistic(features: Floats, right: Floats) -> Predict:
    """A logistic regression with a ridge penalty on standardised features; a constant one has no weight."""
    means, scales = features.mean(axis=0), features.std(axis=0)
    scales = np.where(scales > 0, scales, 1.0)
    weights, constant = logistic_weights((features - means) / scales, right)
    return lambda rows: expit((rows - means) / scales @ weights + constant)


def logistic_weights(features: Floats, right: Floats) -> tuple[Floats, float]:
    """The weights and the constant that minimise log-loss + ½ · the sum of squared weights."""
    signs = 2 * right - 1

    def loss(at: Floats) -> tuple[float, Floats]:
        margins = signs * (features @ at[:-1] + at[-1])
        slopes = -signs * expit(-margins)
        value = float(np.logaddexp(0, -margins).sum() + _RIDGE / 2 * at[:-1] @ at[:-1])
        return value, np.append(features.T @ slopes + _RIDGE * at[:-1], slopes.sum())

    found = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"gtol": 1e-8}).x
    return np.asarray(found[:-1], dtype=np.float64), float(found[-1])


def reliability(
    scores: Sequence[float], predicted: Floats, right: Sequence[bool], clusters: Sequence[Hashable]
) -> tuple[Bin, ...]:
    """A reliability diagram: deciles of the scores, with what was predicted and what was right. Equal scores are in one
    bin, so there may be fewer.
    """
    values = np.asarray(scores, dtype=np.float64)
    outcome = np.asarray(right, dtype=np.float64)
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
    places = np.searchsorted(edges, values, side="right")
    found = []
    for place in np.unique(places):
        inside = np.flatnonzero(places == place)
        sums: dict[Hashable, list[float]] = {}
        for index in inside.tolist():
            of = sums.setdefault(clusters[index], [0.0, 0.0])
            of[0] += outcome[index]
            of[1] += 1
        share = rate([one for one, _ in sums.values()], [size for _, size in sums.values()])
        found.append(
            Bin(
                low=float(values[inside].min()),
                high=float(values[inside].max()),
                answers=len(inside),
                predicted=float(predicted[inside].mean()),
                right=float(outcome[inside].mean()),
                interval=None if share is None else share.interval,
            )
        )
    return tuple(found)


def calibration_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error: the mean distance of predicted and right shares over the answers (Naeini et al.
    2015). Chance alone adds to it: about .8 / √(answers of a bin) · √(p (1 - p)). None without answers.
    """
    total = sum(one.answers for one in bins)
    return sum(one.answers * abs(one.predicted - one.right) for one in bins) / total if total else None
