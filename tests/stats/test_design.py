"""Weights, repeats and clusters: where observations do not stand alone, or do not count the same."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from tierwise.stats import clusters
from tierwise.stats.design import Design, Sample

P50, P95 = Fraction(1, 2), Fraction(95, 100)


def grouped(labels, weights=None):
    labels = tuple(map(str, labels))
    return Sample(labels, tuple(weights or [1.0] * len(labels)), len(set(labels)), "tasks")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8])
@pytest.mark.parametrize(("n", "spread"), [(20, 0.5), (50, 1.0), (200, 1.0), (1000, 0.5)])
def test_intervals_of_weighted_shares_hold_the_truth(share, n, spread):
    rng = np.random.default_rng(n)
    weights = rng.lognormal(0, spread, n)
    weights *= n / weights.sum()
    won = (rng.random((3000, n)) < share).astype(float)
    totals = won @ weights
    squares = ((weights * (won - totals[:, None] / n)) ** 2).sum(axis=1)
    low, high = clusters.bounds(clusters.shares(totals, squares, weights))
    assert ((low <= share) & (share <= high)).mean() > 0.92


def test_an_observation_that_stands_alone_has_the_interval_of_the_plain_statistics():
    values = [random.Random(1).lognormvariate(0, 1) for _ in range(80)]
    alone = Sample.alone(80)
    assert alone.is_plain
    assert alone.quantile(values, P95).interval is not None
    assert Sample.alone(71).quantile(values[:71], P95) is None


def test_a_percentile_of_repeats_is_as_sure_as_its_tasks_allow():
    rng = random.Random(2)
    values = [base for base in (rng.lognormvariate(0, 1) for _ in range(40)) for _ in range(4)]
    found, alone = (
        grouped([at // 4 for at in range(160)]).quantile(values, P50),
        Sample.alone(160).quantile(values, P50),
    )
    assert found.value == alone.value
    assert found.n <= 40
    assert found.interval.low <= alone.interval.low <= alone.interval.high <= found.interval.high


def test_intervals_of_percentiles_of_repeats_hold_the_truth():
    rng = np.random.default_rng(3)
    sample, held = grouped([at // 3 for at in range(180)]), 0
    for _ in range(400):
        values = np.exp(np.repeat(rng.normal(0, 1, 60), 3) + rng.normal(0, 0.3, 180))
        interval = sample.quantile(values.tolist(), P50).interval
        held += interval.low <= 1 <= interval.high
    assert held / 400 > 0.92


def test_a_weighted_median_lies_where_half_of_the_weight_is_reached():
    sample = grouped(range(9), [5.0, *[0.5] * 8])
    assert sample.quantile([100.0, *map(float, range(8))], P50) is None, "one task holds more than half"
    even = grouped(range(40), [1.5, 0.5] * 20)
    assert even.quantile([float(at) for at in range(40)], P50).value == 19


def test_a_p_value_between_groups_is_that_of_a_t_test_over_their_means():
    rng = random.Random(4)
    first = [float(rng.random() < 0.6) for _ in range(60)]
    second = [float(rng.random() < 0.4) for _ in range(60)]
    means = np.reshape(np.subtract(first, second), (20, 3)).mean(axis=1)
    found = grouped([at // 3 for at in range(60)]).p_value(first, second)
    assert found == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_groups_that_all_agree_say_nothing_about_their_spread():
    assert grouped([0, 0, 1, 1]).p_value([1.0] * 4, [0.0] * 4) == 0.5, "two groups, as McNemar would have it"
    assert grouped([0, 0, 1, 1]).p_value([1.0] * 4, [1.0] * 4) == 1.0


def test_a_mean_of_groups_is_that_of_their_totals():
    found = grouped([0, 0, 1, 1, 2, 2]).mean([1.0, 3.0, 2.0, 4.0, 6.0, 8.0])
    of_means = Sample.alone(3).mean([2.0, 3.0, 7.0])
    assert (found.value, found.n) == (4.0, 3)
    assert (found.interval.low, found.interval.high) == pytest.approx((of_means.interval.low, of_means.interval.high))


def test_weights_that_count_the_same_thing_in_other_units_change_nothing():
    names = list("abcd")
    one, other = (
        Design({name: unit * weight for name, weight in zip(names, (1, 2, 3, 4), strict=True)}, {})
        for unit in (1, 1000)
    )
    values = [1.0, 0.0, 1.0, 1.0]
    assert one.sample(names).share(values) == other.sample(names).share(values)
