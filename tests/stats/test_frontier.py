"""How surely a tier is on the frontier."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tierwise.spec.errors import SpecError
from tierwise.stats.frontier import on_frontier

N = 40


def test_a_tier_that_is_worse_in_everything_is_never_on_the_frontier():
    found = on_frontier(
        {"good": [1.0] * N, "bad": [0.0] * N},
        {"good": [1.0] * N, "bad": [2.0] * N},
        {"good": [1.0] * N, "bad": [2.0] * N},
    )
    assert found == {"good": 1, "bad": 0}


def test_a_trade_keeps_both():
    found = on_frontier(
        {"fast": [0.0] * N, "max": [1.0] * N},
        {"fast": [1.0] * N, "max": [9.0] * N},
        {"fast": [1.0] * N, "max": [9.0] * N},
    )
    assert found == {"fast": 1, "max": 1}


def test_twins_do_not_dominate_each_other():
    values = [random.Random(1).random() for _ in range(N)]
    assert on_frontier(*({"one": values, "two": values},) * 3) == {"one": 1, "two": 1}


def test_a_dear_tier_is_on_the_frontier_as_surely_as_it_is_better():
    cheap = [1.0] * 20 + [0.0] * 20
    dear = [0.0] * 2 + [1.0] * 22 + [0.0] * 16
    found = on_frontier(
        {"cheap": cheap, "dear": dear},
        {"cheap": [1.0] * N, "dear": [2.0] * N},
        {"cheap": [1.0] * N, "dear": [2.0] * N},
    )
    assert found["cheap"] == 1
    assert 0.5 < found["dear"] < 1


def test_the_median_and_the_mean_are_different_latencies():
    quality, dollars = {"a": [1.0] * N, "b": [1.0] * N}, {"a": [1.0] * N, "b": [1.0] * N}
    seconds = {"a": [1.0] * (N - 4) + [100.0] * 4, "b": [2.0] * N}
    assert on_frontier(quality, seconds, dollars)["a"] == 1
    assert on_frontier(quality, seconds, dollars)["b"] == 0
    assert on_frontier(quality, seconds, dollars, latency=None)["a"] < 0.1
    assert on_frontier(quality, seconds, dollars, latency=Fraction(95, 100))["b"] > 0.5


def test_clusters_that_are_drawn_whole_make_it_less_certain():
    quality = {"a": [1.0] * 24 + [0.0] * 16, "b": [0.0] * 10 + [1.0] * 20 + [0.0] * 10}
    cost = {"a": [2.0] * N, "b": [1.0] * N}
    alone = on_frontier(quality, cost, cost)["a"]
    together = on_frontier(quality, cost, cost, labels=[task // 10 for task in range(N)])["a"]
    assert 0.5 < together < alone


def test_tiers_are_compared_on_the_same_tasks():
    with pytest.raises(SpecError, match="the same tasks"):
        on_frontier({"a": [1.0], "b": [1.0, 0.0]}, {"a": [1.0], "b": [1.0]}, {"a": [1.0], "b": [1.0]})
    assert on_frontier({}, {}, {}) == {}
