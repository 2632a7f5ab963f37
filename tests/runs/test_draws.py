"""What is kept of a draw's log-probabilities."""

from __future__ import annotations

import math

import pytest

from tierwise.runs.draws import trace_of
from tierwise.spec.call import Completion


def token(text: str, logprob: object, *top: object) -> dict[str, object]:
    return {"token": text, "logprob": logprob, "top_logprobs": [{"token": "x", "logprob": one} for one in top]}


def test_log_probabilities_are_rounded_and_the_most_likely_alternative_comes_first():
    tokens = (token("Fo", -0.12345, -2.5, -0.12345), token("ur", 0.0, 0.0))
    trace = trace_of(Completion(text="Four", logprobs=tokens))
    assert trace is not None
    assert trace.logprobs() == [-0.123, 0.0]
    assert trace.alternatives() == [[-0.123, -2.5], [0.0]]
    assert (trace.lengths, trace.answer) == ([2, 2], 0)


def test_thinking_and_answer_are_told_apart():
    tokens = tuple(token(text, -1.0) for text in ("<think>", "2+", "2", "</think>", "Fo", "ur", "<|end|>"))
    trace = trace_of(Completion(text="Four", reasoning="2+2", logprobs=tokens))
    assert trace is not None
    assert trace.answer == 4


def test_tokens_that_do_not_spell_the_answer_have_no_place_for_it():
    trace = trace_of(Completion(text="Five", reasoning="2+2", logprobs=(token("Four", -1.0),)))
    assert trace is not None
    assert trace.answer is None


@pytest.mark.parametrize("odd", [None, "x", math.nan, -math.inf, -1e300])
def test_odd_values_are_the_least_likely(odd):
    trace = trace_of(Completion(text="4", logprobs=(token("4", odd, odd),)))
    assert trace is not None
    assert (trace.logprobs(), trace.alternatives()) == ([-1000.0], [[-1000.0]])


def test_an_answer_without_log_probabilities_has_no_trace():
    assert trace_of(Completion(text="4")) is None
