"""Prices and budgets in dollars: what a certificate of savings and of a mean cost needs of the config file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.evaluate import Searched


def require_prices(plan: Plan) -> None:
    """Refuse a file in which a tier's cost is not known.

    Raises:
        SpecError: names the deployments without a price.
    """
    asked = {place for name in plan.file.tiers for place in plan.reached_deployments(name)}
    if lacking := sorted(asked - plan.file.prices.keys()):
        raise SpecError(
            f"deployment {', '.join(map(repr, lacking))} has no price, so the cheapest route is not known; give each "
            "one under `prices`, by token or by hour",
            field="prices",
        )


def unbounded(pool: Pool) -> Pool:
    """The pool without its tiers' budgets in dollars, which a replay refuses; `require_unused` checks them after it."""
    tiers = {
        name: msgspec.structs.replace(tier, budget=msgspec.structs.replace(tier.budget, dollars=None))
        for name, tier in pool.plan.tiers.items()
    }
    return replace(pool, plan=replace(pool.plan, tiers=tiers))


def require_unused(searched: Searched, plan: Plan) -> None:
    """Refuse a replay in which a budget in dollars would have ended an action.

    Raises:
        SpecError: names the tier.
    """
    for name in searched.space.fixed:
        bound = plan.tiers[name].budget.dollars
        if bound is None:
            continue
        most = float(searched.largest[name])
        if most >= bound:
            raise SpecError(
                f"an action of tier {name!r} costs up to ${most:.6f} on the pool, and its budget ends it at "
                f"${bound:g}, which a replay cannot show; raise the budget above every action, or remove it",
                field=f"tiers.{name}.budget.dollars",
            )


def with_dollars(promises: Promises, dollars: float | None, searched: Searched, plan: Plan) -> Promises:
    """The promises with one on the mean cost of an action, which needs a bound on the cost of every action.

    Raises:
        SpecError: a tier that a route may ask has no budget in dollars, or the promise is not below their sum.
    """
    if dollars is None:
        return promises
    space = searched.space
    names = [*space.cheap, space.reference]
    budgets = {name: plan.tiers[name].budget.dollars for name in names}
    if lacking := [name for name, bound in budgets.items() if bound is None]:
        raise SpecError(
            f"a promise of a mean cost needs a bound on the cost of every action, and tier "
            f"{', '.join(map(repr, lacking))} has none: one action could cost anything. Give it "
            "`budget: {dollars: …}`",
            field="--dollars",
        )
    bound = max(
        sum(budgets.get(name, budgets[space.reference]) or 0.0 for name in route.ladder) for route in searched.routes
    )
    if not 0 < dollars < bound:
        raise SpecError(
            f"the budgets end every action at ${bound:g}, so a mean of ${dollars:g} is "
            f"{'kept anyway' if dollars >= bound else 'not possible'}; promise a positive mean below it",
            field="--dollars",
        )
    return replace(promises, dollars=dollars, budget=bound)
