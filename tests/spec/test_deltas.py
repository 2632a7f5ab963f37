"""Deltas are joined as OpenAI's clients do, whatever a server repeats, omits or splits, and are shown well-formed."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tierwise.spec.deltas import DeltaJoiner

Call = tuple[str, str, str]
"""Id, name and arguments."""


def joined(*deltas: dict[str, Any]) -> DeltaJoiner:
    joiner = DeltaJoiner()
    for delta in deltas:
        joiner.add(delta)
    joiner.end()
    return joiner


def shown(*deltas: dict[str, Any]) -> list[dict[str, Any]]:
    joiner = DeltaJoiner()
    return [delta for delta in (*map(joiner.add, deltas), joiner.end()) if delta]


def piece(index: int | None = None, **fields: Any) -> dict[str, Any]:
    return {"tool_calls": [fields if index is None else {"index": index, **fields}]}


def calls_of(joiner: DeltaJoiner) -> list[Call]:
    return [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in joiner.tool_calls]


def named(*deltas: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, arguments) for _, name, arguments in calls_of(joined(*deltas))]


def as_openai_joins(*deltas: dict[str, Any]) -> Any:
    """The message that the official client makes of what it is shown."""
    state = ChatCompletionStreamState()
    for delta in ({"role": "assistant"}, *shown(*deltas)):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    return state.current_completion_snapshot.choices[0].message


# ── tool calls ──────────────────────────────────────────────────────────
def test_a_new_id_at_an_index_begins_a_new_call():
    deltas = [
        piece(0, id="a", type="function", function={"name": "sun", "arguments": "{}"}),
        piece(0, id="b", type="function", function={"name": "rain", "arguments": "{}"}),
    ]
    assert named(*deltas) == [("sun", "{}"), ("rain", "{}")]
    assert [call["index"] for delta in shown(*deltas) for call in delta["tool_calls"]] == [0, 1]


def test_two_calls_at_one_index_are_told_apart_by_their_ids_even_if_they_alternate():
    deltas = [
        piece(0, id=id_, function={"name": name, "arguments": part})
        for id_, name, part in [("a", "sun", '{"x"'), ("b", "rain", '{"y"'), ("a", "sun", ":1}"), ("b", "rain", ":2}")]
    ]
    assert named(*deltas) == [("sun", '{"x":1}'), ("rain", '{"y":2}')]


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_an_empty_text_change_nothing(nothing):
    deltas = [
        piece(0, id="a", type="function", function={"name": "sun", "arguments": nothing}),
        piece(0, id=nothing, type=nothing, function={"name": nothing, "arguments": "{}"}),
        piece(0, id=nothing, function=None),
        {"tool_calls": None, "content": nothing},
    ]
    assert joined(*deltas).tool_calls == (
        {"id": "a", "type": "function", "function": {"name": "sun", "arguments": "{}"}},
    )


def test_a_piece_without_index_and_id_belongs_to_the_call_under_way():
    deltas = [
        piece(None, id="a", function={"name": "sun", "arguments": '{"x"'}),
        piece(None, function={"arguments": ":1}"}),
        piece(None, id="b", function={"name": "rain", "arguments": ""}),
        piece(None, function={"arguments": "{}"}),
        piece(None, id="a", function={"arguments": " "}),
    ]
    assert named(*deltas) == [("sun", '{"x":1} '), ("rain", "{}")]


def test_whole_calls_without_index_and_id_are_calls_of_their_own():
    call = {"function": {"name": "sun", "arguments": "{}"}}
    assert named({"tool_calls": [call, call]}, {"tool_calls": [call]}) == [("sun", "{}")] * 3
    assert len({id_ for id_, _, _ in calls_of(joined({"tool_calls": [call, call]}))}) == 2


def test_whole_calls_that_all_have_index_zero_and_no_id_are_calls_of_their_own():
    deltas = [piece(0, id="", function={"name": name, "arguments": "{}"}) for name in ("sun", "sun", "rain")]
    assert named(*deltas) == [("sun", "{}"), ("sun", "{}"), ("rain", "{}")]


def test_a_call_whose_index_drifts_is_found_by_its_id():
    deltas = [
        piece(0, id="a", function={"name": "sun", "arguments": "{"}),
        piece(1, id="a", function={"arguments": "}"}),
    ]
    assert named(*deltas) == [("sun", "{}")]


def test_equal_ids_at_different_indices_are_different_calls():
    deltas = [piece(index, id="0", function={"name": "sun", "arguments": "{}"}) for index in (0, 1)]
    assert named(*deltas) == [("sun", "{}")] * 2


def test_a_call_without_an_id_gets_one_that_its_answer_can_name():
    (delta,) = shown(piece(0, function={"name": "sun", "arguments": '{"x":'}), piece(0, function={"arguments": "1}"}))
    (call,) = delta["tool_calls"]
    assert call["id"].startswith("call_")
    assert (call["type"], call["function"]) == ("function", {"name": "sun", "arguments": '{"x":1}'})


def test_a_call_is_shown_once_its_id_and_name_are_known():
    pieces = shown(
        piece(0, function={"arguments": ""}),
        piece(0, id="a"),
        piece(0, function={"name": "sun", "arguments": "{"}),
        piece(0, function={"arguments": "}"}),
    )
    assert pieces == [
        piece(0, id="a", type="function", function={"name": "sun", "arguments": "{"}),
        piece(0, function={"arguments": "}"}),
    ]


def test_arguments_that_come_as_an_object_are_its_json():
    assert named(piece(0, id="a", function={"name": "sun", "arguments": {"city": "Oslo"}})) == [
        ("sun", '{"city":"Oslo"}')
    ]


def test_a_custom_tools_input_is_joined_and_a_signature_of_a_call_is_kept():
    deltas = [
        piece(0, id="a", type="custom", custom={"name": "grep", "input": "fo"}, extra_content={"google": {"s": "x"}}),
        piece(0, custom={"input": "o"}),
    ]
    (call,) = joined(*deltas).tool_calls
    assert call == {
        "id": "a",
        "type": "custom",
        "custom": {"name": "grep", "input": "foo"},
        "extra_content": {"google": {"s": "x"}},
    }


def test_the_old_function_call_keeps_its_name_and_first_piece():
    deltas = [{"function_call": {"name": "sun", "arguments": '{"x"'}}, {"function_call": {"arguments": ":1}"}}]
    assert joined(*deltas).extra == {"function_call": {"name": "sun", "arguments": '{"x":1}'}}
    named_again = [{"function_call": {"name": "sun", "arguments": part}} for part in ('{"x"', ":1}")]
    assert joined(*named_again).extra == {"function_call": {"name": "sun", "arguments": '{"x":1}'}}
    assert shown(*named_again)[1] == {"function_call": {"arguments": ":1}"}}


@pytest.mark.parametrize("odd", [None, "text", [], [None, 3], {}, [{}], [{"index": 0}], [{"function": "x"}], 7])
def test_what_is_no_tool_call_is_none(odd):
    assert joined({"tool_calls": odd}).tool_calls == ()
    assert shown({"tool_calls": odd}) == []


# ── other fields ────────────────────────────────────────────────────────
def test_content_as_a_list_of_parts_is_text_and_thinking():
    said = joined(
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
        {"content": [{"type": "text", "text": "Hel"}]},
        {"content": [{"type": "text", "text": "lo"}, {"type": "image_url"}, None, " there"]},
        {"content": {"type": "text", "text": "!"}},
    )
    assert (said.text, said.reasoning) == ("Hello there!", "hm")


def test_lists_are_concatenated_and_objects_are_merged():
    said = joined(
        {"reasoning_details": [{"text": "a"}], "audio": {"id": "x", "transcript": "fo"}, "annotations": None},
        {"reasoning_details": [{"text": "b"}], "audio": {"id": "x", "transcript": "o"}, "annotations": []},
    )
    assert said.extra == {
        "reasoning_details": [{"text": "a"}, {"text": "b"}],
        "audio": {"id": "x", "transcript": "foo"},
        "annotations": [],
    }


def test_a_character_that_comes_in_two_halves_is_one_character():
    deltas = [{"content": "a \ud83e"}, {"role": "assistant"}, {"content": "\udd8a!"}, {"content": "\ud83e"}]
    assert joined(*deltas).text == "a 🦊!\ufffd"
    assert shown(*deltas) == [{"content": "a "}, {"content": "🦊!"}, {"content": "\ufffd"}]
    arguments = [
        piece(0, id="a", function={"name": "f", "arguments": "\ud83e"}),
        piece(0, function={"arguments": "\udd8a"}),
    ]
    assert named(*arguments) == [("f", "🦊")]


@given(st.lists(st.text(st.characters()), max_size=5))
def test_a_text_is_whole_however_its_characters_are_split(texts):
    units = "".join(texts).encode("utf-16-le", "surrogatepass")
    halves = [units[start : start + 2].decode("utf-16-le", "surrogatepass") for start in range(0, len(units), 2)]
    assert joined(*({"content": half} for half in halves)).text == units.decode("utf-16-le", "replace")


# ── any split of any calls ──────────────────────────────────────────────
ARGUMENTS = st.dictionaries(st.text(max_size=4), st.text(max_size=6) | st.integers() | st.lists(st.none()), max_size=3)
CALLS = st.lists(
    st.tuples(st.text(min_size=1, max_size=4), st.text(min_size=1, max_size=4), ARGUMENTS.map(json.dumps)),
    min_size=1,
    max_size=4,
    unique_by=lambda call: call[0],
)


@st.composite
def split_calls(draw: st.DrawFn) -> tuple[list[Call], list[dict[str, Any]]]:
    """Calls, and deltas in which a server may send them."""
    calls = draw(CALLS)
    index = draw(st.sampled_from(["counted", "zero", "missing"]))
    repeats_id, repeats_name, null = (
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.sampled_from([None, "", "left out"])),
    )
    deltas: list[dict[str, Any]] = []
    for number, (id_, name, arguments) in enumerate(calls):
        cuts = sorted({0, len(arguments), *draw(st.lists(st.integers(0, len(arguments)), max_size=4))})
        parts = [arguments[first:last] for first, last in pairwise(cuts)]
        if draw(st.booleans()):
            parts.insert(0, "")
        for position, part in enumerate(parts):
            is_first = position == 0
            function: dict[str, Any] = {"arguments": part}
            one: dict[str, Any] = {"function": function}
            if is_first or repeats_name:
                function["name"] = name
            elif null != "left out":
                function["name"] = null
            if is_first or repeats_id:
                one["id"] = id_
            elif null != "left out":
                one["id"] = null
            if is_first:
                one["type"] = "function"
            if index != "missing":
                one["index"] = number if index == "counted" else 0
            deltas.append(one)
    groups: list[dict[str, Any]] = []
    while deltas:
        count = draw(st.integers(1, 3))
        groups.append({"tool_calls": deltas[:count]})
        deltas = deltas[count:]
    return calls, groups


@given(split_calls())
def test_any_split_of_any_calls_joins_to_the_same_calls(case):
    calls, deltas = case
    assert calls_of(joined(*deltas)) == calls


@settings(max_examples=40)
@given(split_calls())
def test_what_is_shown_of_any_split_joins_to_the_same_calls_in_the_official_client(case):
    calls, deltas = case
    message = as_openai_joins(*deltas)
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == calls
    assert {call.type for call in message.tool_calls} == {"function"}


@given(split_calls())
def test_every_shown_piece_has_an_index_and_the_first_of_a_call_has_id_type_and_name(case):
    _, deltas = case
    begun: set[int] = set()
    for delta in shown(*deltas):
        for call in delta["tool_calls"]:
            if call["index"] not in begun:
                assert call["index"] == len(begun)
                assert all((call["id"], call["type"], call["function"]["name"]))
                begun.add(call["index"])
            else:
                assert set(call) == {"index", "function"}
                assert set(call["function"]) == {"arguments"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["index", "id", "type", "function", "custom", "name", "arguments", "text"]), inner
        )
    ),
)
NAMES = st.sampled_from(
    ["role", "content", "reasoning", "reasoning_content", "tool_calls", "function_call", "x", "type"]
)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), max_size=6))
def test_no_deltas_break_the_joiner(deltas):
    said = joined(*deltas)
    said.text.encode()
    said.reasoning.encode()
    for call in said.tool_calls:
        assert isinstance(call["id"], str)
        assert call["id"]
    shown(*deltas)
