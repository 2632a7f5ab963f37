"""Beta, ESC and the e-value against their definitions, and the published figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from tierwise.stopping import Beta, Esc, EValue, VotesSoFar
from tierwise.stopping.beta import lead_probability
from tierwise.stopping.e_value import of_mode, of_pair
from tierwise.stopping.esc import last_are_equal


def first_stop(rule, answers: str, draws: int = 16) -> int | None:
    seen = range(1, len(answers) + 1)
    return next((k for k in seen if rule.stops(VotesSoFar(tuple(answers[:k]), draws - k))), None)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_beta_rule_is_the_incomplete_beta_function(first, second):
    assert lead_probability(first, second) == pytest.approx(1 - special.betainc(first + 1, second + 1, 0.5))


@pytest.mark.parametrize(("answers", "stop"), [("AAAA", 4), ("ABAAAAA", 7), ("ABABABAB", None), ("AAABAAA", 7)])
def test_where_the_beta_rule_stops_at_95_percent(answers, stop):
    assert first_stop(Beta(), answers) == stop


@pytest.mark.parametrize(("answers", "stop"), [("AAAAA", 5), ("BAAAAA", 6), ("AABAAA", None), ("ABABABAB", None)])
def test_where_esc_stops_with_a_window_of_five(answers, stop):
    assert first_stop(Esc(), answers) == stop


@given(st.lists(st.sampled_from("AB"), max_size=10), st.integers(2, 5))
def test_esc_is_the_last_window_being_equal(answers, window):
    equal = any("".join(answers).endswith(letter * window) for letter in "AB")
    assert last_are_equal(answers, window) == equal


@pytest.mark.parametrize(
    ("votes", "evidence"),
    [(3, 3.8), (4, 6.2), (5, 10.5), (6, 18.1), (7, 31.9), (8, 56.8), (9, 102), (10, 186), (11, 341)],
)
def test_the_evidence_of_unanimous_votes_is_the_published_one(votes, evidence):
    assert of_pair(votes, 0) == pytest.approx(evidence, abs=0.5 if evidence > 100 else 0.05)


@given(st.integers(0, 30), st.integers(0, 30))
def test_the_evidence_is_the_published_formula(a, b):
    m = a + b
    known = 2.0 ** (m + 1) * special.beta(a + 1, b + 1) * stats.binom.cdf(a, m + 1, 0.5)
    assert of_pair(a, b) == pytest.approx(known)


@given(st.integers(0, 30), st.integers(0, 30))
def test_under_a_tie_the_next_vote_changes_the_evidence_by_nothing_on_average(a, b):
    assert (of_pair(a + 1, b) + of_pair(a, b + 1)) / 2 == pytest.approx(of_pair(a, b))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_the_evidence_for_the_mode_is_the_smallest_over_all_rivals(counts):
    leader, *rivals = sorted(counts, reverse=True)
    assert of_mode((leader, *rivals)) == pytest.approx(min(of_pair(leader, rival) for rival in (*rivals, 0)))


def test_the_rule_certifies_eight_unanimous_votes_and_not_seven():
    assert first_stop(EValue(), "A" * 16) == 8


def test_two_tied_answers_are_rarely_certified_however_often_one_looks():
    """methods: 2.0 / 2.7 / 3.4 % within 32 / 100 / 400 votes at 2/δ, δ = .05; all below 5 %."""
    runs, most = 20_000, 400
    rng = np.random.default_rng(11)
    first = (rng.random((runs, most)) < 0.5).cumsum(axis=1)
    leader = np.maximum(first, np.arange(1, most + 1) - first)
    least = [
        next((lead for lead in range((seen + 1) // 2, seen + 1) if of_pair(lead, seen - lead) >= 40), seen + 1)
        for seen in range(1, most + 1)
    ]
    certified = (leader >= np.array(least)).cumsum(axis=1) > 0
    found = certified.mean(axis=0)[[31, 99, 399]]
    assert found == pytest.approx([0.020, 0.027, 0.034], abs=0.005)
    assert EValue().alpha > found.max()
