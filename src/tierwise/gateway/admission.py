"""What an action needs of its caller's limits, before it starts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.keys.estimates import LONGEST_SECONDS, size_of
from tierwise.keys.limiter import Need, check_model, has_budget
from tierwise.spec.budget import Budget, least

if TYPE_CHECKING:
    from tierwise.gateway.wire import ParsedRequest
    from tierwise.keys.estimates import Estimates
    from tierwise.keys.records import Caller
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.records import Trace
    from tierwise.router import Router

_BYTES_PER_TOKEN = 4
"""Of usual text; for limits of tokens per minute, which count what was used in the end."""


def received(
    caller: Caller | None, trace: Trace, asked: ParsedRequest, router: Router, prices: PriceBook
) -> ParsedRequest:
    """The request of a caller, bounded in time where time costs and a budget counts it.

    Raises:
        ModelForbidden: the caller's key may not use the model.
    """
    is_paid = asked.ceilings is not None and asked.ceilings.dollars is not None
    if caller is not None:
        check_model(caller, asked.model)
        trace.key, trace.team, trace.tags = caller.key.id, caller.key.team, caller.key.tags
        trace.key_name = caller.key.name or caller.key.id
        is_paid |= has_budget(caller, asked.model)
    if not is_paid or not any(prices.per_second(name) for name in _deployments(asked, router)):
        return asked
    return replace(asked, budget=asked.budget.within(Budget(seconds=LONGEST_SECONDS)))


def need_of(asked: ParsedRequest, router: Router, estimates: Estimates) -> Need:
    """The worst case of an action: its passes × what each may cost, within what budgets allow."""
    most = router.most(asked.model)
    bounds = router.tiers[asked.model].budget.within(asked.budget)
    passes = asked.choices if most.passes is None else most.passes * asked.choices
    passes = min(passes, bounds.passes or passes)
    worst = tokens = 0
    own = size_of(asked.prompt)
    answer: int | None = None  # the cheapest, per choice
    for tier in router.reach(asked.model):
        prompt = asked.prompt.by_default(tier.sampling)
        size = own if prompt is asked.prompt else size_of(prompt)
        cap = least(tier.budget.completion_tokens, bounds.completion_tokens, prompt.bound)
        for deployment in tier.deployments:
            cost = estimates.of_action(
                size, deployment.name, deployment.context, cap, passes=passes, tokens=bounds.completion_tokens
            )
            worst = max(worst, cost)
            if asked.ceilings is not None:
                answers = estimates.of_action(
                    size, deployment.name, deployment.context, cap, passes=asked.choices, tokens=None
                )
                answer = answers if answer is None else min(answer, answers)
        tokens = max(tokens, cap or 0)
    if bounds.dollars is not None:
        worst = min(worst, round(bounds.dollars * 1e9))
    hourly = {name for name in _deployments(asked, router) if estimates.prices.per_second(name)}
    seconds = bounds.seconds if bounds.seconds is not None else LONGEST_SECONDS
    length = own.tokens // _BYTES_PER_TOKEN
    time = estimates.of_time(hourly, seconds) if hourly else 0
    return Need(
        model=asked.model,
        count=passes,
        choices=asked.choices,
        least=time + (answer or 0),
        tokens=min(passes * (length + tokens), passes * length + (bounds.completion_tokens or passes * tokens)),
        passes=worst,
        time=time,
    )


def _deployments(asked: ParsedRequest, router: Router) -> set[str]:
    return {deployment.name for tier in router.reach(asked.model) for deployment in tier.deployments}
