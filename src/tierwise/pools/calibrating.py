"""Which signal of confidence tells right from wrong answers on a pool, and the calibrations of those that do.

A vote needs a signal that does so within questions; a route needs one that does so over all answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs
from scipy.optimize import isotonic_regression

from tierwise.policies.signals import ALTERNATIVES, SIGNALS, Cut
from tierwise.pools.combining import Combination, combination
from tierwise.stats import confidence
from tierwise.stats.discrimination import auroc, pairs_won, within_question_auroc
from tierwise.stats.estimates import Estimate, Interval
from tierwise.stats.reliability import Bin, calibration_error, cross_fitted, folds, isotonic, reliability
from tierwise.stopping import Calibration
from tierwise.stopping.confidence import LEAST_AUROC, weight

if TYPE_CHECKING:
    from tierwise.pools.draws import Draw
    from tierwise.pools.reading import Pool
    from tierwise.pools.sources import Source
    from tierwise.spec.call import Completion

RESAMPLES = 2000
STEPS = 10
"""Pairs of a curve, at most: each has the same number of answers."""
LEAST_ANSWERS = 20
"""Answers with a signal from which on one is calibrated."""
KEPT = 0.9
"""Share of passes that a suggested cut lets through (DeepConf's `high`)."""
LEAST_GAIN = 0.02
"""By how much the share of wrong passes that a useful cut ends is larger than that of right ones."""
TEMPERATURES = (5.0, 2.0, 1.0, 0.5, 0.2, 0.1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One graded draw."""

    task: str
    unit: str
    """The cluster of its task, or the task."""
    is_right: bool
    vote: str | None
    completion: Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalResult:
    """How one signal discriminates."""

    signal: str
    answers: int
    questions: int
    """With both right and wrong answers; only these say something."""
    auroc: float | None
    """Within questions; None without any such question."""
    interval: Interval | None
    """95 %, from a bootstrap over questions."""
    overall: Estimate | None
    """The AUROC of all answers, with an interval over questions, or over clusters if the tasks have them."""
    reliability: tuple[Bin, ...]
    """Deciles of the signal: the share that is right, and what isotonic regression on other questions predicts."""
    calibration_error: float | None
    """Expected calibration error of these predictions, from 0 to 1."""
    isotonic: tuple[tuple[float, float], ...]
    """The calibration of all answers: pairs of a value of the signal and the share of right answers, both rising."""
    calibration: Calibration | None
    """For votes; None if the signal is refused."""
    why_not: str = ""
    """Why it is refused for votes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutResult:
    """A cut, and the share of passes that it would end."""

    cut: Cut
    right: float
    wrong: float

    @property
    def is_useful(self) -> bool:
        """Whether it ends clearly more of the wrong answers than of the right ones."""
        return self.wrong - self.right >= LEAST_GAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What was measured for the draws of one tier in one thinking mode."""

    tier: str
    deployment: str
    thinking: bool
    alternatives: int
    """`top_logprobs` of the pool; 0 without."""
    signals: tuple[SignalResult, ...]
    """The most discriminating first."""
    combination: Combination | None
    """Of all signals; None with fewer than two."""
    cut: CutResult | None
    """None if passes are too short, or the pool has another number of alternatives than a cut asks for."""

    @property
    def best(self) -> SignalResult | None:
        """The most discriminating signal that can be used."""
        return next((one for one in self.signals if one.calibration is not None), None)


def calibrate(
    pool: Pool, agreeing: Mapping[tuple[str, tuple[str, bytes]], Sequence[bool]] | None = None
) -> list[Calibrated]:
    """Measure every signal on every deployment and sampling of a pool, thinking and plain answers apart.

    Args:
        pool: with log-probabilities.
        agreeing: what counts as right in place of the tasks' checks: of each draw, by task id and `Source.key`. Draws
            that are not in it are left out.
    """
    settings = pool.manifest.settings.pool
    alternatives = 0 if settings is None else settings.top_logprobs
    found = []
    for source in pool.sources:
        for thinking in (False, True):
            answers = [one for one in _answers(pool, source, agreeing) if bool(one.completion.reasoning) is thinking]
            if answers:
                found.append(_calibrated(source, thinking, answers, alternatives))
    return found


def _answers(
    pool: Pool, source: Source, agreeing: Mapping[tuple[str, tuple[str, bytes]], Sequence[bool]] | None
) -> Iterator[Answered]:
    for task in pool.tasks:
        draws = task.draws[source.key]
        graded: Sequence[bool | None] = [one.correct for one in draws]
        if agreeing is not None:
            graded = agreeing.get((task.task.id, source.key), [None] * len(draws))
        for draw, is_right in zip(draws, graded, strict=True):
            if is_right is not None and not draw.failure and draw.completion.finish != "length":
                yield Answered(
                    task=task.task.id,
                    unit=task.task.cluster or task.task.id,
                    is_right=is_right,
                    vote=draw.vote,
                    completion=_with_logprobs(draw),
                )


def _with_logprobs(draw: Draw) -> Completion:
    return draw.part(draw.count, logprobs=True).completion


def _calibrated(source: Source, thinking: bool, answers: Sequence[Answered], alternatives: int) -> Calibrated:
    values = {name: [signal.value(one.completion) for one in answers] for name, signal in SIGNALS.items()}
    signals = [_measured(name, thinking, answers, several, alternatives) for name, several in values.items()]
    signals.sort(key=lambda one: (one.calibration is None, -(one.auroc or 0.0)))
    return Calibrated(
        tier=source.tier,
        deployment=source.deployment,
        thinking=thinking,
        alternatives=alternatives,
        signals=tuple(signals),
        combination=_combination(values, answers),
        cut=_cut(answers) if alternatives == ALTERNATIVES else None,
    )


def _combination(values: Mapping[str, Sequence[float | None]], answers: Sequence[Answered]) -> Combination | None:
    """Of the answers that have any signal; a signal that one of them lacks takes no part."""
    kept = [place for place, _ in enumerate(answers) if any(several[place] is not None for several in values.values())]
    return combination(
        {name: [several[place] for place in kept] for name, several in values.items()},
        [answers[place].is_right for place in kept],
        [answers[place].unit for place in kept],
    )


def _measured(
    name: str, thinking: bool, answers: Sequence[Answered], values: Sequence[float | None], alternatives: int
) -> SignalResult:
    scored = [(one, value) for one, value in zip(answers, values, strict=True) if value is not None]
    questions: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for one, value in scored:
        questions[one.task].append((value, one.is_right))
    counted = np.array([pairs_won(of) for of in questions.values()]).reshape(-1, 2)
    counted = counted[counted[:, 1] > 0]
    within = within_question_auroc(questions.values())
    interval = _interval(counted) if len(counted) > 1 else None
    why_not, calibration = _why_not(len(scored), within, interval), None
    known, right, units = [value for _, value in scored], [one.is_right for one, _ in scored], _units(scored)
    curve = _curve(known, right) if scored else ()
    bins = _reliability(known, right, units)
    if not why_not and within is not None:
        if len(curve) < 2:
            why_not = "all answers have the same signal"
        else:
            made = Calibration(
                signal=name,
                auroc=round(within, 3),
                curve=curve,
                alternatives=alternatives if SIGNALS[name].needs_alternatives else 0,
                thinking=thinking,
            )
            calibration = structs.replace(made, temperature=_temperature(made, scored))
    return SignalResult(
        signal=name,
        answers=len(scored),
        questions=len(counted),
        auroc=within,
        interval=interval,
        overall=auroc(known, right, units),
        reliability=bins,
        calibration_error=calibration_error(bins),
        isotonic=curve,
        calibration=calibration,
        why_not=why_not,
    )


def _units(scored: Sequence[tuple[Answered, float]]) -> list[str]:
    return [one.unit for one, _ in scored]


def _reliability(values: Sequence[float], right: Sequence[bool], units: Sequence[str]) -> tuple[Bin, ...]:
    """Empty with too few answers, or with one question only."""
    if len(values) < LEAST_ANSWERS or len(set(units)) < 2:
        return ()
    features = np.array(values)[:, None]
    predicted = cross_fitted(features, np.array(right, dtype=bool), folds(units), isotonic)
    return reliability(values, predicted, right, units)


def _why_not(answers: int, auroc: float | None, interval: Interval | None) -> str:
    if answers < LEAST_ANSWERS:
        return f"{answers} answers have it, {LEAST_ANSWERS} are needed"
    if auroc is None or interval is None:
        return "fewer than two questions have right and wrong answers"
    if auroc < LEAST_AUROC:
        return f"below {LEAST_AUROC:g}"
    return "" if interval.low > 0.5 else "it may be chance: the interval includes .5"


def _interval(counted: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> Interval:
    """Of the ratio of pairs won to all pairs; questions are drawn whole."""
    drawn = np.random.default_rng(0).integers(0, len(counted), (RESAMPLES, len(counted)))
    sums = counted[drawn].sum(axis=1)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], (2.5, 97.5))
    return Interval(float(low), float(high))


def _curve(values: Sequence[float], right: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """The share of right answers by the signal, rising: isotonic regression over groups of equal size."""
    order = np.argsort(values, kind="stable")
    groups = [part for part in np.array_split(order, min(STEPS, len(order))) if len(part)]
    places = [float(np.mean([values[index] for index in part])) for part in groups]
    shares = [float(np.mean([right[index] for index in part])) for part in groups]
    fitted = isotonic_regression(shares, weights=[len(part) for part in groups]).x
    pairs: dict[float, float] = {}
    for place, share in zip(places, fitted, strict=True):
        pairs[round(place, 4)] = round(float(share), 3)
    return tuple(sorted(pairs.items()))


def _temperature(calibration: Calibration, scored: Sequence[tuple[Answered, float]]) -> float:
    """The one whose weighted votes of all draws are most often right; the highest of equal ones."""
    tasks: dict[str, list[tuple[Answered, float]]] = defaultdict(list)
    for one, value in scored:
        if one.vote is not None:
            tasks[one.task].append((one, calibration.probability(value)))

    def solved(temperature: float) -> int:
        return sum(_elected(votes, temperature) for votes in tasks.values())

    return max(TEMPERATURES, key=lambda temperature: (solved(temperature), temperature))


def _elected(votes: Sequence[tuple[Answered, float]], temperature: float) -> bool:
    """Whether the answer with the largest weight is right."""
    totals: dict[str | None, float] = defaultdict(float)
    right: dict[str | None, bool] = {}
    for one, sure in votes:
        totals[one.vote] += weight(sure, temperature)
        right.setdefault(one.vote, one.is_right)
    return right[max(totals, key=lambda vote: totals[vote])]


def _cut(answers: Sequence[Answered]) -> CutResult | None:
    """The cut that lets nine of ten passes through, and the share of right and wrong ones that it ends."""
    values = [(one.is_right, confidence.confidences(one.completion.logprobs)) for one in answers]
    window = confidence.window_for(float(np.median([len(tokens) for _, tokens in values])))
    lowest = [(is_right, _lowest(tokens, window)) for is_right, tokens in values]
    filled = [level for _, level in lowest if level is not None]
    if len(filled) < LEAST_ANSWERS:
        return None
    below = round(float(np.percentile(filled, 100 * (1 - KEPT))), 3)

    def ended(which: bool) -> float:
        levels = [level for is_right, level in lowest if is_right is which]
        return sum(level is not None and level < below for level in levels) / len(levels) if levels else 0.0

    return CutResult(cut=Cut(below=below, window=window), right=ended(True), wrong=ended(False))


def _lowest(tokens: Sequence[float], window: int) -> float | None:
    """The lowest mean of a full window; None for a shorter pass."""
    sliding = confidence.SlidingMean(window)
    return min((mean for value in tokens if (mean := sliding.add(value)) is not None), default=None)
