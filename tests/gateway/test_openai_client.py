"""The official `openai` client, unmodified."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from endpoints import HELLO, tier_of
from tierwise.policies import BestOfN, Majority, Refine
from tierwise.testing import Reply, ScriptedEngine

TOOLS: Any = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def test_a_whole_answer_is_a_chat_completion(serve):
    with serve(tier_of()).client() as client:
        answer = client.chat.completions.create(model="tier", messages=HELLO)
    assert answer.object == "chat.completion"
    assert answer.model == "tier"
    assert answer.choices[0].message.content == "hi there"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 2, 5)


def test_a_stream_brings_the_answer_in_chunks_of_one_completion(serve):
    with serve(tier_of()).client() as client:
        chunks = list(client.chat.completions.create(model="tier", messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "hi there"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1
    assert all(chunk.usage is None for chunk in chunks)


def test_include_usage_adds_one_last_chunk_without_choices(serve):
    with serve(tier_of()).client() as client:
        *chunks, last = client.chat.completions.create(
            model="tier", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 2)


def test_the_helpers_of_the_client_work_on_a_stream(serve):
    with (
        serve(tier_of()).client() as client,
        client.chat.completions.stream(model="tier", messages=HELLO) as stream,
    ):
        stream.until_done()
        assert stream.get_final_completion().choices[0].message.content == "hi there"


def test_the_asynchronous_client_works_too(serve):
    endpoint = serve(tier_of())

    async def ask() -> str | None:
        async with openai.AsyncOpenAI(base_url=f"{endpoint.url}/v1", api_key="any") as client:
            answer = await client.chat.completions.create(model="tier", messages=HELLO)
            return answer.choices[0].message.content

    assert asyncio.run(ask()) == "hi there"


@pytest.mark.parametrize("stream", [False, True])
def test_tools_reach_the_engine_and_its_calls_reach_the_client(serve, stream):
    engine = ScriptedEngine(Reply(delta={"role": "assistant", "tool_calls": [CALL]}, finish="tool_calls"))
    asked: Any = {"model": "tier", "messages": HELLO, "tools": TOOLS, "tool_choice": "auto"}
    with serve(tier_of(engine=engine)).client() as client:
        if stream:
            with client.chat.completions.stream(**asked) as running:
                running.until_done()
                choice = running.get_final_completion().choices[0]
        else:
            choice = client.chat.completions.create(**asked).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None or not choice.message.content
    assert choice.message.tool_calls[0].function.arguments == '{"a": 1}'
    assert choice.message.tool_calls[0].id == "call_1"
    assert engine.calls[0].prompt.fields["tools"] == TOOLS


@pytest.mark.parametrize("policy", [Majority(n=3), BestOfN(n=2), Refine()])
def test_a_tool_call_survives_every_policy(serve, policy):
    engine = ScriptedEngine(Reply(delta={"tool_calls": [CALL]}, finish="tool_calls"))
    with serve(tier_of(policy, engine)).client() as client:
        whole = client.chat.completions.create(model="tier", messages=HELLO, tools=TOOLS)
        with client.chat.completions.stream(model="tier", messages=HELLO, tools=TOOLS) as stream:
            stream.until_done()
            streamed = stream.get_final_completion()
    for answer in (whole, streamed):
        assert answer.choices[0].message.tool_calls[0].function.name == "add"
        assert answer.choices[0].finish_reason == "tool_calls"


def test_a_response_format_goes_through_and_its_answer_can_be_parsed(serve):
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True}}
    engine = ScriptedEngine('{"a": 1}')
    with serve(tier_of(engine=engine)).client() as client:
        answer = client.chat.completions.create(model="tier", messages=HELLO, response_format=form)
    assert answer.choices[0].message.content == '{"a": 1}'
    assert engine.calls[0].prompt.fields["response_format"] == form


def test_log_probabilities_arrive_whole_and_streamed(serve):
    engine = ScriptedEngine(Reply(text="hi there", logprob=-0.5))
    with serve(tier_of(engine=engine)).client() as client:
        whole = client.chat.completions.create(model="tier", messages=HELLO, logprobs=True, top_logprobs=2)
        chunks = list(client.chat.completions.create(model="tier", messages=HELLO, logprobs=True, stream=True))
    assert [token.logprob for token in whole.choices[0].logprobs.content] == [-0.5, -0.5]
    streamed = [chunk.choices[0].logprobs for chunk in chunks if chunk.choices[0].logprobs]
    assert [token.token for part in streamed for token in part.content] == ["hi", " there"]
    assert engine.calls[0].prompt.fields["top_logprobs"] == 2


def test_log_probabilities_that_only_the_policy_wanted_are_not_shown(serve):
    engine = ScriptedEngine(Reply(text="hi there", logprob=-0.5))
    with serve(tier_of(BestOfN(n=2), engine)).client() as client:
        whole = client.chat.completions.create(model="tier", messages=HELLO)
        chunks = list(client.chat.completions.create(model="tier", messages=HELLO, stream=True))
    assert all(call.prompt.fields["logprobs"] for call in engine.calls)
    assert whole.choices[0].logprobs is None
    assert all(chunk.choices[0].logprobs is None for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_n_choices_are_n_runs_with_seeds_of_their_own(serve, stream):
    engine = ScriptedEngine("one", "two", "three")
    with serve(tier_of(engine=engine)).client() as client:
        if stream:
            texts = {0: "", 1: "", 2: ""}
            for chunk in client.chat.completions.create(model="tier", messages=HELLO, n=3, stream=True, seed=7):
                texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
            said = list(texts.values())
        else:
            answer = client.chat.completions.create(model="tier", messages=HELLO, n=3, seed=7)
            said = [choice.message.content for choice in answer.choices]
            assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert sorted(said) == ["one", "three", "two"]
    assert len({call.seed for call in engine.calls}) == 3
    assert 7 in {call.seed for call in engine.calls}


def test_images_names_and_many_turns_go_through_as_they_came(serve):
    talk: Any = [
        {"role": "system", "content": "be brief", "name": "house"},
        {"role": "developer", "content": [{"type": "text", "text": "really"}]},
        {
            "role": "user",
            "name": "ada",
            "content": [
                {"type": "text", "text": "what is this? 🦉\u0000\u2028"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [{k: CALL[k] for k in ("id", "type", "function")}]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42"}]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "refusal": "still no", "audio": {"id": "audio_1"}},
        {"role": "function", "name": "add", "content": None},
        {"role": "user", "content": "User: go on\nAssistant: "},
    ]
    engine = ScriptedEngine("an owl")
    with serve(tier_of(engine=engine)).client() as client:
        client.chat.completions.create(model="tier", messages=talk)
    assert [dict(message) for message in engine.calls[0].prompt.messages] == talk


def test_what_a_model_says_is_not_cut_wherever_it_looks_like_a_talk(serve):
    said = "Here is a dialog.\nUser: hello\nAssistant: bye. data: [DONE]\n\ndata: {}"
    with serve(tier_of(engine=ScriptedEngine(said))).client() as client:
        assert client.chat.completions.create(model="tier", messages=HELLO).choices[0].message.content == said
        chunks = client.chat.completions.create(model="tier", messages=HELLO, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said


def test_reasoning_refusals_and_unknown_message_fields_reach_the_client(serve):
    delta = {"role": "assistant", "reasoning_content": "hm", "refusal": "no", "future": {"a": 1}}
    with serve(tier_of(engine=ScriptedEngine(Reply(delta=delta)))).client() as client:
        message = client.chat.completions.create(model="tier", messages=HELLO).choices[0].message
        chunks = list(client.chat.completions.create(model="tier", messages=HELLO, stream=True))
    assert message.refusal == "no"
    assert message.model_extra == {"reasoning_content": "hm", "reasoning": "hm", "future": {"a": 1}}
    assert any(chunk.choices[0].delta.model_extra.get("future") == {"a": 1} for chunk in chunks)


def test_errors_become_the_client_s_own_exceptions(serve):
    with serve(tier_of()).client() as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(model="nobody", messages=HELLO)
        with pytest.raises(openai.BadRequestError) as wrong:
            client.chat.completions.create(model="tier", messages=HELLO, temperature=9)
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nobody")
    assert (unknown.value.param, unknown.value.code) == ("model", "model_not_found")
    assert wrong.value.param == "temperature"


def test_models_are_tiers_and_routes(serve):
    endpoint = serve(tier_of(name="fast"), tier_of(name="max"), routes={"auto": ("fast", "max")})
    with endpoint.client() as client:
        assert [model.id for model in client.models.list()] == ["fast", "max", "auto"]
        assert client.models.retrieve("auto").model_extra["tierwise"] == {
            "policy": "Cascade",
            "deployment": "fake",
            "tiers": ["fast", "max"],
            "most_passes": 3,
            "candidates": True,
        }
        assert client.models.retrieve("max").owned_by == "tierwise"
