"""Promises: p-values are valid by enumeration, the tables of the literature are found again, and bad input raises."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.stats.promises import (
    Losses,
    betting,
    exact,
    fixed_sequence,
    hoeffding_bentkus,
    labels_needed,
    losses_of,
)

SEEN = (0, 1, 3, 5, 10)


@pytest.mark.parametrize(
    ("limit", "exactly", "bounded", "bet"),
    [
        (0.01, [299, 473, 773, 1049, 1693], [299, 573, 918, 1213, 1895], 400),
        (0.02, [149, 236, 386, 523, 845], [149, 285, 457, 605, 946], 199),
        (0.05, [59, 93, 153, 208, 336], [59, 113, 181, 240, 376], 78),
        (0.10, [29, 46, 76, 103, 167], [29, 56, 89, 118, 186], 38),
    ],
)
def test_the_tasks_that_a_promise_needs_are_those_of_the_tables(limit, exactly, bounded, bet):
    assert [labels_needed(limit, 0.05, losses=seen) for seen in SEEN] == exactly
    assert [labels_needed(limit, 0.05, losses=seen, method="hoeffding-bentkus") for seen in SEEN] == bounded
    assert labels_needed(limit, 0.05, method="betting") == bet


def test_a_promise_without_losses_needs_what_the_formula_says():
    for limit, delta in itertools.product((0.003, 0.02, 0.3), (0.01, 0.05, 0.2)):
        assert labels_needed(limit, delta) == math.ceil(math.log(delta) / math.log(1 - limit))


@pytest.mark.parametrize("test", ["exact", "betting", "hoeffding-bentkus"])
@pytest.mark.parametrize("limit", [0.1, 0.35, 0.6])
def test_a_p_value_is_valid_at_the_limit_over_every_sample_of_twelve(test, limit):
    n, rejected = 12, dict.fromkeys((0.02, 0.05, 0.2, 0.5), 0.0)
    for sample in itertools.product((0, 1), repeat=n):
        chance = math.prod(limit if loss else 1 - limit for loss in sample)
        if test == "betting":
            found = betting([loss - limit for loss in sample], limit)
        elif test == "exact":
            found = exact(sum(sample), n, limit)
        else:
            found = hoeffding_bentkus(sum(sample) / n, n, limit)
        for delta in rejected:
            rejected[delta] += chance * (found <= delta)
    assert all(share <= delta + 1e-12 for delta, share in rejected.items())


@pytest.mark.parametrize("bet", [0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("limit", [0.1, 0.35])
def test_a_declared_bet_is_valid_at_the_limit_over_every_sample_of_three_kinds_of_units(bet, limit):
    """Heavy units with a loss, light ones without, and light ones with half of one: the null hypothesis just holds."""
    excesses = (1 - limit, -0.4 * limit, 0.4 * (0.5 - limit))
    light = (1 - limit) / ((1 - limit) + 0.4 * (limit - 0.1))  # so that the mean excess is 0
    chances = (1 - light, 0.8 * light, 0.2 * light)
    assert sum(one * chance for one, chance in zip(excesses, chances, strict=True)) == pytest.approx(0)
    rejected = dict.fromkeys((0.02, 0.05, 0.2, 0.5), 0.0)
    for sample in itertools.product(range(3), repeat=7):
        found = betting([excesses[one] for one in sample], limit, bet=bet)
        for delta in rejected:
            rejected[delta] += math.prod(chances[one] for one in sample) * (found <= delta)
    assert all(share <= delta + 1e-12 for delta, share in rejected.items())


def test_a_large_bet_needs_as_few_units_as_the_exact_test():
    needed = [labels_needed(limit, 0.05, method="betting", bet=0.99) for limit in (0.05, 0.02, 0.01)]
    assert needed == [59, 150, 302]
    assert labels_needed(0.05, 0.05, method="betting", bet=1.0) == labels_needed(0.05, 0.05) == 59


def test_a_whole_loss_ends_the_largest_bet_and_not_a_smaller_one():
    lost = [0.95] + [-0.05] * 400
    assert betting(lost, 0.05, bet=1.0) == 1
    assert betting(lost, 0.05, bet=0.9) < 0.05


@pytest.mark.parametrize("bet", [-0.1, 1.1])
def test_a_bet_of_more_than_the_largest_is_refused(bet):
    with pytest.raises(ValueError, match="from 0 to 1"):
        Losses(values=(0.5,), weights=(1.0,), is_plain=False, tasks=1, bet=bet)


@settings(max_examples=60, deadline=None)
@given(
    sample=st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 5)), min_size=1, max_size=60),
    limit=st.floats(0.01, 0.9),
    seed=st.integers(0, 5),
)
def test_a_p_value_is_one_to_zero_whatever_the_losses(sample, limit, seed):
    made = Losses(
        values=tuple(loss for loss, _ in sample),
        weights=tuple(weight for _, weight in sample),
        is_plain=False,
        tasks=len(sample),
    )
    assert 0 < made.p_value(limit, seed=seed) <= 1
    assert made.risk <= made.upper_bound(0.05, seed=seed) + 1e-9 <= 1 + 1e-9


def test_the_exact_bound_is_that_of_clopper_and_pearson():
    sample = losses_of({str(number): [float(number < 5)] for number in range(500)})
    assert sample.method == "exact"
    assert sample.upper_bound(0.05) == pytest.approx(0.020910323, abs=1e-8)  # scipy.stats.beta.ppf(.95, 6, 495)


def test_repeated_draws_are_averaged_by_task_and_tasks_by_cluster():
    losses = {"a": [1.0, 0.0], "b": [0.0, 0.0], "c": [1.0, 1.0]}
    by_task = losses_of(losses)
    assert (by_task.values, by_task.method, by_task.tasks) == ((0.5, 0.0, 1.0), "betting", 3)
    by_cluster = losses_of(losses, clusters={"a": "x", "b": "x"}, weights={"a": 3.0, "b": 1.0, "c": 2.0})
    assert by_cluster.values == (pytest.approx(0.375), 1.0)
    assert by_cluster.weights == (4.0, 2.0)
    assert not by_cluster.is_plain
    assert by_cluster.risk == pytest.approx((3 * 0.5 + 2) / 6)


def test_repeated_draws_do_not_reject_falsely_where_they_would_as_independent_ones():
    """Tasks that fail always or never: eight draws of each say no more than one."""
    limit, tasks, runs = 0.1, 60, 600
    rejected = naively = 0
    for run in range(runs):
        rng = random.Random(run)
        drawn = {str(number): [float(rng.random() < limit)] * 8 for number in range(tasks)}
        rejected += losses_of(drawn).p_value(limit, seed=run) <= 0.05
        naively += exact(round(sum(map(sum, drawn.values()))), 8 * tasks, limit) <= 0.05
    assert rejected / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert naively / runs >= 0.15


def test_hypotheses_are_rejected_until_the_first_that_is_not():
    assert fixed_sequence([0.01, 0.05, 0.06, 0.0], 0.05) == 2
    assert fixed_sequence([], 0.05) == 0


def test_a_sample_without_units_promises_nothing():
    empty = losses_of({})
    assert (empty.p_value(0.1), empty.upper_bound(0.05), empty.risk) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("values", "weights", "most", "says"),
    [
        ((0.5, 1.5), (1, 1), 0.0, "from 0 to 1"),
        ((0.5,), (1, 1), 0.0, "1 losses have 2 weights"),
        ((0.5,), (0,), 0.0, "positive"),
        ((0.5, 0.5), (1, 3), 2.0, "weighs 3, more than the declared 2"),
    ],
)
def test_losses_that_cannot_be_tested_are_refused(values, weights, most, says):
    with pytest.raises(ValueError, match=says):
        Losses(values=values, weights=weights, is_plain=False, tasks=2, most_weight=most)


def test_tests_that_are_not_valid_for_a_sample_are_refused():
    halves = losses_of({"a": [0.5], "b": [0.0]})
    with pytest.raises(ValueError, match="losses of 0 or 1"):
        halves.p_value(0.1, method="exact")
    weighted = losses_of({"a": [0.5], "b": [0.0]}, weights={"a": 2.0})
    with pytest.raises(ValueError, match="equal weights"):
        weighted.p_value(0.1, method="hoeffding-bentkus")
    for limit in (0.0, 1.0, -0.2):
        with pytest.raises(ValueError, match="between 0 and 1"):
            halves.p_value(limit)
    with pytest.raises(ValueError, match="between 0 and 1"):
        labels_needed(0.0, 0.05)


BOUNDED = [
    (0.0, 100, 0.05, 0.005920529220334054),
    (0.01, 500, 0.02, 0.1772098677078076),
    (0.013, 330, 0.05, 0.0012737377486570574),
    (0.0275, 1000, 0.05, 0.0010647890533268208),
    (0.07, 150, 0.1, 0.4364447998820987),
    (0.002, 2000, 0.01, 4.314683903169307e-05),
    (0.05, 100, 0.05, 1.0),
    (0.2, 80, 0.5, 7.979965387437881e-08),
]
"""Mean, n, limit and p-value of MAPIE 1.6.0: `compute_hoeffding_bentkus_p_value([mean], n, limit)`."""

SEQUENCES = [
    ([0.001, 0.02, 0.05, 0.06, 0.0], 3),
    ([0.2, 0.001], 0),
    ([0.01, 0.02], 2),
    ([0.04999, 0.0500001, 0.01], 1),
]
"""P-values, and how many `control_fwer(p_values, 0.05, "fixed_sequence")` of MAPIE 1.6.0 rejects."""

BETS = [
    (0.05, 78, 0, 0.0, 0.04881430128),
    (0.02, 199, 0, 0.0, 0.04866267678),
    (0.01, 400, 0, 0.0, 0.04885579622),
    (0.05, 300, 1, 0.02, 0.001598946935),
    (0.05, 500, 2, 0.03, 0.003198047231),
    (0.15, 200, 3, 0.1, 0.01309943073),
    (0.15, 400, 4, 0.1, 0.0003747683106),
    (0.05, 300, 5, 0.12, 0.8565367553),
    (0.02, 1000, 6, 0.015, 0.1640425073),
    (0.1, 150, 7, 0.05, 0.006726921754),
]
"""Limit, n, seed and share of losses of a sample, and the last p-value of ville 0.1.0:
`BettingTest(limit, alternative="less", alpha=0.05, c=0.75)`. Its bets are for an unknown sample size, ours for a known
one, so p-values differ; without a loss both bet the most that is allowed, except for our first bets."""


@pytest.mark.parametrize(("mean", "n", "limit", "p_value"), BOUNDED)
def test_hoeffding_bentkus_is_that_of_mapie(mean, n, limit, p_value):
    assert hoeffding_bentkus(mean, n, limit) == pytest.approx(p_value, rel=1e-9)


@pytest.mark.parametrize(("p_values", "rejected"), SEQUENCES)
def test_a_fixed_sequence_rejects_as_that_of_mapie(p_values, rejected):
    assert fixed_sequence(p_values, 0.05) == rejected


@pytest.mark.parametrize(("limit", "n", "seed", "share", "p_value"), BETS)
def test_a_bet_decides_as_that_of_ville(limit, n, seed, share, p_value):
    rng = random.Random(seed)
    sample = [float(rng.random() < share) * rng.choice((0.5, 1.0)) for _ in range(n)]
    found = betting([loss - limit for loss in sample], limit)
    assert (found <= 0.05) == (p_value <= 0.05)
    if share == 0:
        assert found == pytest.approx(p_value, rel=0.03)
        assert found >= p_value
