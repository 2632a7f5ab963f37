"""A tier may be asked for the way OpenAI's clients know."""

from __future__ import annotations

import json

import pytest

from endpoints import tier_of
from tierwise.testing import ScriptedEngine


@pytest.fixture
def endpoint(serve):
    return serve(tier_of(name="fast"), tier_of(name="max", engine=ScriptedEngine("the best")))


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "max"},
        {"model": "fake:max"},
        {"model": "max:max"},
        {"model": "fast", "service_tier": "max"},
        {"model": "fake", "service_tier": "max"},
        {"model": "fake:fast", "service_tier": "max"},
    ],
)
def test_a_tier_is_asked_for_by_model_by_name_and_tier_or_by_service_tier(endpoint, asked):
    answer = endpoint.chat(**asked)
    assert (answer.text, answer.headers["x-tierwise-tier"], answer.json["model"]) == ("the best", "max", asked["model"])
    assert endpoint.records[0].model == "max"


def test_messages_take_it_too(endpoint):
    body = {"model": "fake", "service_tier": "max", "max_tokens": 8, "messages": [{"role": "user", "content": "a"}]}
    answer = endpoint.request("POST", "/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"})
    assert answer.json["content"][0]["text"] == "the best"


@pytest.mark.parametrize("tier", ["auto", "flex", "priority"])
def test_another_service_tier_is_the_engines(serve, tier):
    engine = ScriptedEngine("hi")
    serve(tier_of(engine=engine)).chat(service_tier=tier, reasoning_effort="low")
    assert engine.calls[0].prompt.fields == {"service_tier": tier, "reasoning_effort": "low"}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"model": "fake:best"}, "'best'"),
        ({"model": "other:max"}, "'other'"),
        ({"model": "other", "service_tier": "max"}, "'other'"),
        ({"model": "fake"}, "'fake'"),
    ],
)
def test_what_names_no_tier_is_a_404_that_says_which_part(endpoint, asked, named):
    answer = endpoint.chat(**asked)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert named in answer.error["message"]
