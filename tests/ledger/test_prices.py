"""Tokens are bought, time is owned, and both are paid."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scenes import a_pass

from tierwise.ledger.prices import Cost, Price, PriceBook
from tierwise.spec.call import Usage

PASS = a_pass(
    usage=Usage(prompt=3_000_000, cached=1_000_000, completion=500_000, reasoning=400_000), busy_seconds=1800.0
)


@pytest.mark.parametrize(
    ("price", "cost"),
    [
        (Price(), Cost()),
        (Price(prompt=2.0), Cost(tokens=6.0)),
        (Price(prompt=2.0, cached=0.5), Cost(tokens=4.5)),
        (Price(prompt=2.0, cached=0.0), Cost(tokens=4.0)),
        (Price(completion=8.0), Cost(tokens=4.0)),
        (Price(dollars_per_hour=3.0), Cost(time=1.5)),
        (Price(completion=8.0, dollars_per_hour=3.0), Cost(tokens=4.0, time=1.5)),
    ],
)
def test_cached_tokens_have_their_own_price_thinking_is_completion_and_time_is_what_was_occupied(price, cost):
    assert PriceBook({"small": price}).cost(PASS) == cost


def test_a_deployment_without_a_price_is_free():
    assert PriceBook({"large": Price(prompt=1.0)}).cost(PASS) == Cost()


def test_every_outcome_is_paid_alike():
    book = PriceBook({"small": Price(prompt=1.0, dollars_per_hour=1.0)})
    outcomes = ("finished", "cut", "aborted", "failed")
    assert len({book.cost(a_pass(outcome=outcome)) for outcome in outcomes}) == 1


def test_a_total_is_the_sum_of_its_passes():
    book = PriceBook({"small": Price(completion=8.0, dollars_per_hour=3.0)})
    assert book.total([PASS, PASS]).dollars == 11.0


@pytest.mark.parametrize("price", [float("inf"), float("nan"), -1, 1e10, "1"])
@pytest.mark.parametrize("field", ["prompt", "cached", "completion", "dollars_per_hour"])
def test_a_price_is_a_finite_number_within_bounds(field, price):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({field: price}, Price)


@given(
    price=some.floats(0, 1e9),
    counts=some.tuples(*[some.integers() | some.sampled_from([10**400, -(10**400)])] * 3),
    seconds=some.floats(),
)
def test_every_cost_is_finite_whatever_was_counted(price, counts, seconds):
    prompt, cached, completion = counts
    book = PriceBook({"small": Price(prompt=price, cached=price, completion=price, dollars_per_hour=price)})
    usage = Usage(prompt=prompt, cached=cached, completion=completion)
    cost = book.total([a_pass(usage=usage, busy_seconds=seconds)] * 1000)
    assert math.isfinite(cost.tokens)
    assert 0 <= cost.time < math.inf
