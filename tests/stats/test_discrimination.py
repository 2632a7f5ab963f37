"""Discrimination within questions: pairs of one question count, pairs across questions do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri

from tierwise.stats.discrimination import auroc, auroc_gain, within_question_auroc

answers = st.lists(st.lists(st.tuples(st.integers(0, 5).map(float), st.booleans()), max_size=8), max_size=5)


@given(answers)
def test_it_is_the_share_of_pairs_in_which_the_right_answer_scores_higher(questions):
    pairs = [
        1.0 if right > wrong else 0.5 if right == wrong else 0.0
        for question in questions
        for right, is_right in question
        if is_right
        for wrong, also_right in question
        if not also_right
    ]
    found = within_question_auroc(questions)
    assert found == (None if not pairs else pytest.approx(sum(pairs) / len(pairs)))


def test_a_score_that_only_knows_easy_questions_discriminates_nothing():
    easy, hard = [(0.9, True), (0.9, True), (0.9, False)], [(0.1, False), (0.1, False), (0.1, True)]
    assert within_question_auroc([easy, hard]) == 0.5


@given(answers)
def test_the_auroc_of_all_answers_counts_pairs_of_any_questions(questions):
    flat = [(score, is_right, number) for number, several in enumerate(questions) for score, is_right in several]
    scores, right, units = ([one[place] for one in flat] for place in range(3))
    pairs = [
        1.0 if sure > unsure else 0.5 if sure == unsure else 0.0
        for sure, is_right, _ in flat
        if is_right
        for unsure, also_right, _ in flat
        if not also_right
    ]
    found = auroc(scores, right, units)
    if not pairs:
        assert found is None
        return
    assert found.value == pytest.approx(sum(pairs) / len(pairs))
    assert found.n == len(set(units))
    if found.interval is not None:
        assert 0 <= found.interval.low <= found.value + 1e-9
        assert found.value <= found.interval.high + 1e-9 <= 1 + 2e-9
    same = auroc_gain(scores, scores, right, units)
    assert same.value == 0
    opposite = auroc_gain(scores, [-one for one in scores], right, units)
    assert opposite.value == pytest.approx(2 * found.value - 1)


def drawn(rng, questions, draws, apart=0.8):
    """Scores of draws that share a question's ease, which makes right answers likely and scores high."""
    ease = rng.standard_normal(questions)
    right = rng.standard_normal((questions, draws)) < ease[:, None]
    scores = 0.7 * ease[:, None] + apart * right + rng.standard_normal((questions, draws))
    units = np.repeat(np.arange(questions), draws)
    return scores.ravel(), right.ravel(), units


def test_the_interval_covers_the_truth_with_several_draws_of_a_question():
    rng = np.random.default_rng(8)
    scores, right, units = drawn(rng, 6000, 4)
    truth = auroc(scores, right, units).value
    covered = alone = 0
    for _ in range(300):
        scores, right, units = drawn(rng, 60, 4)
        found = auroc(scores, right, units).interval
        covered += found.low <= truth <= found.high
        found = auroc(scores, right, np.arange(len(units))).interval
        alone += found.low <= truth <= found.high
    assert covered / 300 >= 0.92
    assert alone < covered, "answers of a question are no independent ones"


def test_the_gain_of_a_score_is_paired():
    rng = np.random.default_rng(3)
    scores, right, units = drawn(rng, 300, 4)
    better = scores + 0.8 * right
    found = auroc_gain(better, scores, right, units)
    one, other = (auroc(several, right, units) for several in (better, scores))
    assert found.value == pytest.approx(one.value - other.value)
    assert found.interval.low > 0
    width = found.interval.high - found.interval.low
    assert width < (one.interval.high - one.interval.low) + (other.interval.high - other.interval.low)
    noise = auroc_gain(scores + 0.01 * rng.standard_normal(len(scores)), scores, right, units)
    assert noise.interval.low < 0 < noise.interval.high


def test_without_clusters_it_is_the_interval_of_delong():
    right = [True] * 4 + [False] * 4
    scores = [0.9, 0.8, 0.7, 0.3, 0.6, 0.4, 0.2, 0.1]
    found = auroc_gain(scores, [0.0] * 8, right, range(8))
    places = ([1, 1, 1, 0.5], [0.75, 0.75, 1, 1])
    variance = sum(np.var(several, ddof=1) / 4 for several in places)
    assert found.value == pytest.approx(0.375)
    half = (found.interval.high - found.interval.low) / 2
    assert half > -ndtri(0.025) * variance**0.5  # Student's t with 3 degrees of freedom
    assert half == pytest.approx(3.182446 * variance**0.5, rel=1e-6)


def test_right_answers_to_one_question_have_no_interval():
    found = auroc([3.0, 2.0, 1.0], [True, True, False], ["a", "a", "b"])
    assert (found.value, found.interval) == (1.0, None)
    assert auroc([1.0], [True], ["a"]) is None


def test_perfect_discrimination_has_an_interval_that_is_not_a_point():
    found = auroc(list(range(20)), [number >= 10 for number in range(20)], range(20))
    assert found.interval.high == 1
    assert 0.5 < found.interval.low < 0.95
