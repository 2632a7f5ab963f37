"""What a pass costs. Prices are an argument, never part of an event: last month can be repriced tomorrow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from tierwise.spec.call import Pass, Usage

Dollars = Annotated[float, msgspec.Meta(ge=0)]


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a deployment costs: per token when it is bought, per hour when it is owned; both add up."""

    prompt: Dollars = 0.0
    """Dollars per million prompt tokens that were not cached."""
    cached: Dollars | None = None
    """Dollars per million prompt tokens that the engine did not recompute; as `prompt` where it is not given."""
    completion: Dollars = 0.0
    """Dollars per million completion tokens, thinking included."""
    dollars_per_hour: Dollars = 0.0
    """Times the share of the deployment that a pass occupied; passes side by side share each second equally."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Dollars of one or more passes."""

    tokens: float = 0.0
    time: float = 0.0

    @property
    def dollars(self) -> float:
        return self.tokens + self.time

    def __add__(self, other: Cost) -> Cost:
        return Cost(tokens=self.tokens + other.tokens, time=self.time + other.time)


class PriceBook:
    """Prices by deployment. A deployment without a price costs nothing, and `check` says so."""

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices

    def cost(self, done: Pass) -> Cost:
        """What one pass cost, whatever became of it."""
        return self.price(done.deployment, done.usage, done.busy_seconds)

    def price(self, deployment: str, usage: Usage, busy_seconds: float) -> Cost:
        """What tokens and time of a deployment cost, of one pass or of many together."""
        price = self._prices.get(deployment, Price())
        cached_price = price.prompt if price.cached is None else price.cached
        fresh = usage.prompt - usage.cached
        tokens = fresh * price.prompt + usage.cached * cached_price + usage.completion * price.completion
        return Cost(tokens=tokens / 1e6, time=busy_seconds / 3600 * price.dollars_per_hour)

    def total(self, passes: Iterable[Pass]) -> Cost:
        return sum((self.cost(done) for done in passes), Cost())
