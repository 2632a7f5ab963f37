"""How much of a saving any valid certificate could keep, for benchmarks/promises.py.

Take the route that serves a share q, a population P in which its risk is r < α, and another population P′ in which its
risk is α. A method that keeps its promise in every population serves at least q on P′ with probability at most δ. By
the lemma of Neyman and Pearson it then serves at least q on P with a probability of at most the power β(q) of the best
test of P′ against P at level δ. So its mean saving, from promises that are kept, is at most ∫ β(q) dq, from the share
at which a route begins to pay to the oracle's.

This holds for every P′. One that is hardest to tell from P has the density 1 / (1 - λ Z) relative to P, where Z is a
unit's share of the largest weight times its loss minus α, and λ is what makes it a density; where even λ = 1 / (1 - α)
leaves a rest, this is a unit of the largest weight that is wholly lost. With equal tasks and losses of 0 or 1 the best
test is the exact one, with a coin thrown for the last loss, and a sequence of infinitely many thresholds reaches the
bound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from populations import Recorded, Synthetic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from populations import Floats, Population, Sample

REPEATS = 2000
"""Samples that a power is estimated from."""
LARGE = 100_000
"""Tasks that a synthetic population is represented by."""
STEPS = 20
"""Shares that β is computed for."""
_ROUNDS = 50
_TIE = 1e-9


def ceiling(population: Population, limit: float, tasks: int, *, price: float, delta: float) -> float | None:
    """The largest share of the oracle's saving that a valid certificate keeps on average; None if the oracle saves
    nothing.

    For a pool: with the one signal with which most can be saved, as if it were known.

    Args:
        population: with known risks.
        limit: the promised risk.
        tasks: for the certificate.
        price: the share from which on serving pays.
        delta: 1 - confidence.
    """
    oracle = population.oracle(limit)
    if oracle <= price:
        return None
    generator = np.random.default_rng(tasks)
    if isinstance(population, Synthetic):
        whole = population.sample(generator, LARGE)
        units = round(tasks * len(np.unique(whole.clusters)) / whole.tasks) if population.clustered else tasks
        members = len(np.unique(whole.clusters)) if population.clustered else whole.tasks
        rows = generator.integers(0, members, size=(REPEATS, units))
        drawn = rows
    elif isinstance(population, Recorded):
        whole = population.whole
        rows = generator.integers(0, whole.tasks, size=(REPEATS, tasks))
        drawn = generator.random((REPEATS, whole.tasks)).argpartition(tasks, axis=1)[:, :tasks]
    else:
        raise TypeError(f"no ceiling is known for {type(population).__name__}")
    best = 0.0
    for signal in range(len(whole.scores)):
        shares, powers = [price], []
        for cut in _cuts(whole.scores[signal], price, oracle):
            found = whole.served(signal, cut)
            share = float((found.mean(axis=1) * whole.weights).sum() / whole.weights.sum())
            excesses = _excesses(whole, (found * whole.harm).mean(axis=1), limit)
            if excesses.mean() >= 0 or share <= shares[-1]:
                continue
            shares.append(share)
            powers.append(power(excesses, limit, rows, drawn, delta))
        if powers:
            best = max(best, float(np.trapezoid([powers[0], *powers], shares)))
    return min(1.0, best / (oracle - price))


def _cuts(scores: Floats, price: float, oracle: float) -> list[float]:
    """Thresholds from the share that pays to the oracle's."""
    found = np.quantile(scores, 1 - np.linspace(price, oracle, STEPS + 1), method="lower")
    return [float(cut) for cut in dict.fromkeys(found.tolist()) if np.isfinite(cut)]


def _excesses(whole: Sample, losses: Floats, limit: float) -> Floats:
    """Of each unit: its share of the largest weight times its loss minus the limit."""
    weights, lost = whole.weights, losses * whole.weights
    if whole.clusters[0] >= 0:
        weights = np.bincount(whole.clusters, weights=weights).astype(np.float64)
        lost = np.bincount(whole.clusters, weights=lost).astype(np.float64)
    found: Floats = (lost - limit * weights) / weights.max()
    return found


def power(excesses: Floats, limit: float, rows: NDArray[np.int64], drawn: NDArray[np.int64], delta: float) -> float:
    """The largest probability with which a valid test at level `delta` finds that a risk is within the limit.

    Args:
        excesses: of the units of a population, with a mean below 0.
        limit: the limit.
        rows: independent samples, by numbers of units: what the test must be valid for.
        drawn: samples as they are taken; other than `rows` if they are taken without replacement.
        delta: the level.
    """
    logs = -np.log1p(-_least_favourable(excesses, limit) * excesses)
    wealth, seen = -logs[rows].sum(axis=1), -logs[drawn].sum(axis=1)
    order = np.argsort(-wealth, kind="stable")
    level = np.cumsum(np.exp(-wealth[order])) / len(wealth)
    """How often the other population gives at least this."""
    place = int(np.searchsorted(level, delta))
    if place == len(level):
        return 1.0
    cut = wealth[order][place]
    above, at = wealth > cut + _TIE, np.abs(wealth - cut) <= _TIE
    tied = float(np.exp(-wealth[at]).sum()) / len(wealth)
    coin = (delta - float(np.exp(-wealth[above]).sum()) / len(wealth)) / tied
    return float((seen > cut + _TIE).mean() + min(1.0, max(0.0, coin)) * (np.abs(seen - cut) <= _TIE).mean())


def _least_favourable(excesses: Floats, limit: float) -> float:
    """λ, at which the mean of 1 / (1 - λ Z) is 1; the largest that is allowed if it is below 1 there."""
    low, high = 0.0, (1 - 1e-9) / (1 - limit)
    if np.mean(1 / (1 - high * excesses)) < 1:
        return high
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if np.mean(1 / (1 - middle * excesses)) < 1 else (low, middle)
    return low
