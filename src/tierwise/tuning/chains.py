"""Which chain of settings is tested: the one that is expected to certify the cheapest setting.

Judged on the tuning tasks alone, so the confidence of the tests is not touched. The cheapest setting that keeps its
promise on the tuning tasks is often there by luck, and the stricter versions of it may all harm: a route to a vote of 6
is wrong where a vote of 11 is right, however strict its threshold is. So the tests are rehearsed: on resamples of the
tuning tasks, as large as the calibration part, each chain is walked as it would be there. Its score is the mean cost of
the cheapest setting that passes, or of the reference where none does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tierwise.stats.promises import Losses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tierwise.tuning.evaluated import Floats

RESAMPLES = 400
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


def best_chain(
    chains: Iterable[Sequence[int]],
    harm: Floats,
    dollars: Floats,
    *,
    reference: float,
    rate: float,
    units: int,
    seed: int = 0,
) -> Sequence[int]:
    """The chain with the lowest expected cost.

    Args:
        chains: settings, by number; each in the order of its tests.
        harm: settings × units of the tuning part; its weighted mean over the units is the risk.
        dollars: of each setting.
        reference: dollars of what is served where nothing passes.
        rate: the largest share of losses with which a test passes (`largest_rate`).
        units: of the calibration part.
        seed: of the resamples.

    Raises:
        ValueError: there is no chain.
    """
    drawn = np.random.default_rng(seed).multinomial(units, np.full(harm.shape[1], 1 / harm.shape[1]), size=RESAMPLES)
    passes = harm @ drawn.T / units <= rate + _SURE

    def cost(chain: Sequence[int]) -> float:
        several = np.asarray(chain, dtype=np.int64)
        walked = np.logical_and.accumulate(passes[several], axis=0)
        costs = np.where(walked, dollars[several][:, None], np.inf).min(axis=0)
        return float(np.minimum(costs, reference).mean())

    found = list(chains)
    if not found:
        raise ValueError("there is no chain to choose from")
    return min(found, key=cost)
