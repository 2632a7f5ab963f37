"""What the settings of a decision cost per solved action where machines are paid by the hour, idle time included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tierwise.analysis.duty import per_solved
from tierwise.analysis.summary import design_of
from tierwise.certificate import by_agreement
from tierwise.tuning.costs import by_hour, costs_of

if TYPE_CHECKING:
    from tierwise.pools.reading import Pool
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.decide import Decision


def duties(decision: Decision, pool: Pool, *, seed: int) -> dict[str, tuple[Estimate | None, ...]]:
    """Dollars per solved action at each of `analysis.duty.DUTIES`, on the test part, of all settings with figures; per
    action where nothing tells which are solved.

    Empty where nothing is paid by the hour.

    Args:
        decision: what was decided.
        pool: with the config file's plan.
        seed: of the orders.
    """
    prices = pool.plan.file.prices
    if not any(one.dollars_per_hour for one in prices.values()):
        return {}
    searched, test = decision.searched, decision.split.test
    names = list(decision.figures)
    settings = [searched.evaluated.names.index(name) for name in names]
    routes = [searched.routes[one] for one in settings]
    timed = costs_of(pool, pool.plan, routes, by_hour(prices), orders=searched.orders, seed=seed).dollars[:, test]
    tasks = [one.task for one in pool.tasks]
    ids = [tasks[index].id for index in test.tolist()]
    sample = design_of(ids, tasks, ()).sample(ids)
    dollars, correct = (of[settings][:, test] for of in (searched.evaluated.dollars, searched.evaluated.correct))
    if by_agreement(searched.labels):
        correct = np.ones_like(correct)
    return {
        name: per_solved(sample, dollars[at].tolist(), timed[at].tolist(), correct[at].tolist())
        for at, name in enumerate(names)
    }
