"""How well a score tells right answers from wrong ones: of the same question, and of all questions.

The AUROC of all answers is what a route by the score lives on. Its interval is that of Obuchowski (1997, Biometrics
53:567): DeLong's (1988), for answers that come in clusters, such as several draws of one question.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tierwise.stats.estimates import Estimate, Interval, wilson

Floats = NDArray[np.float64]

_TAIL = 0.025


def within_question_auroc(questions: Iterable[Sequence[tuple[float, bool]]]) -> float | None:
    """The share of pairs of a right and a wrong answer to one question in which the right one has the higher score.

    Ties count half. Pairs of all questions count alike, so a question with many draws of both kinds has more of them.
    Pairs across questions are left out: they mostly show which questions are easy.

    Args:
        questions: for each question, the score of each answer and whether it is right.

    Returns:
        From 0 to 1, ½ without discrimination; None if no question has both a right and a wrong answer.
    """
    counted = [pairs_won(answers) for answers in questions]
    pairs = sum(of for _, of in counted)
    return sum(won for won, _ in counted) / pairs if pairs else None


def pairs_won(answers: Sequence[tuple[float, bool]]) -> tuple[float, int]:
    """In how many pairs of a right and a wrong answer the right one has the higher score, ties counted half; and the
    number of pairs.
    """
    wrong = sorted(score for score, is_right in answers if not is_right)
    right = [score for score, is_right in answers if is_right]
    won = sum((bisect_left(wrong, score) + bisect_right(wrong, score)) / 2 for score in right)
    return won, len(right) * len(wrong)


def auroc(scores: Sequence[float], right: Sequence[bool], clusters: Sequence[Hashable]) -> Estimate | None:
    """The share of pairs of a right and a wrong answer, of any questions, in which the right one has the higher score.

    Ties count half. The interval is on the logit scale.

    Args:
        scores: of each answer.
        right: whether it is right.
        clusters: its question, or the cluster of its question.

    Returns:
        With the number of clusters; without an interval where right or wrong answers come from one cluster only. None
        if all answers are right, or all wrong.
    """
    found = _placements(np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool))
    if found is None:
        return None
    sums = _by_cluster(found, right, clusters)
    return Estimate(value=found.auroc, interval=_interval(found.auroc, sums), n=sums.clusters)


def auroc_gain(
    first: Sequence[float], second: Sequence[float], right: Sequence[bool], clusters: Sequence[Hashable]
) -> Estimate | None:
    """The first score's AUROC minus the second's, of the same answers. Arguments and None as for `auroc`."""
    outcome = np.asarray(right, dtype=bool)
    one, other = (_placements(np.asarray(scores, dtype=np.float64), outcome) for scores in (first, second))
    if one is None or other is None:
        return None
    gain = one.auroc - other.auroc
    sums = _by_cluster(_Placements(auroc=gain, values=one.values - other.values), right, clusters)
    interval = None
    if sums.degrees > 0:
        half = float(stats.t.ppf(1 - _TAIL, sums.degrees)) * sums.variance**0.5
        interval = Interval(max(-1.0, gain - half), min(1.0, gain + half))
    return Estimate(value=gain, interval=interval, n=sums.clusters)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placements:
    """The AUROC, and each answer's share in it: of a right answer, the share of wrong ones with a lower score; of a
    wrong one, the share of right ones with a higher score.
    """

    auroc: float
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    variance: float
    """Of the AUROC."""
    degrees: int
    """Of freedom: the clusters with right or with wrong answers, whichever are fewer, minus 1."""
    clusters: int


def _placements(scores: Floats, right: NDArray[np.bool_]) -> _Placements | None:
    above, below = np.sort(scores[right]), np.sort(scores[~right])
    if not len(above) or not len(below):
        return None
    lower = (np.searchsorted(below, scores, "left") + np.searchsorted(below, scores, "right")) / (2 * len(below))
    higher = 1 - (np.searchsorted(above, scores, "left") + np.searchsorted(above, scores, "right")) / (2 * len(above))
    values = np.where(right, lower, higher)
    return _Placements(auroc=float(values[right].mean()), values=values)


def _by_cluster(of: _Placements, right: Sequence[bool], clusters: Sequence[Hashable]) -> _Sums:
    numbers: dict[Hashable, int] = {}
    places = np.array([numbers.setdefault(one, len(numbers)) for one in clusters])
    outcome = np.asarray(right, dtype=bool)
    residuals = of.values - of.auroc
    right_sums, wrong_sums = (
        np.bincount(places[mask], weights=residuals[mask], minlength=len(numbers)) for mask in (outcome, ~outcome)
    )
    with_right, with_wrong = len(set(places[outcome].tolist())), len(set(places[~outcome].tolist()))
    m, n, degrees = int(outcome.sum()), int((~outcome).sum()), min(with_right, with_wrong) - 1
    if degrees < 1:
        return _Sums(variance=0.0, degrees=0, clusters=len(numbers))
    variance = (
        with_right / (with_right - 1) * float((right_sums**2).sum()) / m**2
        + with_wrong / (with_wrong - 1) * float((wrong_sums**2).sum()) / n**2
        + 2 * len(numbers) / (len(numbers) - 1) * float((right_sums * wrong_sums).sum()) / (m * n)
    )
    return _Sums(variance=max(0.0, variance), degrees=degrees, clusters=len(numbers))


def _interval(value: float, sums: _Sums) -> Interval | None:
    if sums.degrees < 1:
        return None
    if not 0 < value < 1 or sums.variance == 0:
        ends = wilson(round(value * (sums.degrees + 1)), sums.degrees + 1)  # as of as many single pairs
        return Interval(min(ends.low, value), max(ends.high or 1.0, value))
    half = float(stats.t.ppf(1 - _TAIL, sums.degrees)) * sums.variance**0.5 / (value * (1 - value))
    middle = float(special.logit(value))
    return Interval(float(special.expit(middle - half)), float(special.expit(middle + half)))
