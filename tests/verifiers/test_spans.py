"""The tokens that say what an answer is, found by aligning tokens with text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Chunk, Completion, Recorder
from tierwise.verifiers.spans import answer_tokens, reasoning_tokens, span_tokens


def tokens_of(*pieces):
    return tuple({"token": piece, "logprob": -0.1} for piece in pieces)


def said(tokens):
    return [token["token"] for token in tokens]


def completion(*pieces, **fields):
    return Completion(text="".join(pieces), logprobs=tokens_of(*pieces), **fields)


@pytest.mark.parametrize(
    ("pieces", "span"),
    [
        (["So ", "\\boxed", "{", "4", "2", "}", "."], ["4", "2"]),
        (["5 or 7?", " The answer", " is", " 7"], [" 7"]),
        (['{"a', '": ', "12", ', "b": "', "red", '"}'], ["12", "red"]),
        (["just ", "words"], ["just ", "words"]),
        (["The answer is 4", "2"], ["The answer is 4", "2"]),  # a token that holds more than the span is part of it
    ],
)
def test_the_span_is_the_last_result(pieces, span):
    assert said(span_tokens(completion(*pieces))) == span


def test_the_span_of_a_tool_call_is_its_name_and_values():
    calls = ({"function": {"name": "look", "arguments": '{"city": "Oslo", "days": 3}'}},)
    tokens = tokens_of("<call>", "look", '{"city"', ': "', "Os", "lo", '", "days": ', "3", "}")
    assert said(span_tokens(Completion(tool_calls=calls, logprobs=tokens))) == ["look", "Os", "lo", "3"]


def test_a_character_may_be_spread_over_several_tokens():
    first, second = "é".encode()
    tokens = (
        {"token": "The answer is caf", "bytes": list(b"The answer is caf")},
        {"token": "\ufffd", "bytes": [first]},
        {"token": "\ufffd", "bytes": [second]},
    )
    assert span_tokens(Completion(text="The answer is café", logprobs=tokens)) == tokens


def test_a_stream_says_which_tokens_were_thinking():
    recorder = Recorder()
    for field, piece in [("reasoning_content", "hm "), ("reasoning", "so "), ("content", "4"), ("content", "2")]:
        recorder.add(Chunk(delta={field: piece}, logprobs={"content": list(tokens_of(piece))}))
    done = recorder.completion()
    assert (said(reasoning_tokens(done)), said(answer_tokens(done))) == (["hm ", "so "], ["4", "2"])


@pytest.mark.parametrize(
    "whole",
    [
        Completion(text="42", reasoning="4, 2", logprobs=tokens_of("<think>", "4, 2", "</think>", "4", "2")),
        completion("<think>", "4, 2", "</think>", "4", "2"),
    ],
)
def test_thinking_is_told_apart_where_the_answer_came_in_one_piece(whole):
    assert said(reasoning_tokens(whole)) == ["<think>", "4, 2", "</think>"]
    assert said(answer_tokens(whole)) == ["4", "2"]


odd = st.none() | st.integers() | st.text(max_size=4) | st.lists(st.integers(-5, 300), max_size=4)


@given(
    tokens=st.lists(st.fixed_dictionaries({}, optional={"token": odd, "bytes": odd, "logprob": odd}), max_size=6),
    text=st.text(max_size=20) | st.sampled_from(["\\boxed{4}", '{"a": 1}', "[[[[", "<think>4", "\ud800"]),
    arguments=odd | st.sampled_from(['{"a": [1, {"b": "x"}]}', "{", "[" * 2000]),
    thought=st.integers(0, 9),
)
def test_whatever_comes_the_span_is_a_part_of_the_answer(tokens, text, arguments, thought):
    calls = ({"function": {"name": "f", "arguments": arguments}},)
    for done in (
        Completion(text=text, logprobs=tuple(tokens), thought=thought),
        Completion(text=text, tool_calls=calls, logprobs=tuple(tokens), thought=thought),
    ):
        assert [*reasoning_tokens(done), *answer_tokens(done)] == tokens
        kept = [id(token) for token in answer_tokens(done)]
        assert all(id(token) in kept for token in span_tokens(done))
