"""A published score and its reproduction on the same tasks: the interval of their difference covers it."""

from __future__ import annotations

import numpy as np
import pytest

from tierwise.stats.estimates import wilson
from tierwise.stats.reproduction import asked, between, difference, exact, with_missing


def test_the_interval_is_newcombe_s():
    found = difference(asked(56 / 70, 70), asked(48 / 80, 80), tasks=70)  # Newcombe 1998, table II
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (found.n, found.population) == (70, "repeats")


def test_two_exact_scores_differ_exactly():
    found = difference(exact(0.7), exact(0.6), tasks=10)
    assert (found.interval.low, found.interval.high) == (found.value, found.value)


def test_what_is_missing_may_be_anything():
    score = with_missing(exact(0.5), 0.1)
    assert (score.value - score.below, score.value + score.above) == pytest.approx((0.45, 0.55))


def test_a_rounded_score_has_the_interval_of_the_nearest_number_solved():
    found, nearest = asked(0.707, 164), between(116 / 164, wilson(116, 164))
    assert (found.below, found.above) == (nearest.below, nearest.above)


@pytest.mark.parametrize(
    ("tasks", "ours", "theirs", "shape"),
    [(30, 1, 1, 50.0), (30, 8, 64, 50.0), (164, 1, 1, 2.0), (164, 1, 200, 0.3), (500, 4, 1, 0.3)],
    ids=str,
)
def test_the_difference_on_fixed_tasks_is_covered(tasks, ours, theirs, shape):
    """Of tasks that are all alike (a large shape), and of tasks that are nearly all solved always or never."""
    rng = np.random.default_rng(tasks)
    here, there = rng.beta(0.7 * shape, 0.3 * shape, (2, tasks))
    true, covered, runs = here.mean() - there.mean(), 0, 2000
    for _ in range(runs):
        own = asked(rng.binomial(ours, here).sum() / (ours * tasks), ours * tasks)
        published = asked(rng.binomial(theirs, there).sum() / (theirs * tasks), theirs * tasks)
        found = difference(own, published, tasks=tasks).interval
        covered += found.low <= true <= found.high
    assert covered / runs >= 0.94
