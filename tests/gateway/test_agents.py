"""A conversation with tools on a route: each turn is judged by what it says, and reaches the client whole."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from endpoints import tier_of
from tierwise.testing import Reply, ScriptedEngine

LOOK: Any = {
    "type": "function",
    "function": {
        "name": "look",
        "parameters": {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]},
    },
}
ASKED: Any = [{"role": "system", "content": "Use the tools."}, {"role": "user", "content": "Rain this week?"}]
CONCLUSION = "It will rain on two of the three days, so take the large umbrella"


def calling(arguments: str, **more: Any) -> Reply:
    call = {"index": 0, "id": "call_7", "type": "function", "function": {"name": "look", "arguments": arguments}}
    return Reply(
        delta={"role": "assistant", "reasoning_content": "I look.", "tool_calls": [call], **more}, finish="tool_calls"
    )


class Model(ScriptedEngine):
    """Calls a tool, and answers in text once the conversation has the result of one."""

    def __init__(self, call: Reply, conclusion: str = CONCLUSION) -> None:
        super().__init__()
        self._call, self._conclusion = call, conclusion

    def reply_to(self, number, call):
        return Reply(text=self._conclusion) if call.prompt.messages[-1]["role"] == "tool" else self._call


class Unsure(Model):
    """Gives every token of its calls this probability, if the request asks for it."""

    def __init__(self, call: Reply, probability: float) -> None:
        super().__init__(call)
        self._p = probability

    async def _say(self, call, reply):
        async for chunk in super()._say(call, reply):
            if chunk.delta.get("tool_calls") and call.prompt.fields.get("top_logprobs"):
                top = [{"token": "", "logprob": math.log(one)} for one in (self._p, 1 - self._p)]
                tokens = [
                    {"token": text, "logprob": math.log(self._p), "top_logprobs": top}
                    for text in ("look", '{"days": ', "3", "}")
                ]
                chunk = msgspec.structs.replace(chunk, logprobs={"content": tokens})  # noqa: PLW2901 - the same chunk, with more
            yield chunk


def route_over(serve, cheap, strong):
    tiers = [replace(tier_of(engine=engine), name=name) for name, engine in (("fast", cheap), ("max", strong))]
    tiers = [replace(one, deployment=replace(one.deployment, name=one.name)) for one in tiers]
    return serve(*tiers, routes={"auto": ("fast", "max")})


def turn(client, stream, messages, **more):
    asked: Any = {"model": "auto", "messages": messages, "tools": [LOOK], **more}
    if not stream:
        return client.chat.completions.create(**asked).choices[0]
    with client.chat.completions.stream(**asked) as running:
        running.until_done()
        return running.get_final_completion().choices[0]


def talk(endpoint, stream, **more):
    """Two turns of an agent that runs the tool. Returns both choices."""
    with endpoint.client() as client:
        first = turn(client, stream, ASKED, **more)
        (call,) = first.message.tool_calls
        said = {
            "role": "assistant",
            "content": first.message.content,
            "tool_calls": [{"id": call.id, "type": "function", "function": {"name": call.function.name,
                                                                            "arguments": call.function.arguments}}],
        }  # fmt: skip
        result = {"role": "tool", "tool_call_id": call.id, "content": "rain, sun, rain"}
        return first, turn(client, stream, [*ASKED, said, result], **more)


@pytest.mark.parametrize("stream", [False, True])
def test_valid_calls_and_the_text_after_them_are_the_cheap_tier_s_with_every_field(serve, stream):
    cheap, strong = Model(calling('{"days": 3}', refusal=None, future={"a": 1})), ScriptedEngine("5")
    endpoint = route_over(serve, cheap, strong)
    first, second = talk(endpoint, stream)
    (call,) = first.message.tool_calls
    assert (call.id, call.type, call.function.name, call.function.arguments) == (
        "call_7",
        "function",
        "look",
        '{"days": 3}',
    )
    assert (first.finish_reason, second.finish_reason) == ("tool_calls", "stop")
    assert second.message.content == CONCLUSION
    if not stream:  # the client's helper for streams joins the fields that it knows
        assert first.message.model_extra["reasoning_content"] == "I look."
        assert first.message.model_extra["future"] == {"a": 1}
    assert strong.calls == []
    assert [(record.tier, len(record.trace.passes)) for record in endpoint.records] == [("fast", 1)] * 2
    assert cheap.calls[1].prompt.messages[-1] == {
        "role": "tool",
        "tool_call_id": "call_7",
        "content": "rain, sun, rain",
    }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("arguments", ['{"days": "three"}', "{", "{}"])
def test_a_call_that_its_tool_would_refuse_is_made_by_the_next_tier(serve, stream, arguments):
    endpoint = route_over(serve, Model(calling(arguments)), Model(calling('{"days": 2}')))
    first, second = talk(endpoint, stream)
    assert first.message.tool_calls[0].function.arguments == '{"days": 2}'
    assert second.message.content == CONCLUSION
    assert [record.tier for record in endpoint.records] == ["max", "fast"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("probability", "tier"), [(0.9, "fast"), (0.4, "max")])
def test_a_call_whose_name_or_values_are_unsure_is_made_by_the_next_tier(serve, stream, probability, tier):
    endpoint = route_over(serve, Unsure(calling('{"days": 3}'), probability), Model(calling('{"days": 2}')))
    first, _ = talk(endpoint, stream)
    assert first.message.tool_calls[0].function.arguments == ('{"days": 3}' if tier == "fast" else '{"days": 2}')
    assert endpoint.records[0].tier == tier
    assert first.logprobs is None, "they were the route's own"


@pytest.mark.parametrize("stream", [False, True])
def test_a_session_that_escalated_stays_and_the_metrics_count_it(serve, stream):
    cheap = Model(calling("{"))
    endpoint = route_over(serve, cheap, Model(calling('{"days": 2}')))
    talk(endpoint, stream, extra_headers={"x-tierwise-session": "agent-7"})
    assert [record.tier for record in endpoint.records] == ["max", "max"]
    assert len(cheap.calls) == 1
    assert endpoint.records[1].reason == "auto: max by session"
    assert endpoint.metric('tierwise_sessions_resumed_total{tier="auto"}') == 1
