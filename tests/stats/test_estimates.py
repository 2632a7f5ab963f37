"""Our statistics against published tables, closed forms, slow obvious code and simulated truth."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from itertools import pairwise
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tierwise.stats.estimates import (
    Interval,
    mcnemar,
    mean,
    paired_difference,
    per,
    quantile,
    quantile_ranks,
    rate,
    ratio,
    wilson,
)

P50, P95, P99 = Fraction(1, 2), Fraction(95, 100), Fraction(99, 100)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_what_newcombe_printed(successes, n, low, high):  # Stat. Med. 17:857 (1998), table I, method 3
    found = wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(n=st.integers(1, 2000), data=st.data())
def test_wilson_is_never_empty_and_agrees_with_scipy(n, data):
    successes = data.draw(st.integers(0, n))
    found = wilson(successes, n)
    assert 0 <= found.low <= successes / n <= found.high <= 1
    assert found.high - found.low > 1e-4
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_all_or_nothing_leaves_room_for_doubt():
    assert wilson(0, 50).high == pytest.approx(0.0713, abs=1e-4)
    assert wilson(50, 50).low == pytest.approx(1 - 0.0713, abs=1e-4)
    assert wilson(50, 50).high == 1


def test_a_share_of_nothing_is_not_known():
    assert rate(0, 0) is None


@pytest.mark.parametrize(("q", "least"), [(P50, 6), (P95, 72), (P99, 368)])
def test_a_percentile_has_an_interval_only_from_the_published_sample_size_on(q, least):
    assert quantile_ranks(least - 1, q) is None
    assert quantile_ranks(least, q) is not None


def test_the_median_of_a_hundred_lies_between_the_tabled_order_statistics():
    assert quantile_ranks(100, P50) == (40, 61)  # Conover, Practical Nonparametric Statistics, table A3


@given(n=st.integers(1, 400), q=st.sampled_from([P50, Fraction(9, 10), P95]))
def test_the_ranks_hold_by_exact_arithmetic(n, q):
    def at_most(k):
        return sum(comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k + 1))

    tail = Fraction(1, 40)
    ranks = quantile_ranks(n, q)
    if ranks is None:
        assert 1 - at_most(n - 1) > tail or at_most(0) > tail
    else:
        low, high = ranks
        assert at_most(low - 1) <= tail < at_most(low)
        assert 1 - at_most(high - 1) <= tail
        assert high == 1 or 1 - at_most(high - 2) > tail


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=200), q=st.sampled_from([P50, P95, P99]))
def test_a_percentile_is_a_value_that_was_seen(values, q):
    found = quantile(values, q)
    assert found.value in values
    assert sum(value <= found.value for value in values) >= q * len(values)
    assert sum(value < found.value for value in values) < q * len(values)


def test_without_skewness_a_mean_has_students_interval():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = mean(values)
    low, high = stats.t.interval(0.95, 4, loc=3, scale=stats.sem(values))
    assert found.value == 3
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_skewed_costs_move_the_interval_of_the_mean_to_the_long_side():
    found = mean([1.0] * 30 + [20.0])
    assert found.interval.high - found.value > found.value - found.interval.low
    assert mean([0.0] * 5 + [1.0], least=0.0).interval.low == 0


def test_a_sample_without_variation_says_nothing_about_its_error():
    assert mean([0.1] * 7).interval is None
    assert mean([3.0]).interval is None
    assert mean([]) is None


def test_dollars_per_solved_are_total_over_total():
    found = ratio([1.0, 1.0, 4.0], [True, True, False])
    assert found.value == 3  # and not the mean of 1, 1 and infinity


def test_where_nothing_was_solved_there_are_no_dollars_per_solved():
    assert ratio([1.0, 2.0], [False, False]) is None
    assert ratio([], []) is None


def test_where_hardly_anything_was_solved_the_dollars_have_no_upper_end():
    found = ratio([1.0] * 29 + [1.1], [True] + [False] * 29)
    assert found.interval.high is None
    assert 0 < found.interval.low < found.value


def test_fiellers_interval_holds_the_ratios_that_a_t_test_does_not_reject():
    rng = random.Random(5)
    spent = [rng.lognormvariate(0, 0.5) for _ in range(60)]
    solved = [rng.random() < 0.6 for _ in range(60)]
    found = ratio(spent, solved)
    for end in (found.interval.low, found.interval.high):
        differences = [cost - end * won for cost, won in zip(spent, solved, strict=True)]
        assert stats.ttest_1samp(differences, 0).pvalue == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize(("only_first", "only_second"), [(0, 0), (5, 0), (1, 7), (12, 12), (3, 40)])
def test_mcnemar_is_the_exact_binomial_test(only_first, only_second):
    n = only_first + only_second
    expected = stats.binomtest(only_first, n).pvalue if n else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        ((36, 12, 2, 0), 0.0569, 0.3404),  # Newcombe, Stat. Med. 17:2635 (1998), table II
        ((14, 5, 0, 22), 0.0115, 0.2265),  # Altman et al., Statistics with Confidence (2000), table 6.2
    ],
)
def test_the_paired_interval_gives_what_was_printed(table, low, high):
    found = paired_difference(*table)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=5e-5)


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_the_paired_interval_is_never_empty_and_turns_around_with_its_sides(table):
    both, first, second, neither = table
    found = paired_difference(both, first, second, neither)
    assert -1 <= found.interval.low <= found.value <= found.interval.high <= 1
    assert found.interval.high - found.interval.low > 0.01
    turned = paired_difference(both, second, first, neither)
    assert (turned.interval.low, turned.interval.high) == pytest.approx((-found.interval.high, -found.interval.low))


def test_no_pairs_make_no_difference():
    assert paired_difference(0, 0, 0, 0) is None


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("n", [10, 40, 200])
def test_wilson_holds_the_truth_about_as_often_as_it_says(share, n):
    weights = [comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
    held = math.fsum(weight for k, weight in enumerate(weights) if wilson(k, n).low <= share <= wilson(k, n).high)
    assert held > 0.90


@pytest.mark.parametrize("n", [40, 200])
def test_the_intervals_of_costs_hold_the_truth_about_as_often_as_they_say(n):
    rng = random.Random(n)
    share, spread, held_mean, held_ratio, runs = 0.5, 0.8, 0, 0, 600
    truth = math.exp(spread**2 / 2)
    for _ in range(runs):
        spent = [rng.lognormvariate(0, spread) for _ in range(n)]
        solved = [rng.random() < share for _ in range(n)]
        held_mean += holds(mean(spent).interval, truth)
        held_ratio += holds(ratio(spent, solved).interval, truth / share)
    assert held_mean / runs > 0.90
    assert held_ratio / runs > 0.92


def holds(interval, truth):
    return interval.low <= truth and (interval.high is None or truth <= interval.high)


def test_more_tasks_make_every_interval_narrower():
    widths = [wilson(n // 2, n) for n in (10, 40, 160, 640)]
    assert all(wide.high - wide.low > narrow.high - narrow.low for wide, narrow in pairwise(widths))
    assert widths[0] != Interval(0, 1)


def test_a_mean_of_totals_of_one_each_is_the_plain_mean():
    values = [1.0, 2.0, 2.5, 9.0]
    assert mean(values, [1.0] * 4) == mean(values)
    assert mean([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).interval is None, "two for each, and nothing varies"


def test_what_is_bought_may_be_less_than_nothing():
    gained, extra = [-1.0, 0.0, -1.0, -1.0, 0.0, -1.0] * 5, [1.0, 1.2, 0.9, 1.1, 1.0, 0.8] * 5
    found = per(gained, extra)
    assert found.value == pytest.approx(sum(gained) / sum(extra))
    assert found.interval.low < found.value < found.interval.high < 0
    turned = per(gained, [-one for one in extra])
    assert (turned.interval.low, turned.interval.high) == pytest.approx((-found.interval.high, -found.interval.low))


def test_nothing_is_bought_with_what_is_not_separated_from_zero():
    assert per([1.0, 0.0, 1.0, 0.0], [1.0, -1.0, 2.0, -1.5]) is None
    assert per([1.0], [1.0]) is None
    assert per([], []) is None
