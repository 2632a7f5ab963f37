"""The recorder joins what engines send, whatever they leave out, add or repeat."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.call import Chunk, Completion, Recorder, Usage


def recorded(*chunks: Chunk | dict) -> Completion:
    recorder = Recorder()
    for chunk in chunks:
        recorder.add(chunk if isinstance(chunk, Chunk) else Chunk(delta=chunk))
    return recorder.completion()


def counted(*chunks: Chunk) -> Usage:
    recorder = Recorder()
    for chunk in chunks:
        recorder.add(chunk)
    return recorder.usage


def tool(index: int | None = 0, **fields) -> dict:
    return {"tool_calls": [fields if index is None else {"index": index, **fields}]}


def test_texts_are_joined_in_order():
    said = recorded({"role": "assistant", "content": ""}, {"content": "fo"}, {"content": "ur"}, {"content": None})
    assert said == Completion(text="four")


def test_thinking_is_kept_apart_under_either_name():
    assert recorded({"reasoning_content": "2+2"}, {"reasoning": " is"}, {"content": "4"}) == Completion(
        text="4", reasoning="2+2 is"
    )


def test_thinking_that_is_sent_under_both_names_at_once_is_thought_once():
    both = {"reasoning": "hm", "reasoning_content": "hm"}
    assert recorded(both, dict(reversed(both.items()))).reasoning == "hmhm"


def test_the_pieces_of_tool_calls_are_put_together_by_index():
    said = recorded(
        tool(0, id="a", type="function", function={"name": "add", "arguments": ""}),
        tool(1, id="b", type="function", function={"name": "sub", "arguments": "{"}),
        tool(0, function={"arguments": '{"x"'}),
        tool(0, id=None, type=None, function={"name": None, "arguments": ":1}"}),
        tool(1, function={"arguments": "}"}),
    )
    assert said.tool_calls == (
        {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
    )


def test_tool_calls_without_an_index_are_calls_of_their_own():
    said = recorded(tool(None, id="a", function={"name": "add"}), tool(None, id="b", function={"name": "sub"}))
    assert [call["id"] for call in said.tool_calls] == ["a", "b"]


@pytest.mark.parametrize("odd", [None, "text", [], [None, 3], {}])
def test_odd_tool_calls_are_no_tool_calls(odd):
    assert recorded({"tool_calls": odd, "content": "4"}) == Completion(text="4")


def test_fields_that_we_do_not_know_are_kept_and_texts_among_them_grow():
    said = recorded(
        {"refusal": None, "content": ""}, {"refusal": "I can"}, {"refusal": "not", "audio": {"id": 1}}, {"audio": None}
    )
    assert said.extra == {"refusal": "I cannot", "audio": {"id": 1}}
    assert said.message()["refusal"] == "I cannot"


@pytest.mark.parametrize(
    ("said", "is_empty"),
    [
        (Completion(), True),
        (Completion(extra={"refusal": None}), True),
        (Completion(extra={"refusal": "no"}), False),
        (Completion(text="a"), False),
        (Completion(reasoning="a"), False),
        (Completion(tool_calls=({},)), False),
    ],
)
def test_an_empty_completion_says_nothing_in_any_way(said, is_empty):
    assert said.is_empty is is_empty


def test_the_engines_reason_to_stop_wins_over_the_one_that_we_would_give():
    recorder = Recorder()
    recorder.add(Chunk(delta={"content": "a"}))
    assert (recorder.completion("length").finish, recorder.completion().finish) == ("length", "stop")
    recorder.add(Chunk(finish="tool_calls"))
    recorder.add(Chunk(usage=Usage(completion=1)))
    assert recorder.completion("length").finish == "tool_calls"


def test_a_count_is_taken_as_it_comes_because_it_is_of_everything_so_far():
    usage = Usage(prompt=5, cached=2, completion=2, reasoning=1)
    assert counted(Chunk(delta={"content": "a"}, usage=Usage(prompt=5, completion=1)), Chunk(usage=usage)) == usage


def test_without_a_count_every_chunk_that_says_something_is_a_token():
    words = [
        Chunk(delta={"role": "assistant"}),
        Chunk(delta={"content": "a"}),
        Chunk(delta={"reasoning": "b"}),
        Chunk(finish="stop"),
    ]
    assert counted(*words) == Usage(completion=2, reasoning=1, exact=False)


def test_log_probabilities_tell_how_many_tokens_a_chunk_has():
    tokens = [{"token": "a", "logprob": -1.0}, {"token": "b", "logprob": -3.0}, "odd"]
    chunk = Chunk(delta={"content": "ab"}, logprobs={"content": tokens})
    assert counted(chunk) == Usage(completion=3, exact=False)
    assert recorded(chunk).mean_logprob == -2.0
    assert recorded({"content": "ab"}).mean_logprob is None


def test_what_came_after_the_last_count_is_added_to_it():
    usage = Usage(prompt=5, completion=3)
    assert counted(Chunk(usage=usage), Chunk(delta={"content": "d"})) == Usage(prompt=5, completion=4, exact=False)


def test_an_engine_that_counts_no_token_of_its_output_has_not_counted():
    words = [Chunk(delta={"content": "a"}), Chunk(delta={"content": "b"})]
    assert counted(*words, Chunk(usage=Usage(exact=False))) == Usage(completion=2, exact=False)
    assert counted(*words, Chunk(usage=Usage(prompt=5, exact=False))) == Usage(prompt=5, completion=2, exact=False)


def test_a_count_that_shrinks_is_no_later_count():
    first = Usage(prompt=5, cached=1, completion=2)
    assert counted(Chunk(usage=first), Chunk(usage=Usage(exact=False))) == first
    assert counted(Chunk(usage=first), Chunk(usage=Usage(completion=9))) == Usage(prompt=5, cached=1, completion=9)


def test_an_answer_that_calls_tools_ends_with_that_reason_even_if_the_engine_says_stop():
    recorder = Recorder()
    recorder.add(Chunk(delta=tool(id="a", function={"name": "f", "arguments": "{}"}), finish="stop"))
    assert recorder.completion().finish == "tool_calls"
    recorder = Recorder()
    recorder.add(Chunk(delta={"function_call": {"name": "f", "arguments": "{}"}}, finish="stop"))
    assert recorder.completion().finish == "function_call"


def test_a_pass_that_never_began_to_speak_has_no_exact_count():
    assert counted() == Usage(exact=False)


def test_a_sum_is_exact_when_all_its_parts_are():
    one, other = Usage(prompt=1, cached=1, completion=2, reasoning=1), Usage(prompt=3, completion=4, exact=False)
    assert one + other == Usage(prompt=4, cached=1, completion=6, reasoning=1, exact=False)
    assert (one + one).exact


texts = st.text(max_size=5)
completions = st.builds(
    Completion,
    text=texts,
    reasoning=texts,
    tool_calls=st.lists(
        st.fixed_dictionaries(
            {
                "id": texts.filter(bool),
                "type": st.just("function"),
                "function": st.fixed_dictionaries({"name": texts.filter(bool), "arguments": texts}),
            }
        ),
        max_size=3,
        unique_by=lambda call: call["id"],
    ).map(tuple),
    logprobs=st.lists(st.fixed_dictionaries({"token": texts, "logprob": st.floats(-9, 0)}), max_size=3).map(tuple),
    finish=st.sampled_from(["stop", "length", "tool_calls"]),
    extra=st.dictionaries(st.sampled_from(["refusal", "audio"]), texts.filter(bool), max_size=2),
)


@given(completions)
def test_a_completion_that_is_streamed_again_is_the_same_completion(completion):
    if completion.tool_calls and completion.finish == "stop":
        completion = replace(completion, finish="tool_calls")
    assert recorded(*completion.chunks()) == completion


@given(completions)
def test_a_message_always_has_content_or_tool_calls(completion):
    message = completion.message()
    assert isinstance(message["content"], str) or message["tool_calls"]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["content", "tool_calls", "reasoning", "role", "x"]),
            st.none() | texts | st.lists(st.none() | st.dictionaries(texts, texts)),
        ),
        max_size=5,
    )
)
def test_no_delta_breaks_the_recorder(deltas):
    said = recorded(*deltas)
    assert isinstance(said.message(), dict)
    assert said.is_empty or any(said.message().values())
