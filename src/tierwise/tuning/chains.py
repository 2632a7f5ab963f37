"""Which chain of settings is tested: the one that is expected to certify the cheapest setting.

Judged on the tuning tasks alone, so the confidence of the tests is not touched. The cheapest setting that keeps its
promise on the tuning tasks is often there by luck, and the stricter versions of it may all harm: a route to a vote of 6
is wrong where a vote of 11 is right, however strict its threshold is. So the tests are rehearsed: on resamples of the
tuning tasks, as large as the calibration part, each chain is walked as it would be there. Its score is the mean cost of
the cheapest setting that passes, or of the reference where none does.
Where tests are bets, their size is rehearsed too.
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
    harm: Floats, weights: Floats, limit: float, delta: float, *, units: int, most: float, is_plain: bool, seed: int = 0
) -> dict[float, NDArray[np.bool_]]:
    """Which settings pass on resamples of the tuning part, for each size of bets; the size is 0 for the exact test.

    Args:
        harm: settings × units of the tuning part: the weighted sum of their losses.
        weights: of these units.
        limit: the promised share.
        delta: the level of the test.
        units: of the calibration part.
        most: the largest weight of a unit.
        is_plain: whether the exact test is used.
        seed: of the resamples.

    Returns:
        By size of bets: settings × resamples.
    """
    drawn = np.random.default_rng(seed).multinomial(units, np.full(harm.shape[1], 1 / harm.shape[1]), size=RESAMPLES)
    if is_plain:
        rate = largest_rate(limit, delta, units, is_plain=True)
        return {0.0: harm / weights.mean() @ drawn.T / units <= rate + _SURE}
    excesses = (harm - limit * weights) / most
    enough = np.log(1 / delta) - _SURE
    return {bet: winnings(excesses, limit, bet) @ drawn.T >= enough for bet in BETS}


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
