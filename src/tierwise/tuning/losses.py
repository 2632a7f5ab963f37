"""Losses of tasks by independent unit, as tests of a promise read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tierwise.stats.promises import Losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.tuning.evaluated import Evaluated, Floats, Numbers


def is_plain(evaluated: Evaluated, tasks: Sequence[int] | Numbers) -> bool:
    """Whether some tasks are independent of each other and count equally."""
    units, weights = evaluated.units[tasks], evaluated.weights[tasks]
    return not len(units) or bool(np.bincount(units).max() == 1 and weights.min() == weights.max())


def most_weight(evaluated: Evaluated, tasks: Sequence[int] | Numbers) -> float:
    """The weight of the heaviest unit of some tasks."""
    _, sums = sums_of(evaluated.units[tasks], evaluated.weights[tasks])
    return float(sums[0].max()) if len(tasks) else 0.0


def missed_losses(evaluated: Evaluated, setting: int, tasks: Sequence[int] | Numbers, *, most: float = 0.0) -> Losses:
    """The harm that a judge misses, on those of some tasks that have a check of their own."""
    assert evaluated.missed is not None and evaluated.first_missed is not None  # noqa: S101, PT018 - a judge told them
    checked = np.asarray(tasks)[has_checks(evaluated, tasks)]
    is_single = is_plain(evaluated, checked)
    values = (evaluated.first_missed if is_single else evaluated.missed)[setting]
    return losses_on(evaluated, np.nan_to_num(values), checked, most, is_single=is_single)


def has_checks(evaluated: Evaluated, tasks: Sequence[int] | Numbers) -> NDArray[np.bool_]:
    """Whether each of some tasks has a check beside the judge."""
    if evaluated.missed is None:
        return np.zeros(len(tasks), dtype=np.bool_)
    found: NDArray[np.bool_] = ~np.isnan(evaluated.missed[0][tasks])
    return found


def losses_on(
    evaluated: Evaluated,
    values: Floats,
    tasks: Sequence[int] | Numbers,
    most: float,
    *,
    share: Floats | None = None,
    is_single: bool = False,
    bet: float = 0.0,
) -> Losses:
    """The losses of some tasks by unit.

    Args:
        evaluated: with units and weights.
        values: the loss of each task of the workload.
        tasks: which of them.
        most: the weight of the heaviest unit of the population; that of these tasks if 0.
        share: how much of each task counts; all if not given.
        is_single: whether the values are of one order of the draws. A mean over several is no trial of a coin, even
            where it happens to be 0 or 1 for every task.
        bet: as in `Losses`.
    """
    weights = evaluated.weights[tasks]
    if is_single and share is None:
        several = tuple(values[tasks].tolist())
        return Losses(
            values=several, weights=tuple(weights.tolist()), is_plain=True, tasks=len(several), most_weight=most
        )
    weights = weights if share is None else weights * share[tasks]
    ones = np.ones(len(weights))
    _, (totals, losses, counts) = sums_of(evaluated.units[tasks], weights, weights * values[tasks], ones)
    used = totals > 0
    totals, losses, counts = totals[used], losses[used], counts[used]
    is_single = is_single or evaluated.seconds.shape[2] == 1
    counts_alike = is_single and bool((counts == 1).all()) and len(np.unique(totals)) <= 1
    return Losses(
        values=tuple(np.clip(losses / totals, 0.0, 1.0).tolist()),
        weights=tuple(totals.tolist()),
        is_plain=counts_alike,
        tasks=int(counts.sum()),
        most_weight=most,
        bet=bet,
    )


def sums_of(units: Numbers, *values: Floats) -> tuple[Numbers, list[Floats]]:
    """Sums over the tasks of each unit, in the order of the units' numbers."""
    names, places = np.unique(units, return_inverse=True)
    return names, [np.bincount(places, weights=one, minlength=len(names)).astype(np.float64) for one in values]


def repeated(losses: Losses, size: int) -> Losses | None:
    """Losses like these, repeated until there are about as many tasks as will be tested; None without any."""
    count = max(1, round(len(losses.values) * size / max(1, losses.tasks)))
    repeats = -(-count // max(1, len(losses.values)))
    if not losses.values:
        return None
    if losses.method == "exact":
        expected = round(losses.risk * count)
        values: tuple[float, ...] = (1.0,) * expected + (0.0,) * (count - expected)
        weights: tuple[float, ...] = (1.0,) * count
    else:
        values, weights = (losses.values * repeats)[:count], (losses.weights * repeats)[:count]
    return Losses(values=values, weights=weights, is_plain=losses.is_plain, tasks=count, most_weight=0.0)
