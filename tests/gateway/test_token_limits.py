"""A client's `max_tokens` is lowered to what a deployment holds, and the answer says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from endpoints import HELLO, Endpoint, tier_of
from tierwise.policies import Majority
from tierwise.spec.call import Call
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import Refused, TooLong
from tierwise.testing import Reply, ScriptedEngine

LONG = [{"role": "user", "content": "word " * 2000}]


def asked(engine: ScriptedEngine) -> dict[str, object]:
    return dict(engine.calls[-1].prompt.fields)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("wanted", [2048, 32_000, 32_000.0, 10**9, 10**30, 1e300])
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_above_the_context_is_lowered_and_the_answer_says_so(serve, name, wanted, stream):
    engine = ScriptedEngine("hi there")
    endpoint: Endpoint = serve(tier_of(engine=engine, context=2048))
    answer = endpoint.chat(stream=stream, stream_options={"include_usage": True}, **{name: wanted})
    assert (answer.status, answer.text) == (200, "hi there")
    assert 1500 < asked(engine)[name] < 2048
    note = f"{name} was lowered from {min(int(wanted), 2**31 - 1)} to what the context of fake holds, 2048 tokens"
    assert answer.headers["x-tierwise-note"].startswith(note)
    usage = (answer.chunks[-1] if stream else answer.json)["usage"]
    assert usage["tierwise"]["notes"] == [answer.headers["x-tierwise-note"]]


def test_beside_a_long_prompt_the_engine_stops_where_its_context_ends(serve):
    engine = ScriptedEngine("hi there")
    answer = serve(tier_of(engine=engine, context=2048)).chat(messages=LONG, max_tokens=32_000)
    assert answer.status == 200
    assert "max_tokens" not in asked(engine)
    assert "x-tierwise-note" in answer.headers


@pytest.mark.parametrize("context", [None, 2048])
@pytest.mark.parametrize("wanted", [1, 2047, 256.0, 0, -1])
def test_a_limit_that_fits_is_sent_as_it_came(serve, wanted, context):
    engine = ScriptedEngine("hi there")
    answer = serve(tier_of(engine=engine, context=context)).chat(max_tokens=wanted)
    assert answer.status == 200
    assert asked(engine)["max_tokens"] == int(wanted)
    assert type(asked(engine)["max_tokens"]) is int
    assert "x-tierwise-note" not in answer.headers
    assert answer.json["usage"]["tierwise"]["notes"] == []


def test_no_limit_is_still_cut_by_a_budget(serve):
    engine = ScriptedEngine("a b c d e f")
    answer = serve(tier_of(engine=engine)).chat(max_tokens=-1, tierwise={"budget": {"completion_tokens": 3}})
    assert answer.text == "a b c"
    assert asked(engine)["max_tokens"] == 3


def test_every_tier_lowers_a_limit_to_its_own_context(serve):
    cheap, strong = ScriptedEngine("wrong"), ScriptedEngine("4")
    endpoint = serve(
        tier_of(engine=cheap, name="cheap", context=1000),
        tier_of(engine=strong, name="strong", context=100_000),
        routes={"auto": ("cheap", "strong")},
    )
    answer = endpoint.chat("auto", max_tokens=32_000, tierwise={"verifier": {"number": {"equals": 4}}})
    assert answer.text == "4"
    assert asked(cheap)["max_tokens"] < 1000
    assert asked(strong)["max_tokens"] == 32_000
    assert len(answer.json["usage"]["tierwise"]["notes"]) == 1


def test_a_vote_says_once_what_was_lowered_in_every_pass(serve):
    answer = serve(tier_of(Majority(n=3), ScriptedEngine("4"), context=2048)).chat(max_tokens=32_000)
    assert len(answer.json["usage"]["tierwise"]["notes"]) == 1


class Strict(ScriptedEngine):
    """Refuses a limit that does not fit beside the prompt, in a server's own words."""

    def __init__(self, refusal: Exception) -> None:
        super().__init__("hi there")
        self._refusal = refusal

    def reply_to(self, number: int, call: Call) -> Reply:
        if "max_tokens" in call.prompt.fields:
            return Reply(error=self._refusal)
        return super().reply_to(number, call)


VLLM = (
    "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 32768 tokens "
    "and your request has 9000 input tokens (32000 > 32768 - 9000)."
)
OLDER = (
    "This model's maximum context length is 2048 tokens. However, you requested 32010 tokens (10 in the messages, "
    "32000 in the completion). Please reduce the length of the messages or completion."
)
SGLANG = (
    "Requested token count exceeds the model's maximum context length of 2048 tokens. You requested a total of 32010 "
    "tokens: 10 tokens from the input messages and 32000 tokens for the completion."
)
HOSTED = "max_tokens is too large: 32000. This model supports at most 16384 completion tokens."


@pytest.mark.parametrize("refusal", [TooLong(VLLM), TooLong(OLDER), TooLong(SGLANG), Refused(HOSTED)], ids=str)
@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_that_an_engine_refuses_is_left_to_the_engine(serve, refusal, stream):
    engine = Strict(refusal)
    endpoint = serve(tier_of(engine=engine))
    answer = endpoint.chat(stream=stream, max_tokens=32_000)
    assert (answer.status, answer.text) == (200, "hi there")
    assert len(engine.calls) == 2
    assert endpoint.records[0].trace.passes[1].retry_of == 0


def test_a_prompt_that_does_not_fit_is_an_error_without_a_second_pass(serve):
    engine = ScriptedEngine(Reply(error=TooLong("the request exceeds the available context size, n_ctx = 2048")))
    answer = serve(tier_of(engine=engine)).chat(messages=HELLO, max_tokens=100)
    assert (answer.status, answer.error["code"]) == (400, "context_length_exceeded")
    assert len(engine.calls) == 1


@pytest.mark.parametrize("role", ["developer", "observation", "control", "ipython", "tool", "documents", "model-2"])
def test_which_roles_there_are_is_up_to_the_model(serve, role):
    engine = ScriptedEngine("hi there")
    assert serve(tier_of(engine=engine)).chat(messages=[{"role": role, "content": "x"}]).status == 200
    assert engine.calls[0].prompt.messages[0]["role"] == role


@pytest.mark.parametrize("stream", [False, True])
def test_tools_that_the_model_does_not_see_are_named_in_a_header(serve, stream):
    tier = tier_of()
    tier = replace(tier, deployment=replace(tier.deployment, capabilities=Capabilities(tools=False)))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    answer = serve(tier).chat(stream=stream, tools=tools)
    assert answer.status == 200
    assert answer.headers["x-tierwise-note"] == "fake did not show the tools to the model: its template has none"
