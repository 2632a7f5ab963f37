"""A combination of signals is used only where it is better than the best one on questions that it did not see."""

from __future__ import annotations

import numpy as np
import pytest

from tierwise.pools.combining import LEAST_UNITS, combination


def answered(questions=120, draws=4, *, second=1.0, seed=0):
    """Two signals of answers; the second knows something of its own, as far as it is given weight."""
    rng = np.random.default_rng(seed)
    right = rng.random((questions, draws)) < 0.6
    first = right + rng.standard_normal(right.shape)
    other = second * right + rng.standard_normal(right.shape)
    units = np.repeat(np.arange(questions), draws).tolist()
    return {"first": first.ravel().tolist(), "other": other.ravel().tolist()}, right.ravel().tolist(), units


def test_signals_that_know_different_things_are_combined():
    values, right, units = answered()
    found = combination(values, right, units)
    assert found.why_not == ""
    assert found.gain.interval.low > 0
    assert found.auroc.value > 0.8
    assert {one.signal for one in found.weights} == {"first", "other"}
    logits = (
        sum(one.weight * (np.array(values[one.signal]) - one.mean) / one.scale for one in found.weights)
        + found.constant
    )
    assert (1 / (1 + np.exp(-logits))).mean() == pytest.approx(np.mean(right), abs=0.01)


def test_a_signal_of_noise_adds_nothing_and_is_refused_with_the_figure():
    found = combination(*answered(second=0.0))
    assert found.weights == ()
    assert found.best == "first"
    assert "does not exclude 0: use first" in found.why_not
    assert f"{found.gain.value:+.3f}" in found.why_not


def test_too_few_questions_are_refused_before_anything_is_fitted():
    found = combination(*answered(LEAST_UNITS - 1))
    assert found.gain is None
    assert found.why_not == f"{LEAST_UNITS - 1} questions have answers, {LEAST_UNITS} are needed"


def test_a_signal_that_an_answer_lacks_or_that_never_differs_takes_no_part():
    values, right, units = answered()
    values["rare"] = [None, *values["first"][1:]]
    values["constant"] = [1.0] * len(right)
    assert {one.signal for one in combination(values, right, units).weights} == {"first", "other"}
    assert combination({"first": values["first"], "rare": values["rare"]}, right, units) is None


def test_answers_that_are_all_right_have_no_combination():
    values, right, units = answered()
    assert combination(values, [True] * len(right), units) is None
