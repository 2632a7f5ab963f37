"""Which chain of settings is tested: the one that is expected to certify the cheapest setting.

Judged on the tuning tasks alone, so the confidence of the tests is not touched. The cheapest setting that keeps its
promise on the tuning tasks is often there by luck, and the stricter versions of it may all harm: a route to a vote of 6
is wrong where a vote of 11 is right, however strict its threshold is. So the tests are rehearsed: on resamples of the
tuning tasks, as large as the calibration part, each chain is walked as it would be there. Its score is the mean cost of
the cheapest setting that passes, or of the reference where none does. The test is rehearsed too: a bet of one of
several sizes on the mean loss of a task's orders, or the exact test on one order. A draw at a temperature is wrong in
some orders, and a bet needs far fewer tasks for such losses; the exact test is better where few losses are allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tierwise.stats.promises import Losses, winnings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tierwise.tuning.evaluated import Floats

RESAMPLES = 400
BETS = (0.9, 0.95, 0.8, 0.99, 0.7, 0.6, 0.5)
"""Sizes of bets that are rehearsed, as parts of the largest one; the first of equally good ones is taken."""
EXACT = 0.0
"""Stands for the exact test among sizes of bets."""
LARGEST_BET = max(BETS)
_SURE = 1e-12


def nested_chains(kept: Floats, dollars: Floats, starts: Iterable[int]) -> list[tuple[int, ...]]:
    """Chains of settings of which each keeps all that the dearer ones keep, and more; one through each start.

    The thresholds of one signal are such a chain. Harm grows along it, so a strict threshold passes where a looser one
    does, and a test of it costs nothing. The Pareto set alone leaves out all but the loosest threshold without a loss
    on the tuning tasks, and fails at once where that one harms.

    Args:
        kept: settings × tasks, the share that is not passed on to the last tier.
        dollars: of each setting.
        starts: settings.

    Returns:
        Different chains, each by the numbers of its settings.
    """
    order = np.argsort(dollars, kind="stable").tolist()
    more = np.stack([(kept >= one).all(axis=1) & (kept > one).any(axis=1) for one in kept])
    """[i, j]: j keeps all that i keeps, and more."""
    cheaper = dollars[None, :] < dollars[:, None]
    looser, stricter = (more & cheaper).tolist(), (more.T & cheaper.T).tolist()

    def climb(start: int, steps: list[list[bool]], along: list[int]) -> list[int]:
        found = [start]
        for one in along:
            if steps[found[-1]][one]:
                found.append(one)
        return found

    chains = {tuple(sorted({*climb(start, stricter, order), *climb(start, looser, order[::-1])})) for start in starts}
    return sorted(chains)


def largest_rate(limit: float, delta: float, units: int, *, is_plain: bool) -> float:
    """The largest share of losses with which a test on this many equal units passes; negative if none does.

    Args:
        limit: the promised share.
        delta: the level of the test.
        units: independent units.
        is_plain: whether the exact test is used.
    """
    low, high = -1, units
    while low + 1 < high:
        lost = (low + high) // 2
        values = (1.0,) * lost + (0.0,) * (units - lost)
        losses = Losses(values=values, weights=(1.0,) * units, is_plain=is_plain, tasks=units)
        low, high = (lost, high) if losses.p_value(limit, delta=delta) <= delta else (low, lost)
    return low / units if units else -1.0


def rehearsed(
    harm: Floats,
    weights: Floats,
    limit: float,
    delta: float,
    *,
    exposure: Floats,
    units: int,
    most: float,
    is_plain: bool,
    seed: int = 0,
) -> dict[float, NDArray[np.bool_]]:
    """Which settings pass on resamples of the tuning part, for each size of bets; `EXACT` is the exact test.

    A setting without a loss on the tuning tasks is not without any. So one unit is added, whose loss is the largest
    that the setting can have on average: its exposure. Of two settings without a loss, the one that is at stake less
    often is then the safer one.

    Args:
        harm: settings × units of the tuning part: the weighted sum of their losses.
        weights: of these units.
        limit: the promised share.
        delta: the level of the test.
        exposure: of each setting, the share of tasks on which it can lose.
        units: of the calibration part.
        most: the largest weight of a unit.
        is_plain: whether the exact test is valid: for independent units of equal weight, on one order of the draws.
        seed: of the resamples.

    Returns:
        By size of bets: settings × resamples. Without bets where every loss is 0 or 1 and the exact test is valid.
    """
    mean = weights.mean()
    harm = np.concatenate([harm, exposure[:, None] * mean], axis=1)
    weights = np.append(weights, mean)
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(units, np.full(len(weights), 1 / len(weights)), size=RESAMPLES).T
    found = {}
    if is_plain:
        rate = largest_rate(limit, delta, units, is_plain=True)
        losses = harm / mean
        sure = losses >= 1 - _SURE
        lost = sure @ drawn + generator.poisson(np.where(sure, 0.0, losses) @ drawn)  # in one order of each task
        found[EXACT] = lost / units <= rate + _SURE
        if sure[:, :-1].sum() == losses[:, :-1].sum():
            return found
    excesses = (harm - limit * weights) / most
    enough = np.log(1 / delta) - _SURE
    return found | {bet: winnings(excesses, limit, bet) @ drawn >= enough for bet in BETS}


def best_chain(
    chains: Iterable[Sequence[int]],
    passes: Mapping[float, NDArray[np.bool_]],
    dollars: Floats,
    *,
    reference: float,
) -> tuple[Sequence[int], float]:
    """The chain with the lowest expected cost, and the size of bets with which it has that; of equal ones that with
    which most passes.

    Args:
        chains: settings, by number; each in the order of its tests.
        passes: what passes on resamples, by size of bets (`rehearsed`).
        dollars: of each setting.
        reference: dollars of what is served where nothing passes.

    Raises:
        ValueError: there is no chain.
    """

    def cost(one: tuple[Sequence[int], float]) -> tuple[float, float]:
        several = np.asarray(one[0], dtype=np.int64)
        walked = np.logical_and.accumulate(passes[one[1]][several], axis=0)
        costs = np.where(walked, dollars[several][:, None], np.inf).min(axis=0)
        return float(np.minimum(costs, reference).mean()), -float(walked.mean())

    found = [(chain, bet) for chain in chains for bet in passes]
    if not found:
        raise ValueError("there is no chain to choose from")
    return min(found, key=cost)
