"""Anthropic's Messages API, with Anthropic's own client and types."""

from __future__ import annotations

import json

import anthropic
import pytest

from endpoints import tier_of
from tierwise.gateway.access import Access
from tierwise.policies import Majority
from tierwise.spec.errors import Broken, Overloaded, Refused
from tierwise.testing import Reply, ScriptedEngine

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"name": "weather", "description": "of a city", "input_schema": {"type": "object", "properties": {}}}
PATH = "/v1/messages"


def call(index, name, given):
    return {"index": index, "id": f"toolu_{index}", "type": "function", "function": {"name": name, "arguments": given}}


def client_of(endpoint, key="none"):
    return anthropic.Anthropic(base_url=endpoint.url, api_key=key, max_retries=0, timeout=20)


def asked(client, **fields):
    return client.messages.create(**{"model": "tier", "max_tokens": 64, "messages": HELLO, **fields})


def streamed(client, **fields):
    with client.messages.stream(**{"model": "tier", "max_tokens": 64, "messages": HELLO, **fields}) as stream:
        kinds = [event.type for event in stream]
        return stream.get_final_message(), kinds


def post(endpoint, headers=None, **fields):
    body = json.dumps({"model": "tier", "max_tokens": 64, "messages": HELLO, **fields}).encode()
    return endpoint.request("POST", PATH, body, {"content-type": "application/json", **(headers or {})})


def sent(serve, **fields):
    """What an engine is asked, as messages and fields."""
    engine = ScriptedEngine("hi")
    answer = post(serve(tier_of(engine=engine)), **fields)
    assert answer.status == 200, answer.body
    return engine.calls[0].prompt


# -- answers


@pytest.mark.parametrize("ask", [asked, lambda client: streamed(client)[0]], ids=["whole", "stream"])
def test_an_answer_is_thinking_then_text_with_the_usage_of_all_passes(serve, ask):
    with client_of(serve(tier_of(engine=ScriptedEngine(Reply(thinking="let me see", text="it is 17"))))) as client:
        message = ask(client)
    thinking, text = message.content
    assert (thinking.thinking, text.text) == ("let me see", "it is 17")
    assert thinking.signature.startswith("tierwise-")
    assert (message.stop_reason, message.role, message.model) == ("end_turn", "assistant", "tier")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (3, 6)


@pytest.mark.parametrize(
    "ask", [asked, lambda client, **fields: streamed(client, **fields)[0]], ids=["whole", "stream"]
)
def test_tools_are_called_with_objects(serve, ask):
    delta = {"content": "One moment.", "tool_calls": [call(0, "weather", '{"city": "Oslo"}'), call(1, "weather", "{}")]}
    with client_of(serve(tier_of(engine=ScriptedEngine(Reply(delta=delta))))) as client:
        message = ask(client, tools=[TOOL])
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [block.input for block in message.content[1:]] == [{"city": "Oslo"}, {}]
    assert message.content[1].id == "toolu_0"
    assert message.stop_reason == "tool_use"


def test_a_stream_has_anthropics_events_in_their_order(serve):
    with client_of(serve(tier_of(engine=ScriptedEngine("hi there")))) as client:
        _, kinds = streamed(client)
    raw = [kind for kind in kinds if kind != "text"]
    assert raw == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_several_passes_are_one_action_and_one_message(serve):
    endpoint = serve(tier_of(policy=Majority(n=3), engine=ScriptedEngine("17")))
    with client_of(endpoint) as client:
        message, _ = streamed(client)
    assert message.content[0].text == "17"
    assert message.usage.output_tokens == sum(one.usage.completion for one in endpoint.records[0].trace.passes)
    assert len(endpoint.records) == 1


def test_a_cut_answer_says_so(serve):
    with client_of(serve(tier_of(engine=ScriptedEngine("one two three")))) as client:
        assert asked(client, max_tokens=2).stop_reason == "max_tokens"


def test_a_tool_called_with_something_else_than_an_object_is_an_error(serve):
    delta = {"tool_calls": [call(0, "weather", "[1")]}
    answer = post(serve(tier_of(engine=ScriptedEngine(Reply(delta=delta)))), tools=[TOOL])
    assert answer.status == 502
    assert "no JSON object" in answer.error["message"]


def test_omitted_thinking_is_signed_and_not_shown(serve):
    endpoint = serve(tier_of(engine=ScriptedEngine(Reply(thinking="secret", text="17"))))
    fields = {"thinking": {"type": "adaptive", "display": "omitted"}}
    assert post(endpoint, **fields).json["content"][0]["thinking"] == ""
    events = post(endpoint, **fields, stream=True).events
    assert "secret" not in "".join(event.text for event in events)
    assert any("signature_delta" in event.text for event in events)


# -- requests


def test_a_conversation_of_an_agent_becomes_chat_messages(serve):
    prompt = sent(
        serve,
        system=[
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Always."},
        ],
        tools=[TOOL],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": "here"}]},
            {"role": "system", "content": "The weather tool exists."},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "x"},
                    {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": "no such city", "is_error": True},
                    {"type": "text", "text": "Go on"},
                ],
            },
        ],
    )
    system, user, assistant, tool, last = prompt.messages
    assert system == {"role": "system", "content": "Be brief.\n\nAlways."}
    assert user["content"] == "Look\nhere\n<system-reminder>\nThe weather tool exists.\n</system-reminder>"
    assert (assistant["content"], assistant["reasoning_content"]) == (None, "hm")
    assert assistant["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city":"Oslo"}'}
    assert tool == {"role": "tool", "tool_call_id": "t1", "content": "Error: no such city"}
    assert last == {"role": "user", "content": "Go on"}
    assert prompt.fields["tools"][0]["function"]["parameters"] == TOOL["input_schema"]


def test_images_are_shown_also_those_of_tools(serve):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    url = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "see"}, image]}
    use = {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    turns = [
        {"role": "user", "content": [url]},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
    ]
    first, _, tool, last = sent(serve, messages=turns).messages
    assert first["content"] == [{"type": "image_url", "image_url": {"url": "https://a.example/b.png"}}]
    assert tool["content"] == "see"
    assert last["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert "t1" in last["content"][0]["text"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"top_k": 5, "temperature": 0.5, "top_p": 0.9}, {"top_k": 5, "temperature": 0.5, "top_p": 0.9}),
        ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
        ({"metadata": {"user_id": "me"}}, {"user": "me"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 32}}, {"thinking": True, "thinking_tokens": 32}),
        ({"thinking": {"type": "disabled"}}, {"thinking": False}),
        ({"thinking": {"type": "adaptive"}}, {}),
        ({"output_config": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        ({"service_tier": "auto"}, {}),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}}, {}),
    ],
)
def test_fields_are_translated(serve, said, expected):
    fields = {name: value for name, value in sent(serve, **said).fields.items() if name not in ("tools", "max_tokens")}
    assert fields == expected


def test_thinking_of_earlier_turns_is_cleared_on_request(serve):
    thought = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "a"}]
    turns = [message for _ in range(3) for message in (*HELLO, {"role": "assistant", "content": thought})]
    edit = {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 2}}
    prompt = sent(serve, messages=[*turns, *HELLO], context_management={"edits": [edit]})
    kept = ["reasoning_content" in message for message in prompt.messages if message["role"] == "assistant"]
    assert kept == [False, True, True]


def test_an_engine_without_a_thinking_switch_still_answers_and_the_answer_says_so(serve):
    class Stubborn(ScriptedEngine):
        async def stream(self, call):
            if "thinking" in call.prompt.fields:
                raise Refused("thinking: the switch is unknown")
            async for chunk in super().stream(call):
                yield chunk

    answer = post(serve(tier_of(engine=Stubborn("hi"))), thinking={"type": "disabled"})
    assert answer.status == 200
    assert "thinking" in answer.headers["x-tierwise-note"]


# -- refusals


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"container": "c"}, "container"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [{**TOOL, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tool_choice": {"type": "tool", "name": "weather"}}, "tool_choice.name"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "user", "content": "a", "name": "b"}]}, "messages[0].name"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "I"}]}, "messages[1].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": {}}]}]},
            "messages[0].content[0].type",
        ),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "context_management.edits[0].type"),
        ({"output_config": {"format": {"type": "json_schema", "schema": {"type": 7}}}}, "output_config.format"),
        ({"tierwise": {"budget": {"dollars": -1}}}, "tierwise.budget.dollars"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_in_anthropics_shape(serve, fields, named):
    answer = post(serve(tier_of()), **fields)
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["request_id"] == answer.headers["request-id"]
    assert answer.error["type"] == "invalid_request_error"
    assert answer.error["message"].startswith(f"{named}: ")


def test_errors_have_anthropics_types_and_statuses(serve):
    busy, dead = (tier_of(engine=ScriptedEngine(Reply(error=error))) for error in (Overloaded("full"), Broken("dead")))
    with client_of(serve(busy)) as client, pytest.raises(anthropic.APIStatusError) as full:
        asked(client)
    assert (full.value.status_code, full.value.body["error"]["type"]) == (529, "overloaded_error")
    with client_of(serve(dead)) as client, pytest.raises(anthropic.APIStatusError) as failed:
        asked(client)
    assert (failed.value.status_code, failed.value.body["error"]["type"]) == (502, "api_error")
    with client_of(serve(tier_of())) as client, pytest.raises(anthropic.NotFoundError) as unknown:
        asked(client, model="nobody")
    assert unknown.value.request_id


def test_a_stream_that_breaks_ends_with_an_error_event(serve):
    engine = ScriptedEngine(Reply(text="one two", error=Broken("it died")))
    with client_of(serve(tier_of(engine=engine))) as client, pytest.raises(anthropic.APIStatusError, match="it died"):
        streamed(client)


def test_the_key_may_come_as_x_api_key(serve):
    endpoint = serve(tier_of(), access=Access(key="secret"))
    with client_of(endpoint, "secret") as client:
        assert asked(client).content[0].text == "hi there"
    endpoint.key = ""
    refused = post(endpoint, {"x-api-key": "wrong"})
    assert (refused.status, refused.error["type"]) == (401, "authentication_error")
    endpoint.key = "secret"


def test_a_session_of_claude_code_is_the_session_of_its_actions(serve):
    endpoint = serve(tier_of())
    post(endpoint, {"x-claude-code-session-id": "72640b4a"})
    assert endpoint.records[0].trace.session == "72640b4a"


def test_a_silent_stream_is_kept_alive_by_pings(serve):
    endpoint = serve(tier_of(policy=Majority(n=2), engine=ScriptedEngine("a", step=0.4)))
    events = post(endpoint, stream=True).events
    text = "\n".join(event.text for event in events)
    assert text.index("event: ping") < text.index("event: message_start")


# -- counting


class Counting(ScriptedEngine):
    async def count_tokens(self, prompt):
        if "thinking" in prompt.fields:
            raise Refused("thinking: the switch is unknown")
        return len(str(prompt.messages[0]["content"]).split())


def test_tokens_are_counted_by_the_engine_of_the_tier_and_no_action_is_recorded(serve):
    endpoint = serve(tier_of(engine=Counting()))
    turns = [{"role": "user", "content": "one two three"}]
    with client_of(endpoint) as client:
        counted = client.messages.count_tokens(model="tier", messages=turns, thinking={"type": "disabled"})
    assert counted.input_tokens == 3
    assert endpoint.records == []


def test_an_engine_that_cannot_count_says_what_to_do(serve):
    with client_of(serve(tier_of())) as client, pytest.raises(anthropic.BadRequestError, match="max_tokens 1"):
        client.messages.count_tokens(model="tier", messages=HELLO)


def test_a_count_has_no_limit_of_tokens(serve):
    with (
        client_of(serve(tier_of(engine=Counting()))) as client,
        pytest.raises(anthropic.BadRequestError, match="max_tokens"),
    ):
        client.messages.count_tokens(model="tier", messages=HELLO, extra_body={"max_tokens": 3})
