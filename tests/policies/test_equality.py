"""Which votes are equal: texts in other Unicode forms, JSON in another order, tool calls by their parts."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tierwise.policies import Majority
from tierwise.spec.call import Completion
from tierwise.testing import Reply, solve
from tierwise.testing.contracts.policies import json_values
from tierwise.verifiers.answers import answer_key

EQUALITIES = ["auto", "number", "choice", "json", "text"]


def calling(name: str, arguments: str) -> Reply:
    call = {"index": 0, "id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
    return Reply(delta={"tool_calls": [call]}, finish="tool_calls")


def key(text: str, equality: str) -> str | None:
    return answer_key(Completion(text=text), equality)


PARIS, PARIS_AGAIN, ROME = '{"city": "Paris", "days": 1}', '{"days": 1.0,\n "city": "Paris"}', '{"city": "Rome"}'


@pytest.mark.parametrize(
    ("equality", "votes", "agreement"),
    [
        ("auto", [("weather", PARIS), ("weather", PARIS_AGAIN), ("weather", ROME)], 2 / 3),
        ("auto", [("weather", PARIS), ("news", PARIS), ("weather", ROME)], 1 / 3),
        ("text", [("weather", PARIS), ("weather", PARIS_AGAIN), ("news", PARIS)], 2 / 3),
        ("tool_name", [("weather", PARIS), ("news", PARIS), ("weather", ROME)], 2 / 3),
        ("tool_arguments", [("weather", PARIS), ("news", PARIS_AGAIN), ("weather", ROME)], 2 / 3),
        ("auto", [("weather", "{broken"), ("weather", "{broken"), ("weather", ROME)], 2 / 3),
    ],
)
def test_tool_calls_are_compared_by_name_and_arguments_or_by_one_of_them(equality, votes, agreement):
    answer, _ = solve(Majority(n=3, equality=equality), *(calling(*vote) for vote in votes), slots=1)
    assert answer.completion.tool_calls[0]["function"] == {"name": votes[0][0], "arguments": votes[0][1]}
    assert answer.agreement == pytest.approx(agreement) or answer.agreement == 1.0  # settled after two


@pytest.mark.parametrize("equality", [*EQUALITIES, "tool_name", "tool_arguments"])
def test_a_text_never_votes_for_a_tool_call(equality):
    text = json.dumps([{"name": "weather", "arguments": json.loads(PARIS)}])
    called = answer_key(Completion(tool_calls=({"function": {"name": "weather", "arguments": PARIS}},)), equality)
    assert called is not None
    assert called != key(text, equality)
    assert called != key(called, equality)


def test_with_an_equality_of_tool_calls_texts_are_compared_by_their_form():
    answer, _ = solve(Majority(n=3, equality="tool_name"), "4", "4.0", "5", slots=1)
    assert answer.completion.text == "4"


texts = st.lists(
    st.sampled_from(["a", "B", "4", "é", "ﬁ", "Å", " ", "\n", "{", "}", '"', ":", ",", "1.0", "answer", "User:", "가"]),
    max_size=12,
).map("".join)


@given(texts, st.sampled_from(EQUALITIES))
@example("answer\na", "auto")
@example("Å 4", "auto")
@example('"é"', "json")
def test_line_ends_and_unicode_forms_make_no_other_vote(text, equality):
    written = unicodedata.normalize("NFC", text)
    assert key(written, equality) == key(unicodedata.normalize("NFD", written), equality)
    assert key(text, equality) == key(text.replace("\n", "\r\n"), equality)


@given(json_values)
def test_json_is_equal_in_any_order_of_keys_and_any_layout(value):
    def turned(one):
        if isinstance(one, dict):
            return {name: turned(item) for name, item in reversed(one.items())}
        if isinstance(one, list):
            return [turned(item) for item in one]
        return float(one) if isinstance(one, int) and not isinstance(one, bool) and abs(one) < 2**50 else one

    once = key(json.dumps(value), "json")
    again = key("```json\n" + json.dumps(turned(value), indent=3) + "\n```", "json")
    assert once == again


finite = json_values.filter(lambda value: "Infinity" not in json.dumps(value))  # JSON has no infinity


@given(finite, finite)
def test_other_json_is_another_vote(one, other):
    if one != other or json.dumps(one) == json.dumps(other):
        assert (key(json.dumps(one), "json") == key(json.dumps(other), "json")) == (
            json.dumps(_plain(one), sort_keys=True) == json.dumps(_plain(other), sort_keys=True)
        )


def _plain(value):
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
    return value
