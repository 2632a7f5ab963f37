"""Populations of tasks whose risk is known, for benchmarks/promises.py: synthetic ones, and recorded pools.

A route serves the cheap tier's answer where a signal is at least a threshold, and asks the reference elsewhere. It
harms a task if the served answer is wrong and the reference's is right. Both share the reference's draws, so an action
that asks the reference is never harmed.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import special

from real_pools import opened
from tierwise.policies.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.pools.reading import Pool

Floats = NDArray[np.float64]
Generator = np.random.Generator

WRONG = 0.31
"""Share of the cheap tier's answers that are wrong, in synthetic populations."""
DRAWS = 4
REPEATED, CLUSTERED = 0.85, 0.4
"""Correlation of a task's draws, and of a cluster's tasks, on the scale of the normal distribution behind them. On the
recorded pools, the harm of draws of a task has an intraclass correlation of .58 and .82 where 30 % are served."""
SIZES = ((1, 3, 6), (0.5, 0.3, 0.2))
"""Tasks of a cluster, and how many clusters have them."""
WEIGHTS = ((1.0, 2.0, 4.0), (0.5, 0.3, 0.2))
HARDER = (0.9, 1.0)
"""How often the cheap tier is wrong in the smallest and the middle group of sizes or weights, relative to the mean of
the population. In the largest group it is wrong more often, so who ignores sizes or weights sees too little harm."""
POOL_SIGNALS = ("span_probability", "margin", "tail_confidence", "entropy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Tasks with what the cheap tier's draws would do to them."""

    scores: Floats
    """Signals × tasks × draws; higher is surer."""
    harm: Floats
    """Tasks × draws: the harm if this draw is served, averaged over the draws of a random reference."""
    wrong: Floats
    """Tasks × draws: whether the answer is wrong."""
    weights: Floats
    clusters: NDArray[np.int64]

    @property
    def tasks(self) -> int:
        return len(self.harm)

    def only(self, tasks: NDArray[np.int64]) -> Sample:
        return replace(
            self,
            scores=self.scores[:, tasks],
            harm=self.harm[tasks],
            wrong=self.wrong[tasks],
            weights=self.weights[tasks],
            clusters=self.clusters[tasks],
        )

    def served(self, signal: int, threshold: float) -> NDArray[np.bool_]:
        """Tasks × draws: whether the route serves this draw."""
        found: NDArray[np.bool_] = self.scores[signal] >= threshold
        return found

    def shuffled(self, generator: Generator) -> Sample:
        """With the draws of each task in a random order."""
        order = generator.permuted(np.broadcast_to(np.arange(self.harm.shape[1]), self.harm.shape), axis=1)
        return replace(
            self,
            scores=np.take_along_axis(self.scores, order[None], axis=2),
            harm=np.take_along_axis(self.harm, order, axis=1),
            wrong=np.take_along_axis(self.wrong, order, axis=1),
        )


def joined(first: Sample, second: Sample) -> Sample:
    """The tasks of two samples. A cluster belongs to one of them."""
    apart = first.clusters.max() + 1 if first.clusters[0] >= 0 else 0
    return Sample(
        scores=np.concatenate((first.scores, second.scores), axis=1),
        harm=np.concatenate((first.harm, second.harm)),
        wrong=np.concatenate((first.wrong, second.wrong)),
        weights=np.concatenate((first.weights, second.weights)),
        clusters=np.concatenate((first.clusters, second.clusters + apart)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Of a threshold, in the whole population."""

    risk: float
    """Weighted share of all traffic that is harmed."""
    served: float
    """Weighted share of traffic that the cheap tier serves."""
    selective: float
    """Share of the served answers that are wrong; 0 if none is served."""


class Population(Protocol):
    """Where samples come from."""

    @property
    def name(self) -> str: ...

    @property
    def is_plain(self) -> bool:
        """Whether tasks are independent and count equally."""

    def split(self, generator: Generator, tuning: int, tasks: int) -> tuple[Sample, Sample]:
        """Two disjoint random samples."""

    def truth(self, signal: int, threshold: float) -> Truth: ...

    def oracle(self, limit: float) -> float:
        """The largest share that can be served cheaply at a true risk within the limit."""


# ── synthetic ───────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Scores s are uniform, and the cheap tier is wrong with probability .93 (1 - s)²: on 31 % of all tasks, and
    .31 q³ is the harm if the surest share q is served. The reference is always right.
    """

    name: str
    draws: int = 1
    groups: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Sizes of clusters or weights of tasks, and how often they occur. Larger ones are harder."""
    clustered: bool = False

    @property
    def is_plain(self) -> bool:
        return self.groups is None

    def split(self, generator: Generator, tuning: int, tasks: int) -> tuple[Sample, Sample]:
        return self.sample(generator, tuning), self.sample(generator, tasks)

    def sample(self, generator: Generator, tasks: int) -> Sample:
        """Of clusters, as many as have this number of tasks on average."""
        count = round(tasks / float(np.dot(*self.groups))) if self.clustered and self.groups is not None else tasks
        weights, harder = self._groups(generator, count)
        clusters = np.full(count, -1)
        shared = np.zeros(count)
        if self.clustered:
            clusters = np.repeat(np.arange(count), weights.astype(int))
            shared = generator.standard_normal(count)[clusters]
            harder, weights, tasks = harder[clusters], np.ones(len(clusters)), len(clusters)
        part = CLUSTERED if self.clustered else 0.0
        latent = np.sqrt(part) * shared + np.sqrt(1 - part) * generator.standard_normal(tasks)
        part = REPEATED if self.draws > 1 else 1.0
        own = generator.standard_normal((tasks, self.draws))
        latent = np.sqrt(part) * latent[:, None] + np.sqrt(1 - part) * own
        score = generator.random(tasks)
        chance = harder * 3 * WRONG * (1 - score) ** 2
        wrong = (special.ndtr(latent) < chance[:, None]).astype(float)
        scores = np.repeat(score[:, None], self.draws, axis=1)[None]
        return Sample(scores=scores, harm=wrong, wrong=wrong, weights=weights, clusters=clusters)

    def _groups(self, generator: Generator, count: int) -> tuple[Floats, Floats]:
        """The size or weight of each of `count` groups, and how hard it is relative to the mean."""
        if self.groups is None:
            return np.ones(count), np.ones(count)
        sizes, often = (np.array(one, dtype=float) for one in self.groups)
        part = sizes * often / (sizes * often).sum()  # of all traffic
        harder = np.array([*HARDER, (1 - part[:2] @ np.array(HARDER)) / part[2]])
        drawn = generator.choice(len(sizes), count, p=often)
        return sizes[drawn], harder[drawn]

    def truth(self, signal: int, threshold: float) -> Truth:
        assert signal == 0
        served = 1 - min(1.0, max(0.0, threshold))
        return Truth(risk=WRONG * served**3, served=served, selective=WRONG * served**2)

    def oracle(self, limit: float) -> float:
        return float(min(1.0, (limit / WRONG) ** (1 / 3)))


SYNTHETIC = (
    Synthetic(name="equal tasks"),
    Synthetic(name=f"{DRAWS} draws of a task", draws=DRAWS),
    Synthetic(name="clusters", groups=SIZES, clustered=True),
    Synthetic(name="weights", groups=WEIGHTS),
)


# ── recorded ────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A pool of two models: the truth is the mean over all its tasks and draws."""

    name: str
    whole: Sample
    own_harm: float
    """How often a random reference would harm itself, if another draw of it were taken: the mean of p (1 - p)."""
    is_plain: bool = True

    def split(self, generator: Generator, tuning: int, tasks: int) -> tuple[Sample, Sample]:
        order = generator.permutation(self.whole.tasks)
        whole = self.whole.shuffled(generator)
        return whole.only(order[:tuning]), whole.only(order[tuning : tuning + tasks])

    def truth(self, signal: int, threshold: float) -> Truth:
        served = self.whole.served(signal, threshold)
        count = served.sum()
        return Truth(
            risk=float((served * self.whole.harm).mean()),
            served=float(served.mean()),
            selective=float(self.whole.wrong[served].mean()) if count else 0.0,
        )

    def oracle(self, limit: float) -> float:
        best = 0.0
        for scores in self.whole.scores:
            order = np.argsort(-scores, axis=None, kind="stable")
            lost = np.cumsum(self.whole.harm.ravel()[order]) / order.size
            values = scores.ravel()[order]
            ends = np.append(values[1:] < values[:-1], True)  # equal scores are served together
            within = ends & (lost <= limit + 1e-12)
            best = max(best, float((np.flatnonzero(within)[-1] + 1) / order.size) if within.any() else 0.0)
        return best


def recorded(packed: Path) -> tuple[Recorded, Recorded]:
    """A packed pool with the majority of the reference's draws as the reference, and with one draw of it."""
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(packed, Path(folder))
        scores, wrong, right, elected = _arrays(pool)
    name = packed.name.removesuffix(".tar.xz").replace("-", " ")
    share = right.mean(axis=1, keepdims=True)
    plain = Sample(
        scores=scores,
        harm=wrong * elected[:, None],
        wrong=wrong,
        weights=np.ones(len(wrong)),
        clusters=np.full(len(wrong), -1),
    )
    return (
        Recorded(name=f"{name}, majority", whole=plain, own_harm=0.0),
        Recorded(
            name=f"{name}, one draw",
            whole=replace(plain, harm=wrong * share),
            own_harm=float((share * (1 - share)).mean()),
        ),
    )


def _arrays(pool: Pool) -> tuple[Floats, Floats, Floats, Floats]:
    """Signals of the cheap model's draws, whether they are wrong, whether the reference's are right, and whether the
    majority of those is.
    """
    cheap, reference = (source.key for source in pool.sources)
    scores = [[[_value(name, draw) for draw in task.draws[cheap]] for task in pool.tasks] for name in POOL_SIGNALS]
    wrong = [[float(not draw.correct) for draw in task.draws[cheap]] for task in pool.tasks]
    right = [[float(bool(draw.correct)) for draw in task.draws[reference]] for task in pool.tasks]
    elected = [_elected([(draw.vote, bool(draw.correct)) for draw in task.draws[reference]]) for task in pool.tasks]
    return np.array(scores), np.array(wrong), np.array(right), np.array(elected, dtype=float)


def _value(name: str, draw: object) -> float:
    value = SIGNALS[name].value(draw.part(draw.count, logprobs=True).completion)  # type: ignore[attr-defined]
    return -np.inf if value is None else value


def _elected(votes: Sequence[tuple[str | None, bool]]) -> bool:
    """Whether the most frequent answer is right; the first of equals."""
    keys = [key for key, _ in votes]
    leader = max(range(len(votes)), key=lambda one: (keys.count(keys[one]), -one))
    return votes[leader][1]
