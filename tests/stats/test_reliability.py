"""Calibration: fits do not see what they are judged on, deciles count every answer, and weights are those of a peer."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.stats.reliability import (
    BINS,
    calibration_error,
    cross_fitted,
    folds,
    isotonic,
    logistic,
    logistic_weights,
    reliability,
)

answers = st.lists(st.tuples(st.integers(0, 9).map(float), st.booleans(), st.integers(0, 5)), min_size=2, max_size=80)


def test_weights_are_those_of_scikit_learn():
    rng = random.Random(5)
    rows = [[round(rng.gauss(0, 1), 3), round(rng.gauss(0, 1), 3)] for _ in range(60)]
    right = [rng.random() < 1 / (1 + math.exp(-(1.5 * a - 0.5 * b + 0.3))) for a, b in rows]
    weights, constant = logistic_weights(np.array(rows), np.array(right, dtype=float))
    # LogisticRegression(C=1.0, tol=1e-10) of scikit-learn 1.9.1
    assert weights.tolist() == pytest.approx([1.2505007539956654, -0.7503641351981271], abs=1e-5)
    assert constant == pytest.approx(-0.2839699712458366, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(answers)
def test_every_answer_is_in_one_bin_and_every_bin_has_its_share(found):
    scores, right, units = zip(*found, strict=True)
    bins = reliability(scores, np.full(len(scores), 0.5), right, units)
    assert sum(one.answers for one in bins) == len(scores)
    assert len(bins) <= BINS
    for one, after in itertools.pairwise(bins):
        assert one.high < after.low
    for one in bins:
        inside = [was for score, was in zip(scores, right, strict=True) if one.low <= score <= one.high]
        assert one.answers == len(inside)
        assert one.right == pytest.approx(sum(inside) / len(inside))
        if one.interval is not None:
            assert one.interval.low <= one.right + 1e-9
            assert one.right <= one.interval.high + 1e-9
    error = calibration_error(bins)
    assert error == pytest.approx(sum(one.answers * abs(0.5 - one.right) for one in bins) / len(scores))


def test_nothing_has_no_calibration_error():
    assert calibration_error(()) is None


def test_an_isotonic_fit_rises_and_pools_what_falls():
    values = np.array([[0.0], [1.0], [2.0], [3.0]])
    predict = isotonic(values, np.array([0.0, 1.0, 0.0, 1.0]))
    assert predict(np.array([[-1.0], [0.0], [1.0], [2.0], [9.0]])).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0]


def test_a_cluster_is_in_one_fold_and_folds_are_of_like_size():
    units = [f"question {number // 4}" for number in range(400)]
    found = folds(units)
    assert all(len(set(found[4 * one : 4 * one + 4].tolist())) == 1 for one in range(100))
    assert np.bincount(found).tolist() == [80] * 5


@pytest.mark.parametrize("fit", [isotonic, logistic])
def test_a_fit_does_not_see_the_answers_that_it_predicts(fit):
    rng = np.random.default_rng(2)
    scores = rng.random(200)
    noise = rng.random(200) < 0.5
    units = list(range(200))
    predicted = cross_fitted(scores[:, None], noise, folds(units), fit)
    seen = fit(scores[:, None], noise.astype(float))(scores[:, None])
    apart = [float(one[noise].mean() - one[~noise].mean()) for one in (predicted, seen)]
    assert apart[0] < apart[1]
    assert apart[0] < 0.05


def test_a_calibrated_score_has_a_small_error_and_a_wrong_scale_a_large_one():
    rng = np.random.default_rng(4)
    chance = rng.random(5000)
    right = rng.random(5000) < chance
    units = list(range(5000))
    fitted = cross_fitted(chance[:, None], right, folds(units), isotonic)
    assert calibration_error(reliability(chance, fitted, right.tolist(), units)) < 0.03
    assert calibration_error(reliability(chance, chance**4, right.tolist(), units)) > 0.2
