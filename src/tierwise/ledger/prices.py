"""The cost of passes. Prices are an argument and not part of events, so past actions can be repriced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Annotated

import msgspec

from tierwise.spec.call import Pass, Usage
from tierwise.spec.values import frozen_value

Dollars = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
"""A price. The bound is far above any real one, and keeps every cost and every sum finite."""

MOST_TOKENS = 2**63 - 1
"""Maximum of a count of tokens: engines have reported negative and 400-digit ones."""

_MOST_SECONDS = 1e12


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The price of a deployment: per token, per hour, or the sum of both."""

    prompt: Dollars = 0.0
    """Dollars per million uncached prompt tokens."""
    cached: Dollars | None = None
    """Dollars per million cached prompt tokens; the same as `prompt` if not given."""
    completion: Dollars = 0.0
    """Dollars per million completion tokens, including thinking."""
    dollars_per_hour: Dollars = 0.0
    """Dollars per hour, charged for a pass's share of the deployment: concurrent passes share each second equally."""


@frozen_value
class Cost:
    """Dollars of one or more passes."""

    tokens: float = 0.0
    time: float = 0.0

    @property
    def dollars(self) -> float:
        return self.tokens + self.time

    def __add__(self, other: Cost) -> Cost:
        return Cost(tokens=self.tokens + other.tokens, time=self.time + other.time)


_FREE = Price()


class PriceBook:
    """Prices by deployment. A deployment without a price costs nothing; `check` warns of it."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices
        self._last: tuple[Pass | None, Cost] = (None, Cost())
        """The pass that was asked for last: usage, headers, metrics and ledger ask for it in turn."""

    def cost(self, done: Pass) -> Cost:
        """The cost of one pass, whatever its outcome. It is finite whatever was counted."""
        last, cost = self._last
        if last is not done:
            cost = self._finite(done.deployment, done.usage, done.busy_seconds)
            self._last = (done, cost)
        return cost

    def _finite(self, deployment: str, usage: Usage, seconds: float) -> Cost:
        prompt, cached, completion = usage.prompt, usage.cached, usage.completion
        if not (0 <= prompt <= MOST_TOKENS and 0 <= cached <= MOST_TOKENS and 0 <= completion <= MOST_TOKENS):
            usage = Usage(prompt=_bounded(prompt), cached=_bounded(cached), completion=_bounded(completion))
        if not 0.0 <= seconds <= _MOST_SECONDS:
            seconds = min(max(seconds, 0.0), _MOST_SECONDS) if isfinite(seconds) else 0.0
        return self.price(deployment, usage, seconds)

    def price(self, deployment: str, usage: Usage, busy_seconds: float) -> Cost:
        """The cost of tokens and time on a deployment, for one pass or many; linear in both."""
        price = self._prices.get(deployment, _FREE)
        cached_price = price.prompt if price.cached is None else price.cached
        fresh = usage.prompt - usage.cached
        tokens = fresh * price.prompt + usage.cached * cached_price + usage.completion * price.completion
        return Cost(tokens=tokens / 1e6, time=busy_seconds / 3600 * price.dollars_per_hour)

    def charge(self, deployment: str, usage: Usage, busy_seconds: float) -> float:
        """Dollars that a pass counts against a budget: what its server says that it charges, else its price here."""
        if usage.cost is not None and isfinite(usage.cost):
            return max(usage.cost, 0.0)
        return self._finite(deployment, usage, busy_seconds).dollars

    def counts_tokens(self, deployment: str) -> bool:
        """Whether tokens of a deployment cost anything."""
        price = self._prices.get(deployment)
        return price is not None and bool(price.prompt or price.completion or price.cached)

    def worst(self, deployment: str, prompt: int, completion: int) -> float:
        """Dollars of so many tokens at most, however many of the prompt are cached."""
        price = self._prices.get(deployment, _FREE)
        asked = max(price.prompt, price.cached or 0.0)
        return (prompt * asked + completion * price.completion) / 1e6

    def per_token(self, deployment: str) -> float:
        """Dollars per completion token."""
        return self._prices.get(deployment, _FREE).completion / 1e6

    def per_second(self, deployment: str) -> float:
        """Dollars per second of a deployment."""
        return self._prices.get(deployment, _FREE).dollars_per_hour / 3600

    def total(self, passes: Iterable[Pass]) -> Cost:
        costs = [self.cost(done) for done in passes]
        return costs[0] if len(costs) == 1 else sum(costs, Cost())


def _bounded(count: int) -> int:
    return min(max(count, 0), MOST_TOKENS)
