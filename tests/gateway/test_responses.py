"""`POST /v1/responses`, as OpenAI's own client reads it: whole and streamed."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from endpoints import Answered, Endpoint, tier_of, until
from tierwise.gateway import reply
from tierwise.policies import BestOfN, Majority
from tierwise.spec.errors import Broken, Overloaded, TooLong
from tierwise.testing import Reply, ScriptedEngine

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


IMAGE_OF_AN_ID = {"type": "input_image", "file_id": "a"}


def called(index: int, city: str) -> dict[str, Any]:
    function = {"name": "get_weather", "arguments": json.dumps({"city": city})}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": function}


def post(endpoint: Endpoint, **fields: Any) -> Answered:
    body = json.dumps({"model": "tier", "input": "hello", **fields}).encode()
    return endpoint.request("POST", "/v1/responses", body, {"content-type": "application/json"})


def events_of(answered: Answered) -> list[Any]:
    """The events of a stream: each is valid for OpenAI's types, numbered, and named on its own line."""
    lines = [event.text for event in answered.events if not event.is_comment]
    found = []
    for number, (name, data) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        read = EVENTS.validate_python(event)
        assert read.type == event["type"]
        found.append(event)
    return found


def kinds(events: list[Any]) -> list[str]:
    """The types of events, of which those that follow each other are named once."""
    named = [event["type"].removeprefix("response.") for event in events]
    return [name for name, before in zip(named, [None, *named], strict=False) if name != before]


def check_items(events: list[Any]) -> None:
    """That what the events of every item add up to is the item of the response."""
    final = next(event["response"] for event in reversed(events) if "response" in event)
    added = [event for event in events if event["type"] == "response.output_item.added"]
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert [event["output_index"] for event in added] == list(range(len(final["output"])))
    assert [done[index] for index in sorted(done)] == final["output"]
    for index, item in enumerate(final["output"]):
        deltas = "".join(
            event["delta"] for event in events if event["type"].endswith(".delta") and event["output_index"] == index
        )
        parts = [*item.get("content", []), *item.get("summary", [])]
        said = "".join(part.get("text") or part.get("refusal") or "" for part in parts)
        assert deltas == said + item.get("arguments", "") + item.get("input", "")


def both(endpoint: Endpoint, **asked: Any) -> list[Response]:
    """The response whole and streamed, which differ in ids, moments and spending only."""
    whole = post(endpoint, **asked)
    streamed = post(endpoint, stream=True, **asked)
    assert (whole.status, streamed.status) == (200, 200), whole.body + streamed.body
    events = events_of(streamed)
    check_items(events)
    assert kinds(events)[:2] == ["created", "in_progress"]
    responses = [Response.model_validate(whole.json), Response.model_validate(events[-1]["response"])]

    def shape(response: Response) -> Any:
        fields = response.model_dump(exclude={"id", "created_at", "usage"})
        for item in fields["output"]:
            item.pop("id")
        return fields

    assert shape(responses[0]) == shape(responses[1])
    return responses


def test_a_whole_response_is_openai_s(serve):
    endpoint = serve(tier_of())
    with endpoint.client() as client:
        response = client.responses.create(model="tier", input="hello", metadata={"a": "b"}, temperature=0.5)
    assert response.output_text == "hi there"
    assert response.status == "completed"
    assert response.metadata == {"a": "b"}
    assert (response.object, response.model, response.temperature) == ("response", "tier", 0.5)
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (3, 2, 5)
    (record,) = endpoint.records
    assert response.id == f"resp_{record.trace.action.removeprefix('act_')}"
    assert response.usage.model_extra["tierwise"]["action"] == record.trace.action


def test_the_events_of_an_answer_come_in_openai_s_order(serve):
    events = events_of(post(serve(tier_of()), stream=True))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hi there"


def test_a_silent_stream_repeats_an_event_for_clients_to_whom_a_comment_is_nothing(serve, monkeypatch):
    monkeypatch.setattr(reply, "KEEP_ALIVE_SECONDS", 0.05)
    endpoint = serve(tier_of(engine=ScriptedEngine("late", step=1.0)), first_bytes=0.05)
    answered = post(endpoint, stream=True)
    events = events_of(answered)
    repeated = sum(event["type"] == "response.in_progress" for event in events)
    comments = sum(event.is_comment for event in answered.events)
    assert kinds(events)[:3] == ["created", "in_progress", "output_item.added"]
    assert 2 <= repeated < comments
    assert kinds(events)[-1] == "completed"


def test_an_engine_that_fails_after_silence_fails_the_response(serve):
    engine = ScriptedEngine(Reply(text="4", step=0.3, error=Broken("gone")))
    answered = post(serve(tier_of(Majority(n=3), engine)), stream=True)
    assert kinds(events_of(answered)) == ["created", "in_progress", "failed", "error"]


@pytest.mark.parametrize("summary", [None, "auto"])
def test_thinking_is_a_reasoning_item_before_the_message(serve, summary):
    engine = ScriptedEngine(Reply(thinking="let me see", text="it is 4"))
    reasoning = {"effort": "low", "summary": summary}
    for response in both(serve(tier_of(engine=engine)), reasoning=reasoning, include=["reasoning.encrypted_content"]):
        thought, message = response.output
        assert thought.type == "reasoning"
        parts = thought.summary if summary else thought.content
        assert [part.text for part in parts] == ["let me see"]
        assert (thought.content if summary else thought.summary) in (None, [])
        assert thought.encrypted_content
        assert message.content[0].text == "it is 4"
    assert engine.calls[0].prompt.fields["reasoning_effort"] == "low"


def test_parallel_calls_are_items_and_their_results_go_back(serve):
    calls = Reply(
        delta={"content": "I look", "tool_calls": [called(0, "Oslo"), called(1, "Rome")]}, finish="tool_calls"
    )
    engine = ScriptedEngine(calls, calls, "17 and 25")
    endpoint = serve(tier_of(engine=engine))
    for response in both(endpoint, tools=[WEATHER], tool_choice={"type": "function", "name": "get_weather"}):
        assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
        assert [item.call_id for item in response.output[1:]] == ["call_0", "call_1"]
        assert response.output[2].arguments == '{"city": "Rome"}'
        assert response.tools[0].name == "get_weather"
    fields = engine.calls[0].prompt.fields
    assert fields["tools"] == [
        {
            "type": "function",
            "function": {name: WEATHER[name] for name in ("name", "description", "parameters", "strict")},
        }
    ]
    assert fields["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    results = [{"type": "function_call_output", "call_id": f"call_{index}", "output": "17"} for index in (0, 1)]
    with endpoint.client() as client:
        talk: Any = [{"role": "user", "content": "weather?"}, *response.output, *results]
        last = client.responses.create(model="tier", input=talk, tools=[WEATHER])
    assert last.output_text == "17 and 25"
    user, assistant, *told = engine.calls[-1].prompt.messages
    assert user == {"role": "user", "content": "weather?"}
    assert assistant["content"] == "I look"
    assert [call["id"] for call in assistant["tool_calls"]] == ["call_0", "call_1"]
    assert [message["tool_call_id"] for message in told] == ["call_0", "call_1"]


@pytest.mark.parametrize("policy", [Majority(n=3), BestOfN(n=2)])
def test_a_call_survives_every_policy(serve, policy):
    engine = ScriptedEngine(Reply(delta={"tool_calls": [called(0, "Oslo")]}, finish="tool_calls"))
    for response in both(serve(tier_of(policy, engine)), tools=[WEATHER]):
        assert [item.type for item in response.output] == ["function_call"]


def test_custom_tools_and_namespaces_are_called_by_their_own_names(serve):
    pieces = [
        {"index": 0, "id": "a", "function": {"name": "patch", "arguments": '{"input": "*** Begin\\n\\"x\\""}'}},
        {"index": 1, "id": "b", "function": {"name": "agents__close", "arguments": '{"target": "1"}'}},
    ]
    engine = ScriptedEngine(Reply(delta={"tool_calls": pieces}, finish="tool_calls"))
    close = {"type": "function", "name": "close", "description": "Close one.", "parameters": {"type": "object"}}
    tools = [
        {"type": "custom", "name": "patch", "description": "Apply a patch"},
        {"type": "namespace", "name": "agents", "description": "Agents.", "tools": [close]},
        {"type": "web_search", "external_web_access": True},
    ]
    endpoint = serve(tier_of(engine=engine))
    for response in both(endpoint, tools=tools):
        custom, spaced = response.output
        assert (custom.type, custom.name, custom.input) == ("custom_tool_call", "patch", '*** Begin\n"x"')
        assert (spaced.name, spaced.namespace, spaced.arguments) == ("close", "agents", '{"target": "1"}')
    functions = [tool["function"] for tool in engine.calls[0].prompt.fields["tools"]]
    assert [one["name"] for one in functions] == ["patch", "agents__close"]
    assert functions[1]["description"] == "Agents.\n\nClose one."
    talk = [
        {"role": "user", "content": "go"},
        {"type": "custom_tool_call", "call_id": "a", "name": "patch", "input": '*** Begin\n"x"'},
        {"type": "function_call", "call_id": "b", "name": "close", "namespace": "agents", "arguments": "{}"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "done"}]},
        {"type": "function_call_output", "call_id": "b", "output": "closed"},
    ]
    answered = post(endpoint, input=talk, tools=tools)
    assert "web_search" in answered.headers["x-tierwise-note"]
    _, turn, first, _ = engine.calls[-1].prompt.messages
    assert json.loads(turn["tool_calls"][0]["function"]["arguments"]) == {"input": '*** Begin\n"x"'}
    assert turn["tool_calls"][1]["function"]["name"] == "agents__close"
    assert first == {"role": "tool", "tool_call_id": "a", "content": "done"}


def test_every_kind_of_item_becomes_a_message(serve):
    engine = ScriptedEngine("ok")
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    talk = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "brief"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "what?"}, image]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "an owl"}]},
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "an owl", "annotations": []}],
        },
        {"role": "developer", "content": "really"},
        {"role": "user", "content": "sure?"},
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "user", "content": "why?"},
    ]
    post(serve(tier_of(engine=engine)), input=talk, instructions="be kind")
    assert list(engine.calls[0].prompt.messages) == [
        {"role": "system", "content": "be kind\n\nbrief"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": "an owl", "reasoning_content": "an owl"},
        {"role": "system", "content": "really"},
        {"role": "user", "content": "sure?"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "user", "content": "why?"},
    ]


def test_sealed_thinking_comes_back_as_it_was(serve):
    engine = ScriptedEngine(Reply(thinking="let me see", text="4"), "5")
    endpoint = serve(tier_of(engine=engine))
    first = post(endpoint, include=["reasoning.encrypted_content"], store=False).json["output"]
    kept = {**first[0], "content": [], "summary": []}
    post(endpoint, input=[{"role": "user", "content": "2+2"}, kept, first[1], {"role": "user", "content": "+1"}])
    assert engine.calls[1].prompt.messages[1] == {
        "role": "assistant",
        "content": "4",
        "reasoning_content": "let me see",
    }


def test_a_schema_is_asked_for_and_its_answer_parsed(serve):
    class City(BaseModel):
        name: str

    engine = ScriptedEngine('{"name": "Oslo"}')
    endpoint = serve(tier_of(engine=engine))
    with endpoint.client() as client:
        parsed = client.responses.parse(model="tier", input="city?", text_format=City)
        assert parsed.output_parsed == City(name="Oslo")
        with client.responses.stream(model="tier", input="city?", text_format=City) as stream:
            stream.until_done()
            assert stream.get_final_response().output_parsed == City(name="Oslo")
    form = engine.calls[0].prompt.fields["response_format"]
    assert form["json_schema"]["name"] == "City"
    assert form["json_schema"]["strict"] is True


def test_log_probabilities_are_those_of_the_text(serve):
    engine = ScriptedEngine(Reply(thinking="hm hm", text="hi there", logprob=-0.5))
    asked: Any = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    for response in both(serve(tier_of(engine=engine)), **asked):
        (part,) = response.output[-1].content
        assert [(one.token, one.logprob) for one in part.logprobs] == [("hi", -0.5), (" there", -0.5)]
    assert engine.calls[0].prompt.fields["top_logprobs"] == 2


def test_an_answer_at_its_limit_is_incomplete(serve):
    engine = ScriptedEngine(Reply(text="hi there", finish="length"))
    endpoint = serve(tier_of(engine=engine))
    for response in both(endpoint, max_output_tokens=2.0):
        assert response.status == "incomplete"
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output[0].status == "incomplete"
    assert kinds(events_of(post(endpoint, stream=True)))[-1] == "incomplete"
    assert engine.calls[0].prompt.fields["max_completion_tokens"] == 2


def test_refusals_and_empty_answers_are_messages(serve):
    engine = ScriptedEngine(Reply(delta={"refusal": "no"}))
    for response in both(serve(tier_of(engine=engine))):
        assert response.output[0].content[0].refusal == "no"
    for response in both(serve(tier_of(engine=ScriptedEngine(Reply(text=""))))):
        assert response.output_text == ""


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(TooLong("too long"), 400, "context_length_exceeded"), (Overloaded("busy"), 429, "engine_overloaded")],
)
def test_an_error_before_any_output_has_its_status(serve, error, status, code):
    endpoint = serve(tier_of(engine=ScriptedEngine(Reply(error=error))))
    for stream in (False, True):
        answered = post(endpoint, stream=stream)
        assert (answered.status, answered.error["code"]) == (status, code)
        assert endpoint.records[-1].ending == "failed"


def test_an_error_in_a_stream_fails_the_response_and_raises(serve):
    endpoint = serve(tier_of(engine=ScriptedEngine(Reply(text="hi there", error=Broken("it died")))))
    *_, failed, error = events_of(post(endpoint, stream=True))
    assert failed["type"] == "response.failed"
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "it died"}
    assert failed["response"]["output"][0]["content"][0]["text"].startswith("hi")
    assert (error["type"], error["code"], error["error"]["code"]) == ("error", "engine_broken", "engine_broken")
    with endpoint.client() as client, pytest.raises(openai.APIError, match="it died"):
        list(client.responses.create(model="tier", input="hello", stream=True))


def test_a_client_that_hangs_up_stops_the_pass_and_stores_nothing(serve):
    engine = ScriptedEngine(Reply(text="word " * 1000, step=0.01))
    endpoint = serve(tier_of(engine=engine))
    with endpoint.client() as client:
        stream = client.responses.create(model="tier", input="hello", stream=True)
        first = next(iter(stream))
        stream.close()
    until(lambda: engine.running == 0)
    until(lambda: endpoint.records)
    assert endpoint.records[0].ending == "disconnected"
    assert endpoint.request("GET", f"/v1/responses/{first.response.id}").status == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"messages": []}, "messages"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"include": ["file_search_call.results"]}, "include[0]"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"reasoning": {"effort": "low", "mode": "pro"}}, "reasoning.mode"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": 3}}}}, "text.format.schema"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["a"]}]}, "tools[0].type"),
        ({"tools": [{"type": "mcp", "server_label": "a"}]}, "tools[0].type"),
        ({"tools": [{**WEATHER, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [WEATHER, WEATHER]}, "tools[1].name"),
        ({"tools": [{"type": "custom", "name": "a", "format": {"type": "grammar"}}]}, "tools[0].format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"input": [{"role": "robot", "content": "hi"}]}, "input[0].role"),
        ({"input": ["hi"]}, "input[0]"),
        ({"input": [{"type": "computer_call", "id": "a"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "a"}]}]},
            "input[0].content[0].file_id",
        ),
        ({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}]}, "input[0].encrypted_content"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tierwise": {"drafts": True}}, "tierwise.drafts"),
        ({"tierwise": {"budget": {"passes": 0}}}, "tierwise.budget.passes"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_name(serve, fields, field):
    endpoint = serve(tier_of())
    answered = post(endpoint, **fields)
    assert answered.status == 400, answered.body
    assert answered.error["param"] == field
    assert answered.error["type"] == "invalid_request_error"
    assert endpoint.records == []


def test_an_unknown_field_is_told_what_is_allowed(serve):
    answered = post(serve(tier_of()), top_k=4)
    assert answered.error["param"] == "top_k"
    assert "max_output_tokens" in answered.error["message"]


def test_allowed_tools_are_all_that_the_model_sees(serve):
    engine = ScriptedEngine("ok")
    other = {**WEATHER, "name": "other"}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "other"}]}
    post(serve(tier_of(engine=engine)), tools=[WEATHER, other], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in engine.calls[0].prompt.fields["tools"]] == ["other"]
    assert engine.calls[0].prompt.fields["tool_choice"] == "auto"


def test_a_large_request_is_translated_too(serve):
    engine = ScriptedEngine("ok")
    began = time.monotonic()
    assert post(serve(tier_of(engine=engine)), input="word " * 100_000).status == 200
    assert time.monotonic() - began < 10
    assert engine.calls[0].prompt.written is not None
