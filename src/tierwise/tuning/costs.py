"""What given settings cost on a pool, under any prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tierwise.ledger.prices import Price
from tierwise.pools.replaying import Replayer
from tierwise.tuning.space import Route, cascaded, setting_of
from tierwise.tuning.spending import unbounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.plan import Plan
    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool
    from tierwise.tuning.evaluated import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Dollars of actions."""

    dollars: Floats
    """Settings × tasks: the mean over the orders of a task's draws; the same for the next."""
    correct: Floats
    """The share of orders in which the answer is right."""
    largest: Floats
    """Of each setting, the dearest action."""


def by_hour(prices: Mapping[str, Price]) -> dict[str, Price]:
    """The part of prices that is by hour."""
    return {name: Price(dollars_per_hour=one.dollars_per_hour) for name, one in prices.items()}


def costs_of(
    pool: Pool, plan: Plan, routes: Sequence[Route], prices: Mapping[str, Price], *, orders: int, seed: int
) -> Costs:
    """Replay settings, and price what they spend.

    Args:
        pool: the recorded draws.
        plan: the config file that the settings are about.
        routes: the settings.
        prices: by deployment.
        orders: of each task's draws.
        seed: of the orders.
    """
    free = unbounded(replace(pool, plan=plan))
    plan = free.plan
    several = [replayed(plan, route, f"~{number}") for number, route in enumerate(routes)]
    others = list(_variants(plan, routes))
    with Replayer(free, prices) as replayer:
        done = replayer.run([*several, *others], orders=orders, seed=seed)[: len(several)]
    dollars = np.array([[one.dollars for one in actions] for actions in done], dtype=np.float64)
    correct = np.array([[bool(one.correct) for one in actions] for actions in done], dtype=np.float64)
    means = (values.reshape(len(several), orders, -1).mean(axis=1) for values in (dollars, correct))
    return Costs(dollars=next(means), correct=next(means), largest=dollars.max(axis=1))


def replayed(plan: Plan, route: Route, name: str) -> Setting:
    """A setting of the space as one of a replay."""
    base = route.variant.base if route.variant is not None else route.ladder[-1]
    if len(route.ladder) > 1:
        return cascaded(name, route.ladder, base, *route.signals)
    return replace(setting_of(plan, route.variant or route.ladder[0]), name=name)


def _variants(plan: Plan, routes: Sequence[Route]) -> Iterator[Setting]:
    """The tiers that routes ask and that the config file does not have."""
    found = {route.variant.name: route.variant for route in routes if route.variant is not None}
    yield from (setting_of(plan, one) for one in found.values())
