"""Confidence from log-probabilities, on values worked out by hand and on what servers may send."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.logprobs import log_probability
from tierwise.stats import confidence
from tierwise.stats.confidence import SlidingMean, lowest_window, tail_confidence, window_for

LOG = math.log


def token(*probabilities, sampled=None):
    top = [{"token": "", "logprob": LOG(one)} for one in probabilities]
    return {"token": "", "logprob": LOG(sampled or probabilities[0]), "top_logprobs": top}


@pytest.mark.parametrize(
    ("function", "tokens", "value"),
    [
        (confidence.mean_confidence, [token(0.5, 0.25)], -(LOG(0.5) + LOG(0.25)) / 2),
        (confidence.mean_confidence, [token(0.5, 0.5), token(0.9, 0.1)], (LOG(2) - (LOG(0.9) + LOG(0.1)) / 2) / 2),
        (confidence.mean_entropy, [token(0.5, 0.5)], LOG(2)),
        (confidence.mean_entropy, [token(0.5, 0.25)], 0.5 * LOG(2) + 0.5 * LOG(4)),  # the rest is one bucket of ¼
        (confidence.mean_entropy, [token(0.25, 0.25)], 0.5 * LOG(4) + 0.5 * LOG(2)),
        (confidence.mean_margin, [token(0.7, 0.2), token(0.5, 0.4)], 0.3),
        (confidence.mean_logprob, [token(0.5, 0.25), token(0.5, 0.25, sampled=0.25)], (LOG(0.5) + LOG(0.25)) / 2),
        (confidence.lowest_probability, [token(0.5, 0.25), token(0.5, 0.25, sampled=0.25)], 0.25),
    ],
)
def test_each_confidence_follows_its_formula(function, tokens, value):
    assert function(tokens) == pytest.approx(value)


def test_tail_and_lowest_window_look_at_their_tokens_only():
    sure, unsure = token(0.99, 0.001), token(0.4, 0.3)
    high, low = (confidence.token_confidence(one) for one in (sure, unsure))
    tokens = [sure, unsure, unsure, sure, sure]
    assert tail_confidence(tokens, 2) == pytest.approx(high)
    assert lowest_window(tokens, 2) == pytest.approx(low)
    assert lowest_window(tokens, 3) == pytest.approx((high + 2 * low) / 3)
    assert lowest_window(tokens, 9) == pytest.approx((3 * high + 2 * low) / 5)


def test_entropy_of_the_first_tokens_leaves_out_the_rest():
    tokens = iter([token(0.5, 0.5), token(0.99, 0.01)])
    assert confidence.mean_entropy(tokens, first=1) == pytest.approx(LOG(2))
    assert len(list(tokens)) == 1, "it is not even read"


@pytest.mark.parametrize(("median", "window"), [(0, 64), (200, 64), (400, 100), (8192, 2048), (100_000, 2048)])
def test_a_window_is_a_quarter_of_the_median_length_within_bounds(median, window):
    assert window_for(median) == window


def test_one_alternative_says_nothing_about_the_others():
    assert confidence.mean_margin([token(0.9)]) is None
    assert confidence.mean_entropy([token(0.9)]) is None
    assert confidence.mean_confidence([token(0.9)]) is None


odd = st.none() | st.booleans() | st.text(max_size=2) | st.floats() | st.integers(-(10**400), 10**400)
records = st.fixed_dictionaries(
    {},
    optional={
        "logprob": odd,
        "top_logprobs": odd | st.lists(st.fixed_dictionaries({}, optional={"logprob": odd}) | odd, max_size=4),
    },
)


@given(tokens=st.lists(records, max_size=6))
def test_whatever_a_server_sends_a_confidence_is_finite_or_none(tokens):
    functions = (
        confidence.mean_confidence,
        confidence.tail_confidence,
        confidence.lowest_window,
        confidence.mean_entropy,
        confidence.mean_margin,
        confidence.mean_logprob,
        confidence.lowest_probability,
    )
    for function in functions:
        value = function(tokens)
        assert value is None or math.isfinite(value)


@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=50), window=st.integers(1, 60))
def test_a_sliding_mean_is_the_mean_of_the_last_values(values, window):
    sliding = SlidingMean(window)
    for end, value in enumerate(values, start=1):
        mean = sliding.add(value)
        assert (mean is None) == (end < window)
        if mean is not None:
            assert mean == pytest.approx(sum(values[end - window : end]) / window, abs=1e-9)


def test_a_window_has_at_least_one_token():
    with pytest.raises(ValueError, match="at least 1"):
        SlidingMean(0)


@given(tokens=st.lists(records, max_size=8))
def test_the_number_of_alternatives_is_the_largest_of_any_token(tokens):
    assert confidence.number_of_alternatives(tokens) == max(
        (len(confidence.alternatives(one)) for one in tokens), default=0
    )


def plain(record):
    """The readable log-probabilities of a record's alternatives, highest first."""
    listed = record.get("top_logprobs")
    read = (
        [log_probability(one.get("logprob")) for one in listed if isinstance(one, dict)]
        if isinstance(listed, list)
        else []
    )
    return sorted((one for one in read if one is not None), reverse=True)


def mean(values):
    return math.fsum(values) / len(values) if values else None


@given(
    tokens=st.lists(
        records | st.lists(st.floats(0.01, 0.19), max_size=6).map(lambda some: token(0.2, *some)), max_size=9
    )
)
def test_confidence_and_margin_are_those_of_the_plain_formulas(tokens):
    several = [found for one in tokens if len(found := plain(one)) > 1]
    assert confidence.mean_margin(tokens) == mean([math.exp(one[0]) - math.exp(one[1]) for one in several])
    assert confidence.mean_confidence(tokens) == mean([-sum(one) / len(one) for one in several])
    assert tail_confidence(tokens, 3) == mean([-sum(one) / len(one) for one in several][-3:])
