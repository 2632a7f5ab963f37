"""Completions without a chat template, through a real HTTP server that answers as vLLM does."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from endpoints import tier_of
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.gateway.apis.completions import Completions
from tierwise.keys.estimates import size_of
from tierwise.policies import Majority
from tierwise.spec.prompt import Prompt
from tierwise.testing.server import FakeServer, HttpReply, in_a_thread

LOGPROBS = {
    "tokens": ["a", "b"],
    "token_logprobs": [None, -0.5],
    "top_logprobs": [None, {"b": -0.5}],
    "text_offset": [0, 1],
}


class Completing(FakeServer):
    """Says every prompt again, with log-probabilities if they are asked for."""

    def reply_to(self, number, request):
        body = request.body
        assert "messages" not in body
        text = f"{body['prompt']}!" if body.get("echo") and body["prompt"] != "forgets" else f"<{body['prompt']}>"
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        usage = {"prompt_tokens": 2, "completion_tokens": 1}
        if not body["stream"]:
            answer = {"object": "text_completion", "choices": [{**choice, "logprobs": LOGPROBS}], "usage": usage}
            return HttpReply(body=json.dumps(answer).encode())
        pieces = [{**choice, "text": part, "finish_reason": None} for part in (text[:1], text[1:])]
        pieces.append({**choice, "text": ""})
        lines = [{"object": "text_completion", "choices": [piece]} for piece in pieces] + [
            {"choices": [], "usage": usage}
        ]
        events = "".join(f"data: {json.dumps(line)}\n\n" for line in lines) + "data: [DONE]\n\n"
        return HttpReply(body=events.encode(), headers={"content-type": "text/event-stream"})


@pytest.fixture
def served(serve):
    with in_a_thread(Completing()) as server:
        engine = HttpEngine(server.url, ChatClient("up", "m"))
        endpoint = serve(tier_of(engine=engine))
        yield endpoint, server
        endpoint.call(lambda: asyncio.ensure_future(engine.stop()))


def ask(served, **fields):
    with served[0].client() as client:
        return client.completions.create(**{"model": "tier", "prompt": "once", **fields})


def test_a_prompt_is_completed_and_recorded(served):
    answer = ask(served, max_tokens=4)
    assert (answer.choices[0].text, answer.choices[0].finish_reason, answer.usage.completion_tokens) == (
        "<once>",
        "stop",
        1,
    )
    assert served[1].requests[0].target.endswith("/v1/completions")
    assert served[0].records[0].trace.passes[0].usage.prompt == 2


def test_prompts_may_be_tokens_and_several_with_several_choices(served):
    assert ask(served, prompt=[1, 2]).choices[0].text == "<[1, 2]>"
    answer = ask(served, prompt=["a", "b"], n=2)
    assert [(one.index, one.text) for one in answer.choices] == [(0, "<a>"), (1, "<a>"), (2, "<b>"), (3, "<b>")]
    assert len(served[0].records[-1].trace.passes) == 4


def test_likelihoods_come_as_the_engine_sends_them(served):
    answer = ask(served, prompt=[[1, 2]], echo=True, logprobs=1, max_tokens=1)
    assert answer.choices[0].logprobs.token_logprobs == [None, -0.5]
    body = served[1].requests[0].body
    assert (body["echo"], body["logprobs"], body["prompt"]) == (True, 1, [1, 2])


def test_an_engine_that_ignores_echo_is_an_error_and_no_wrong_likelihood(served):
    assert ask(served, echo=True).choices[0].text == "once!"
    with pytest.raises(openai.BadRequestError, match="echo"):
        ask(served, prompt="forgets", echo=True)
    with pytest.raises(openai.BadRequestError, match="echo"):
        ask(served, prompt=[1, 2, 3], echo=True, logprobs=1)


def test_log_probabilities_in_the_form_of_chat_completions_are_put_into_that_of_this_api(served, monkeypatch):
    token = {"token": " Paris", "logprob": -0.25, "top_logprobs": [{"token": " Paris", "logprob": -0.25}]}
    monkeypatch.setattr("test_completions.LOGPROBS", {"content": [token, {"token": ".", "logprob": -0.4}]})
    found = ask(served, logprobs=1).choices[0].logprobs
    assert (found.tokens, found.token_logprobs, found.text_offset) == ([" Paris", "."], [-0.25, -0.4], [0, 6])
    assert found.top_logprobs == [{" Paris": -0.25}, {}]


def test_a_stream_has_the_text_in_pieces(served):
    chunks = list(ask(served, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "<once>"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].usage.prompt_tokens == 2


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"extra_body": {"best_of": 3}}, "best_of"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"logprobs": 101}, "logprobs"),
        ({"prompt": ["a"] * 257}, "prompt"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(served, fields, named):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(served, **fields)
    assert refused.value.param == named


def test_a_policy_of_several_passes_is_refused(serve):
    with serve(tier_of(policy=Majority(n=3))).client() as client, pytest.raises(openai.BadRequestError, match="single"):
        client.completions.create(model="tier", prompt="once")


def test_the_worst_case_of_a_raw_prompt_counts_its_text():
    raw = Prompt(messages=(), raw="a" * 1000)
    assert size_of(raw).tokens - size_of(Prompt(messages=(), raw="")).tokens == 1000
    assert size_of(Prompt(messages=(), raw=tuple(range(1000)))).tokens > 1000


def test_what_is_put_aside_for_each_prompt_is_enough_for_the_longest():
    body = json.dumps({"model": "m", "prompt": ["a", "abc", "ab"]}).encode()
    assert asyncio.run(Completions().read(body)).parsed.prompt.raw == "abc"
