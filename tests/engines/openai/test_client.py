"""The client of OpenAI-compatible servers, against a real server on the loopback: what is sent, and what comes back."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest

from engines.asking import call, chunks, in_time
from engines.openai.talking import HERE, asked, event, failed, raw, sent, talking
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.spec.call import Usage
from tierwise.spec.errors import EngineError, Refused, SpecError
from tierwise.spec.prompt import WrittenMessages
from tierwise.testing.server import HttpReply

# ── what is sent ────────────────────────────────────────────────────────


def test_a_conversation_with_images_tools_and_unknown_fields_arrives_as_it_was():
    messages = (
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Wie heißt das? 🦊"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "", "cache_control": {"type": "ephemeral"}},
    )
    fields = {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "temperature": 0.25,
        "metadata": None,
        "chat_template_kwargs": {"enable_thinking": False},
        "a_field_of_next_year": [1, {"deep": 1.5e-300}],
    }
    request = sent(call(messages, seed=7, **fields), api_key_env=None)
    body = request.body
    ours = {name: body.pop(name) for name in ("model", "stream", "stream_options", "seed")}
    assert body == {"messages": list(messages), **fields}
    assert ours == {"model": "large", "stream": True, "stream_options": {"include_usage": True}, "seed": 7}
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")


def test_every_draw_is_sent_with_its_own_seed():
    seeds = [sent(call(draw=draw)).body["seed"] for draw in range(4)]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_the_config_says_of_the_server_is_sent_whatever_the_client_says():
    extra = {"timings_per_token": True, "stream_options": {"continuous_usage_stats": True}}
    of = call(timings_per_token=False, stream_options={"include_usage": False, "include_obfuscation": False})
    body = sent(of, extra=extra).body
    assert body["timings_per_token"] is True
    assert body["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
        "include_obfuscation": False,
    }


@pytest.mark.parametrize("name", ["n", "n_cmpl", "best_of"])
def test_no_field_that_multiplies_passes_reaches_a_server(name):
    assert name not in sent(call(**{name: 1})).body
    error = failed(HttpReply(), of=call(**{name: 2}))
    assert isinstance(error, Refused)
    assert str(error).startswith(f"{name}: a pass is one completion")


def test_a_key_is_read_from_its_variable_when_the_engine_is_built(monkeypatch):
    monkeypatch.setenv("LARGE_KEY", "sk-1\n")
    assert sent(call(), api_key_env="LARGE_KEY").headers["authorization"] == "Bearer sk-1"
    assert "authorization" not in sent(call()).headers
    monkeypatch.setenv("LARGE_KEY", " ")
    with pytest.raises(SpecError, match="LARGE_KEY is empty; it must hold the key of http://x/v1"):
        build(Http(url="http://x/v1", api_key_env="LARGE_KEY"), "large", HERE)


def test_an_answer_is_never_asked_for_compressed():
    assert sent(call()).headers["accept-encoding"] == "identity"


def test_half_a_character_is_refused_and_not_a_crash():
    error = failed(HttpReply(), of=call("\ud83e"))
    assert isinstance(error, Refused)
    assert "not valid Unicode" in str(error)


def test_a_prompt_of_five_megabytes_is_sent_whole():
    text = "x" * 5_000_000
    assert sent(call(text)).body["messages"][0]["content"] == text


def test_the_passes_of_a_large_request_share_one_copy_of_its_messages(monkeypatch):
    written = []
    encode = msgspec.json.encode
    monkeypatch.setattr(msgspec.json, "encode", lambda value: written.append(type(value)) or encode(value))
    text = "x" * 3_000_000
    prompt = replace(call(text, seed=3, temperature=0.5).prompt, written=WrittenMessages())

    async def main():
        async with talking(HttpReply(), HttpReply()) as (server, engine):
            for draw in range(2):
                await chunks(engine, replace(call(), prompt=prompt, draw=draw))
            return server.requests

    requests = in_time(main())
    for request in requests:
        assert request.body["messages"] == [{"role": "user", "content": text}]
        assert (request.body["temperature"], request.body["model"]) == (0.5, "large")
        assert request.headers["content-length"]
        assert "transfer-encoding" not in request.headers
    assert requests[0].body["seed"] != requests[1].body["seed"]
    assert written.count(tuple) == 1


def test_a_large_request_with_other_messages_sends_those():
    prompt = replace(call("x" * 100_000).prompt, written=WrittenMessages())

    async def main():
        async with talking(HttpReply(), HttpReply()) as (server, engine):
            await chunks(engine, replace(call(), prompt=prompt))
            await chunks(engine, replace(call(), prompt=prompt.then({"role": "user", "content": "and now?"})))
            return [len(request.body["messages"]) for request in server.requests]

    assert in_time(main()) == [1, 2]


def test_a_dropped_field_is_not_sent_with_a_large_request():
    prompt = replace(call("x" * 100_000).prompt, written=WrittenMessages())
    assert "seed" not in sent(replace(call(), prompt=prompt), drop=["seed"]).body


def test_a_cookie_of_one_answer_is_not_sent_with_the_next_request():
    async def main() -> None:
        async with talking(HttpReply(headers={"Set-Cookie": "user=alice; Path=/"})) as (server, engine):
            for _ in range(2):
                await chunks(engine, call())
            assert "cookie" not in server.requests[1].headers

    in_time(main())


# ── what comes back ─────────────────────────────────────────────────────

PANGRAM = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🦊🥊 日本語"


@pytest.mark.parametrize(
    "habit",
    [
        {"block": 1},
        {"block": 3},
        {"block": 7},
        {"line_end": "\r\n"},
        {"line_end": "\r\n", "block": 1},
        {"line_end": "\r"},
        {"comment": "OPENROUTER PROCESSING"},
        {"comment": "ping", "line_end": "\r\n", "block": 5},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"Connection": "close"}},
    ],
    ids=str,
)
def test_an_answer_is_the_same_however_its_bytes_arrive(habit):
    said, usage = asked(HttpReply(text=PANGRAM, **habit))
    assert (said.text, said.finish) == (PANGRAM, "stop")
    assert usage == Usage(prompt=3, completion=12)


def test_events_without_a_blank_after_the_colon_or_between_them_are_read():
    stream = (event("a") + event("b") + event(finish="stop")).replace("data: ", "data:").replace("\n\n", "\n")
    assert asked(raw(stream))[0].text == "ab"


def test_an_event_of_five_megabytes_is_read_in_reasonable_time():
    began = time.monotonic()
    said, _ = asked(raw(event("é" * 2_500_000), event(finish="stop")))
    assert said.text == "é" * 2_500_000
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_large_event_is_read_like_a_small_one_also_with_others_in_the_same_block(size):
    text = "a" * size
    completion, _ = asked(raw(event(text) + event("b") + event(finish="stop") + "data: [DONE]\n\n"))
    assert completion.text == f"{text}b"

    async def main(seen):
        async with talking(raw(event(text) + 'data: {"error": {"message": "gone"}}\n\n')) as (_, engine):
            seen.extend([chunk.delta.get("content") async for chunk in until_error(engine.stream(call()))])

    async def until_error(stream):
        with suppress(EngineError):
            async for chunk in stream:
                yield chunk

    in_time(main(seen := []))
    assert seen == [text]


def test_a_stream_that_ends_without_its_last_line_end_is_whole():
    assert asked(raw(event("a"), event(finish="stop").strip()))[0].text == "a"


def test_what_the_server_lets_stand_open_after_its_last_word_is_not_waited_for():
    began = time.monotonic()
    assert asked(raw(event("a"), event(finish="stop"), "data: [DONE]\n\n", stays_open=True))[0].text == "a"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("ending", [{"dies_after": 4}, {"dies_after": 3}], ids=["before [DONE]", "before usage"])
def test_an_answer_that_was_finished_survives_the_death_of_its_connection(ending):
    said, usage = asked(HttpReply(text="one", **ending))
    assert (said.text, said.finish) == ("one", "stop")
    assert usage.exact == (ending == {"dies_after": 4})


def test_tokens_that_a_server_never_counted_are_counted_from_the_stream_and_marked():
    said, usage = asked(HttpReply(text="one two three", usage=False))
    assert (said.text, usage) == ("one two three", Usage(completion=3, exact=False))


def test_running_counts_that_a_server_sends_are_kept_as_far_as_a_pass_came():
    async def main() -> None:
        counted = [event("a", usage={"prompt_tokens": 5, "completion_tokens": count}) for count in (1, 2)]
        async with talking(raw(*counted, stays_open=True)) as (_, engine):
            stream = engine.stream(call())
            assert [(await anext(stream)).usage for _ in range(2)] == [
                Usage(prompt=5, completion=1),
                Usage(prompt=5, completion=2),
            ]
            await stream.aclose()

    in_time(main())


def test_tool_calls_reasoning_and_unknown_delta_fields_come_through():
    deltas = (
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}], "audio": {"id": "x"}},
    )
    said, _ = asked(HttpReply(deltas=deltas, finish="tool_calls"))
    assert said.reasoning == "hm"
    assert said.tool_calls == ({"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},)
    assert (said.extra, said.finish) == ({"audio": {"id": "x"}}, "tool_calls")


# ── answers that are not streamed ───────────────────────────────────────


def whole(**message) -> HttpReply:
    body = {
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }
    return HttpReply(body=json.dumps(body).encode())


def test_a_call_that_is_not_streamed_gets_the_same_completion():
    calls = [
        {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in ("sun", "rain")
    ]
    completion, usage = asked(whole(content="Both:", tool_calls=calls), of=replace(call(), streamed=False))
    assert (completion.text, completion.finish) == ("Both:", "tool_calls")
    assert list(completion.tool_calls) == calls
    assert usage == Usage(prompt=7, completion=3)


def test_a_call_without_a_seed_or_a_stream_sends_neither():
    request = sent(replace(call(), sends_seed=False, streamed=False), whole(content="4"))
    assert "seed" not in request.body
    assert (request.body["stream"], "stream_options" in request.body) == (False, False)
