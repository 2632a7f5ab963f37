"""pass@k, pass^k and repeats asked again, against the published estimator and slow obvious code."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.errors import SpecError
from tierwise.stats.repeats import again, pass_all, pass_at


def published(n, c, k):  # Chen et al. 2021, figure 3
    return 1.0 if n - c < k else 1.0 - np.prod(1.0 - k / np.arange(n - c + 1, n + 1))


@given(n=st.integers(1, 30), data=st.data())
def test_pass_at_k_is_the_published_estimator(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at([c], [n], k).value == pytest.approx(published(n, c, k))


@pytest.mark.parametrize(("c", "k"), [(2, 2), (3, 1), (4, 3), (0, 2), (5, 5)])
def test_both_are_the_shares_of_subsets_that_count(c, k):
    subsets = list(itertools.combinations([True] * c + [False] * (5 - c), k))
    assert pass_at([c], [5], k).value == pytest.approx(sum(map(any, subsets)) / len(subsets))
    assert pass_all([c], [5], k).value == pytest.approx(sum(map(all, subsets)) / len(subsets))


def test_nothing_is_guessed_beyond_the_repeats():
    for estimate in (pass_at, pass_all):
        with pytest.raises(SpecError, match="has 4 repeats"):
            estimate([1, 2], [8, 4], 5)
        with pytest.raises(SpecError, match="1 or more"):
            estimate([1], [8], 0)
        assert estimate([], [], 1) is None


def test_all_or_nothing_leaves_room_for_doubt():
    assert pass_at([0] * 30, [8] * 30, 4).interval.high > 0.05
    assert pass_all([8] * 30, [8] * 30, 4).interval.low < 0.95


def test_more_passes_help_the_best_and_hurt_the_worst():
    solved, repeats = [1, 4, 7, 8, 0, 3], [8] * 6
    at = [pass_at(solved, repeats, k).value for k in range(1, 9)]
    every = [pass_all(solved, repeats, k).value for k in range(1, 9)]
    assert at == sorted(at)
    assert every == sorted(every, reverse=True)
    assert at[0] == pytest.approx(every[0])


def slowly_again(values, draws=2000):
    """The mean over tasks, and the percentile interval of resampling the repeats of each task one by one."""
    rng = np.random.default_rng(0)
    tasks = [np.array(one) for one in values]
    drawn = [np.mean([one[rng.integers(len(one), size=len(one))].mean() for one in tasks]) for _ in range(draws)]
    return np.mean([one.mean() for one in tasks]), np.quantile(drawn, (0.025, 0.975))


def test_these_tasks_asked_again_are_as_a_slow_bootstrap_has_them():
    rng = random.Random(6)
    values = [[float(rng.random() < share) for _ in range(12)] for share in (rng.random() for _ in range(40))]
    value, ends = slowly_again(values)
    quick = again([int(sum(one)) for one in values], [12] * 40)
    assert (quick.value, quick.n, quick.population) == (pytest.approx(value), 40, "repeats")
    assert (quick.interval.low, quick.interval.high) == pytest.approx(tuple(ends), abs=0.01)
    within = math.sqrt(sum(np.var(one) for one in values) / 12) / 40
    assert (quick.interval.high - quick.interval.low) / 2 == pytest.approx(1.96 * within, rel=0.08)
    assert quick == again([int(sum(one)) for one in values], [12] * 40), "the draws are seeded"
    assert again([3], [9]).interval is None
    assert again([], []) is None


def test_a_task_that_counts_more_is_asked_again_with_more_weight():
    assert again([10, 0], [10, 10], [3.0, 1.0]).value == 0.75
