"""The reservation value: the level from which a further draw costs more than it is expected to bring."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from tierwise.stopping.reservation import optimistic_reservation_value, reservation_value

scores = st.lists(st.floats(-10, 10), min_size=1, max_size=30)
costs = st.floats(0.001, 20)


@given(scores, costs)
def test_a_further_draw_brings_exactly_its_cost_there(values, cost):
    tau = reservation_value(values, cost)
    assert np.mean([max(0.0, value - tau) for value in values]) == pytest.approx(cost, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "cost", "tau"),
    [([0, 1], 0.25, 0.5), ([0, 1], 0.5, 0), ([0, 1], 1.0, -0.5), ([3], 1, 2), ([1, 1], 0.5, 0.5)],
)
def test_known_values(values, cost, tau):
    assert reservation_value(values, cost) == pytest.approx(tau)


def test_for_many_normal_scores_it_is_that_of_the_normal_distribution():
    def gain(tau):
        return integrate.quad(lambda value: (value - tau) * stats.norm.pdf(value), tau, 9)[0]

    exact = optimize.brentq(lambda tau: gain(tau) - 0.1, -3, 3)
    drawn = np.random.default_rng(3).normal(size=40_000)
    assert reservation_value(list(drawn), 0.1) == pytest.approx(exact, abs=0.02)


@given(scores, costs, costs)
def test_a_dearer_draw_never_raises_it(values, cost, other):
    low, high = sorted((cost, other))
    assert reservation_value(values, high) <= reservation_value(values, low)


@given(scores, costs)
def test_the_upper_bound_is_never_below_it(values, cost):
    assert optimistic_reservation_value(values, cost, highest=10) >= reservation_value(values, cost) - 1e-9


def test_the_upper_bound_is_too_low_no_more_often_than_stated():
    rng = np.random.default_rng(5)
    exact = 1 - np.sqrt(2 * 0.05)  # of the uniform distribution on (0, 1)
    bounds = [optimistic_reservation_value(list(rng.random(20)), 0.05, highest=1.0, delta=0.1) for _ in range(2_000)]
    assert np.mean(np.array(bounds) < exact) <= 0.1


def test_stopping_there_pays_more_than_any_fixed_number_of_draws():
    rng = np.random.default_rng(9)
    drawn, cost = rng.normal(size=(20_000, 64)), 0.1
    tau = reservation_value(list(rng.normal(size=20_000)), cost)
    best = np.maximum.accumulate(drawn, axis=1)
    stop = np.where((best >= tau).any(axis=1), (best >= tau).argmax(axis=1), 63)
    ours = (best[np.arange(len(best)), stop] - cost * (stop + 1)).mean()
    fixed = (best - cost * np.arange(1, 65)).mean(axis=0).max()
    assert ours > fixed + 0.03


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: reservation_value([], 1), "at least one score"),
        (lambda: reservation_value([1.0, float("nan")], 1), "finite"),
        (lambda: reservation_value([1.0], 0), "give a positive number"),
        (lambda: optimistic_reservation_value([2.0], 1, highest=1), "highest possible one was given as 1"),
        (lambda: optimistic_reservation_value([2.0], 1, highest=3, delta=1), "between 0 and 1"),
    ],
)
def test_what_makes_no_sense_is_an_error(call, why):
    with pytest.raises(ValueError, match=why):
        call()
