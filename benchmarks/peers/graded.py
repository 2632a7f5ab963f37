"""Correct answers per token: which share of a workload each way solves, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tierwise.stats.clusters import rate

Floats = NDArray[np.float64]

RESAMPLES = 4000


@dataclass(slots=True, kw_only=True)
class Graded:
    """The answers of one way to all tasks, each asked several times: arrays of tasks × repeats."""

    system: str
    policy: str
    way: str
    correct: list[list[bool]] = field(default_factory=list)
    processed: list[list[int]] = field(default_factory=list)
    """Prompt tokens that the engine computed; what its cache had is not among them."""
    predicted: list[list[int]] = field(default_factory=list)
    """Completion tokens of the engine."""
    sent: list[list[int]] = field(default_factory=list)
    """Prompt tokens of all calls, cached or not."""
    told: list[list[int]] = field(default_factory=list)
    """Completion tokens that the system reported to its client."""
    seconds: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def begin_task(self) -> None:
        for rows in (self.correct, self.processed, self.predicted, self.sent, self.told, self.seconds):
            rows.append([])

    @property
    def tokens(self) -> Floats:
        """Tokens that the engine computed, by task."""
        return np.asarray((np.array(self.processed) + np.array(self.predicted)).sum(1), dtype=np.float64)

    @property
    def solved(self) -> Floats:
        """Correct answers, by task."""
        return np.asarray(np.array(self.correct).sum(1), dtype=np.float64)

    @property
    def trials(self) -> int:
        return sum(map(len, self.correct))

    @property
    def is_uniform(self) -> bool:
        """Whether no answer is correct, or all are."""
        return self.solved.sum() in (0, self.trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate with a 95 % interval.

    It is the middle of the bootstrap distribution over tasks. A way that solves none or all of the tasks has no such
    distribution: its interval follows from that of the rate (`tierwise.stats.clusters.rate`).
    """

    value: float
    low: float
    high: float


def resampled(tasks: int, seed: int = 0) -> NDArray[np.int64]:
    """How often each task is in each bootstrap sample: samples × tasks. The same for all ways, which are so paired."""
    draw = np.random.default_rng(seed)
    return draw.multinomial(tasks, np.full(tasks, 1 / tasks), size=RESAMPLES)


def accuracy(one: Graded, weights: NDArray[np.int64]) -> Interval:
    each = one.trials / len(one.solved)
    if one.is_uniform:
        return _certain(one)
    return _interval(one.solved.sum() / one.trials, weights @ one.solved / (weights.sum(1) * each))


def per_thousand(one: Graded, weights: NDArray[np.int64]) -> Interval:
    """Correct answers per 1,000 tokens."""
    if one.is_uniform:
        share, scale = _certain(one), 1000 * one.trials / float(one.tokens.sum())
        return Interval(value=share.value * scale, low=share.low * scale, high=share.high * scale)
    return _interval(1000 * one.solved.sum() / one.tokens.sum(), 1000 * (weights @ one.solved) / (weights @ one.tokens))


def ratio_per_token(one: Graded, other: Graded, weights: NDArray[np.int64]) -> Interval:
    """Correct answers per token of one way, in multiples of another's. Infinite where the other has none: then the
    lower end is that of our interval over the upper end of the other's.
    """

    def per_token(way: Graded, by: Floats | NDArray[np.int64]) -> Floats:
        found: Floats = (by @ way.solved) / (by @ way.tokens)
        return found

    whole = np.ones((1, len(one.solved)))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = per_token(one, whole) / per_token(other, whole)
        drawn = per_token(one, weights) / per_token(other, weights)
    if not other.solved.any():
        low = per_thousand(one, weights).low / per_thousand(other, weights).high
        return Interval(value=float(value[0]), low=low, high=np.inf)
    return _interval(float(value[0]), np.where(np.isnan(drawn), np.inf, drawn))


def at_equal_tokens(ours: Sequence[Graded], other: Graded, weights: NDArray[np.int64]) -> tuple[Interval, Interval]:
    """Our accuracy at the tokens that another way spends, and the difference to its accuracy.

    Our ways are points of tokens and accuracy, on whose upper hull any budget is spent by using two of them, each on a
    random part of the requests; see `hull_at`.
    """

    def figures(by: Floats | NDArray[np.int64]) -> tuple[float, float]:
        trials = by.sum() * other.trials / len(other.solved)
        points = [(float(by @ way.tokens) / trials, float(by @ way.solved) / trials) for way in ours]
        mine = hull_at(points, float(by @ other.tokens) / trials)
        return mine, mine - float(by @ other.solved) / trials

    value = figures(np.ones(len(other.solved)))
    drawn = np.array([figures(row) for row in weights])
    return _interval(value[0], drawn[:, 0]), _interval(value[1], drawn[:, 1])


def hull_at(points: Sequence[tuple[float, float]], tokens: float) -> float:
    """The largest accuracy that a mixture of the points reaches with so many tokens on average.

    No tokens solve nothing, and tokens may be left over: the hull starts at the origin and never falls.
    """
    known = [(0.0, 0.0), *points]
    best = max((share for cost, share in known if cost <= tokens), default=0.0)
    for cost, share in known:
        for dearer, more in known:
            if cost <= tokens < dearer:
                part = (tokens - cost) / (dearer - cost)
                best = max(best, share + part * (more - share))
    return best


def best_of(ways: Sequence[Graded], weights: NDArray[np.int64]) -> Graded:
    """The way with the most correct answers per token."""
    return max(ways, key=lambda way: per_thousand(way, weights).value)


def by_policy(ways: Sequence[Graded], system: str) -> Mapping[str, Graded]:
    return {way.policy: way for way in ways if way.system == system}


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return Interval(value=float(value), low=float(low), high=float(high))


def _certain(one: Graded) -> Interval:
    """The rate of a way whose answers are all correct, or all wrong."""
    found = rate(one.solved.tolist(), [float(len(row)) for row in one.correct], "tasks")
    if found is None or found.interval is None or found.interval.high is None:  # a single task tells nothing
        return Interval(value=float(one.solved.any()), low=0.0, high=1.0)
    return Interval(value=found.value, low=found.interval.low, high=found.interval.high)
