"""Votes by confidence: the posterior of CGES, the weights of CISC, and what a calibration must be to be used."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.stopping import Calibration, Cges, VotesSoFar
from tierwise.stopping.confidence import log_odds, posterior, weight

votes = st.lists(st.tuples(st.sampled_from("ABCD"), st.floats(0, 1)), min_size=1, max_size=12)


def direct(answers: list[str], sure: list[float]) -> dict[str, float]:
    """The definition, class by class."""
    names = sorted(set(answers))
    possible = max(3, len(names) + 1)
    clipped = [min(0.98, max(0.02, one)) for one in sure]
    classes = [*names, *[None] * (possible - len(names))]
    likelihoods = [
        math.prod(
            one if answer == name else (1 - one) / (possible - 1) for answer, one in zip(answers, clipped, strict=True)
        )
        for name in classes
    ]
    return {name: likelihoods[place] / sum(likelihoods) for place, name in enumerate(names)}


@given(votes)
def test_the_posterior_is_the_product_of_the_likelihoods(cast):
    answers, sure = [one for one, _ in cast], [one for _, one in cast]
    assert posterior(answers, sure) == pytest.approx(direct(answers, sure))


@given(votes)
def test_the_posterior_leaves_room_for_an_answer_that_nobody_gave(cast):
    assert 0 < sum(posterior([one for one, _ in cast], [one for _, one in cast]).values()) < 1


@pytest.mark.parametrize(
    ("answers", "sure", "stops"),
    [
        ("A", [0.98], False),
        ("AA", [0.9, 0.9], True),
        ("AA", [0.6, 0.6], False),
        ("AB", [0.9, 0.9], False),
        ("ABA", [0.9, 0.3, 0.9], True),
        ("AAAA", [0.6, 0.6, 0.6, 0.6], True),
    ],
)
def test_where_the_rule_stops_at_95_percent(answers, sure, stops):
    assert Cges().stops(VotesSoFar(tuple(answers), 10, tuple(sure))) is stops


def test_a_surer_vote_never_weighs_less():
    for possible in (3, 5, 9):
        weights = [log_odds(one / 50, possible) for one in range(51)]
        assert weights == sorted(weights)
    assert weight(0.9, 0.5) > weight(0.8, 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.1, 5))
def test_unnormalised_weights_are_the_softmax_up_to_a_factor(sure, temperature):
    total = sum(weight(one, temperature) for one in sure)
    exact = [math.exp(one / temperature) for one in sure]
    assert [weight(one, temperature) / total for one in sure] == pytest.approx([one / sum(exact) for one in exact])


def calibration(**changed) -> Calibration:
    return Calibration(**{"signal": "mean_logprob", "auroc": 0.7, "curve": ((-2.0, 0.2), (0.0, 0.8)), **changed})


@pytest.mark.parametrize(
    ("value", "probability"), [(-9, 0.2), (-2, 0.2), (-1, 0.5), (0, 0.8), (3, 0.8), (None, 0.5), (math.nan, 0.5)]
)
def test_a_calibration_is_linear_between_its_points_and_level_beyond_them(value, probability):
    assert calibration().probability(value) == pytest.approx(probability)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"auroc": 0.54}, r"auroc is 0\.54.* at least 0\.55 is needed\. Remove `confidence`"),
        ({"curve": ((0.0, 0.2), (0.0, 0.8))}, "must rise"),
        ({"curve": ((0.0, 0.2), (1.0, 1.8))}, "a share, from 0 to 1"),
    ],
)
def test_a_calibration_that_would_do_harm_is_refused(changed, why):
    with pytest.raises(ValueError, match=why):
        calibration(**changed)


def test_the_smallest_discrimination_that_is_accepted():
    assert calibration(auroc=0.55).auroc == 0.55
