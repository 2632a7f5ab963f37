"""Discrimination within questions: pairs of one question count, pairs across questions do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.stats.discrimination import within_question_auroc

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
