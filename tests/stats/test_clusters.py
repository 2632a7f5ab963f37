"""Shares and differences of clusters: known answers from SWE-bench Pro, closed forms, and edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tierwise.spec.errors import SpecError
from tierwise.stats import estimates
from tierwise.stats.clusters import difference, gather, rate, robust_error

# Solved and tasks of SWE-bench Pro's eleven repositories, from its public evaluation results: NodeBB, ansible,
# element-hq, flipt-io, future-architect, gravitational, internetarchive, navidrome, protonmail, qutebrowser, tutao.
PRO = {
    "claude-4.5-sonnet": (
        (11, 53, 18, 28, 27, 23, 50, 22, 27, 52, 8),
        (44, 96, 55, 85, 62, 76, 91, 57, 65, 79, 20),
    ),
    "gpt-5": ((17, 47, 20, 15, 20, 13, 39, 20, 14, 51, 9), (44, 96, 55, 84, 62, 76, 91, 57, 65, 79, 20)),
    "kimi-k2": ((20, 27, 16, 6, 8, 6, 39, 11, 23, 41, 5), (44, 96, 55, 85, 62, 76, 91, 57, 65, 78, 20)),
    "gptoss": ((13, 17, 8, 10, 9, 6, 14, 6, 9, 20, 6), (44, 95, 55, 85, 62, 75, 91, 57, 65, 79, 20)),
    "claude-4-sonnet": ((13, 43, 11, 19, 18, 19, 36, 14, 22, 40, 5), (36, 76, 41, 69, 50, 57, 64, 42, 50, 60, 17)),
}
ONLY_CLAUDE = (2, 11, 5, 14, 15, 17, 19, 4, 14, 8, 4)
"""Tasks that claude-4.5-sonnet solved and gpt-5 did not; below the reverse; of 729 that both ran."""
ONLY_GPT = (8, 5, 7, 1, 8, 7, 8, 2, 1, 7, 5)
BOTH_SIZES = (44, 96, 55, 84, 62, 76, 91, 57, 65, 79, 20)
BOTH = (9, 42, 13, 14, 12, 6, 31, 18, 13, 44, 4)


@pytest.mark.parametrize(
    ("run", "share", "naive", "clustered"),
    [
        ("claude-4.5-sonnet", 0.437, 0.0184, 0.0415),
        ("gpt-5", 0.364, 0.0178, 0.0506),
        ("kimi-k2", 0.277, 0.0166, 0.0518),
        ("gptoss", 0.162, 0.0137, 0.0184),
        ("claude-4-sonnet", 0.427, 0.0209, 0.0461),
    ],
)
def test_repositories_make_the_errors_of_swe_bench_pro_larger(run, share, naive, clustered):
    solved, tasks = PRO[run]
    n = sum(tasks)
    assert sum(solved) / n == pytest.approx(share, abs=6e-4)
    assert math.sqrt(share * (1 - share) / n) == pytest.approx(naive, abs=6e-5)
    assert robust_error(solved, tasks) == pytest.approx(clustered, abs=6e-5)


def test_pairing_and_clustering_the_difference_of_two_runs():
    changed = [one - other for one, other in zip(ONLY_CLAUDE, ONLY_GPT, strict=True)]
    assert sum(changed) / sum(BOTH_SIZES) == pytest.approx(0.074, abs=5e-4)
    assert robust_error(changed, BOTH_SIZES) == pytest.approx(0.0255, abs=5e-5)
    found = difference(
        [both + one for both, one in zip(BOTH, ONLY_CLAUDE, strict=True)],
        [both + one for both, one in zip(BOTH, ONLY_GPT, strict=True)],
        BOTH_SIZES,
    )
    half = stats.t.ppf(0.975, 10) * 0.0255
    assert (found.interval.low, found.interval.high) == pytest.approx((0.074 - half, 0.074 + half), abs=0.01)
    assert (found.n, found.population) == (11, "clusters")


def test_far_from_the_edges_a_share_of_clusters_has_students_interval():
    solved, tasks = PRO["claude-4.5-sonnet"]
    found = rate(solved, tasks)
    half = stats.t.ppf(0.975, 10) * 0.0415
    assert found.interval.high - found.interval.low == pytest.approx(2 * half, rel=0.03)


@given(n=st.integers(10, 2000), data=st.data())
def test_clusters_of_one_are_wilsons_interval_or_a_little_more(n, data):
    solved = data.draw(st.integers(0, n))
    found = rate([1.0] * solved + [0.0] * (n - solved), [1.0] * n, "tasks")
    wilson = estimates.wilson(solved, n)
    assert found.interval.low <= wilson.low + 1e-12
    assert found.interval.high >= wilson.high - 1e-12
    assert found.interval.high - found.interval.low < 1.35 * (wilson.high - wilson.low)


def test_of_single_tasks_the_difference_is_newcombes_but_for_the_quantile():
    first = [1.0] * 360 + [1.0] * 120 + [0.0] * 20
    second = [1.0] * 360 + [0.0] * 120 + [1.0] * 20
    found, newcombe = difference(first, second, [1.0] * 500), estimates.paired_difference(360, 120, 20, 0)
    assert found.interval.low == pytest.approx(newcombe.interval.low, abs=1e-3)
    assert found.interval.high == pytest.approx(newcombe.interval.high, abs=1e-3)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=60),
    st.booleans(),
)
def test_no_interval_is_empty_and_each_holds_its_estimate(clusters, is_graded):
    sizes = [size for size, _, _ in clusters]
    first, second = ([round(size * one[side]) for size, *one in clusters] for side in (0, 1))
    found = rate(first, sizes, is_graded=is_graded)
    assert 0 <= found.interval.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.interval.high <= 1
    assert found.interval.high - found.interval.low > 1e-3
    change = difference(first, second, sizes)
    assert -1 <= change.interval.low <= change.value + 1e-12
    assert change.value - 1e-12 <= change.interval.high <= 1
    assert change.interval.high - change.interval.low > 1e-4
    turned = difference(second, first, sizes)
    assert (turned.interval.low, turned.interval.high) == pytest.approx((-change.interval.high, -change.interval.low))


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0, 1)), min_size=2, max_size=60))
def test_solved_and_unsolved_are_treated_alike(clusters):
    sizes = [size for size, _ in clusters]
    solved = [round(size * share) for size, share in clusters]
    found, mirrored = rate(solved, sizes), rate([n - s for n, s in zip(sizes, solved, strict=True)], sizes)
    assert (mirrored.interval.low, mirrored.interval.high) == pytest.approx(
        (1 - found.interval.high, 1 - found.interval.low)
    )


def test_where_nothing_was_solved_a_thousand_repeats_say_no_more_than_their_tasks():
    once, often = rate([0.0] * 20, [1.0] * 20), rate([0.0] * 20, [50.0] * 20)
    assert often.interval.low == 0
    assert often.interval.high == pytest.approx(once.interval.high)


def test_repeats_that_always_agree_say_no_more_than_one_and_repeats_that_do_not_say_more():
    once = rate([1.0] * 50 + [0.0] * 50, [1.0] * 100)
    agreeing = rate([8.0] * 50 + [0.0] * 50, [8.0] * 100)
    mixed = rate([3.0, 4.0, 5.0, 4.0] * 25, [8.0] * 100)
    assert (agreeing.interval.low, agreeing.interval.high) == pytest.approx((once.interval.low, once.interval.high))
    assert mixed.interval.high - mixed.interval.low < 0.5 * (once.interval.high - once.interval.low)


def test_one_cluster_says_nothing_about_others():
    assert rate([3.0], [10.0]).interval is None
    assert difference([3.0], [4.0], [10.0]).interval is None
    assert rate([], []) is None
    assert difference([], [], []) is None
    with pytest.raises(SpecError, match="at least 2 clusters"):
        robust_error([3.0], [10.0])


def test_labels_gather_observations_into_clusters():
    assert gather([1, 0, 1, 1], ["a", "b", "a", "b"]) == ([2.0, 1.0], [2.0, 2.0])


def test_a_cluster_that_outweighs_the_others_makes_the_interval_wide():
    even = rate([10.0] * 10 + [4.0] * 11, [19.0] * 21)
    uneven = rate([240.0, *[2.0] * 10, *[1.0] * 10], [360.0, *[2.0] * 20])
    assert uneven.interval.high - uneven.interval.low > 2 * (even.interval.high - even.interval.low)
    assert math.isfinite(rate([500.0, 1.0], [1000.0, 1.0]).interval.high)


@pytest.mark.parametrize("icc", [0.1, 0.3, 0.5])
def test_shares_of_unequal_clusters_cover_their_truth(icc):
    sizes = np.array([64, 32, 16, 8, 8, 4, 4, 4, 2, 2, 2, 1, 1, 1, 1])
    rng, scale, held = np.random.default_rng(8), 1 / icc - 1, 0
    for chance in rng.beta(0.3 * scale, 0.7 * scale, size=(800, len(sizes))):
        found = rate(rng.binomial(sizes, chance).tolist(), sizes.tolist())
        held += found.interval.low <= 0.3 <= found.interval.high
    assert held / 800 > 0.92
