"""What a server says besides the message reaches the client, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from endpoints import tier_of
from tierwise.engines.openai.wire import read_event, read_whole
from tierwise.policies import Majority
from tierwise.spec.call import Call, Chunk, Usage
from tierwise.testing import ScriptedEngine

GIVEN = {"system_fingerprint": "fp_1", "service_tier": "flex", "stop_reason": "\n\n", "matched_stop": 151645}


def events() -> list[dict[str, Any]]:
    """A stream as a server sends it, with everything that it may say."""
    frame = {"system_fingerprint": "fp_1", "service_tier": "flex"}
    last = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "\n\n", "matched_stop": 151645}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.25}
    return [
        {**frame, "choices": [{"index": 0, "delta": {"role": "assistant", "reasoning": "hm"}}]},
        {**frame, "choices": [{"index": 0, "delta": {"content": "hi there"}, "stop_reason": None}]},
        {**frame, "choices": [last]},
        {**frame, "choices": [], "usage": usage},
    ]


class Tells(ScriptedEngine):
    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        self.calls.append(call)
        for event in events():
            chunk = read_event(json.dumps(event).encode())
            assert isinstance(chunk, Chunk)
            yield chunk


@pytest.mark.parametrize("policy", [None, Majority(n=2)], ids=["single", "vote"])
def test_fields_besides_the_message_are_sent_as_the_server_sent_them(serve, policy):
    endpoint = serve(tier_of(policy, Tells()))
    whole = endpoint.chat().json
    choice = whole["choices"][0]
    assert {**{name: whole[name] for name in ("system_fingerprint", "service_tier")}, **choice} == {
        **GIVEN,
        "index": 0,
        "message": {"role": "assistant", "content": "hi there", "reasoning_content": "hm", "reasoning": "hm"},
        "finish_reason": "stop",
    }
    passes = 1 if policy is None else 2
    assert whole["usage"]["cost"] == 0.25 * passes
    assert [one["cost"] for one in whole["usage"]["tierwise"]["passes"]] == [0.25] * passes
    chunks = endpoint.chat(stream=True).chunks
    last = next(chunk for chunk in chunks if chunk["choices"][0]["finish_reason"])
    assert {name: last.get(name, last["choices"][0].get(name)) for name in GIVEN} == GIVEN
    assert set(last) == {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier"}


def test_thinking_has_both_names_in_a_stream(serve):
    chunks = serve(tier_of(engine=Tells())).chat(stream=True).chunks
    first = chunks[0]["choices"][0]["delta"]
    assert first == {"role": "assistant", "reasoning_content": "hm", "reasoning": "hm"}


def test_a_server_that_says_nothing_adds_nothing(serve):
    endpoint = serve(tier_of())
    whole = endpoint.chat().json
    assert set(whole) == {"id", "object", "created", "model", "choices", "usage"}
    assert set(whole["choices"][0]) == {"index", "message", "finish_reason"}
    assert "cost" not in whole["usage"]
    assert set(endpoint.chat(stream=True).chunks[-1]["choices"][0]) == {"index", "delta", "finish_reason"}


@pytest.mark.parametrize("odd", [[], {}, 1.5, True, "x" * 1001, 2**70])
@pytest.mark.parametrize("name", ["system_fingerprint", "service_tier"])
def test_what_cannot_be_such_a_field_is_left_out(odd, name):
    event = json.dumps({name: odd, "choices": [{"index": 0, "delta": {"content": "hi"}, "stop_reason": odd}]}).encode()
    chunk = read_event(event)
    assert isinstance(chunk, Chunk)
    assert (chunk.delta, chunk.response) == ({"content": "hi"}, None)


@pytest.mark.parametrize("odd", [None, -1, "0.25", [], float("inf"), 1e9, True])
def test_what_cannot_be_a_cost_is_left_out(odd):
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "cost": odd}
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": usage}
    chunk = read_whole(json.dumps(body).encode())
    assert isinstance(chunk, Chunk)
    assert chunk.usage == Usage(prompt=3, completion=2)


def test_a_whole_answer_has_them_too():
    choice = {"message": {"content": "hi"}, "finish_reason": "stop", "stop_reason": 7}
    chunk = read_whole(json.dumps({"system_fingerprint": "fp_1", "choices": [choice]}).encode())
    assert isinstance(chunk, Chunk)
    assert chunk.response == {"system_fingerprint": "fp_1", "stop_reason": 7}


def test_models_say_their_context_and_policy(serve):
    tiers = (tier_of(name="small", context=2048), tier_of(name="large", context=8192), tier_of(name="far"))
    endpoint = serve(*tiers, routes={"auto": ("large", "small")})
    listed = {model["id"]: model for model in endpoint.request("GET", "/v1/models").json["data"]}
    assert {name: model["context_length"] for name, model in listed.items()} == {
        "small": 2048,
        "large": 8192,
        "far": None,
        "auto": 2048,
    }
    assert all(model["max_model_len"] == model["context_length"] for model in listed.values())
    assert listed["auto"]["tierwise"]["policy"] == "Cascade"


@pytest.mark.parametrize("size", [10, 200_000])
def test_every_choice_of_a_response_is_whole_whatever_its_size(serve, size):
    whole = serve(tier_of(engine=ScriptedEngine("é" * size))).chat(n=3).json
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in whole["choices"]} == {"é" * size}
    assert whole["object"] == "chat.completion"
