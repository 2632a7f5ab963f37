"""A reward model behind the endpoint, over real HTTP on both sides: what a client sees, and what bad answers change."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from endpoints import HELLO, serving, until
from tierwise.engines.engine import Deployment
from tierwise.engines.openai.engine import HttpEngine
from tierwise.engines.vllm.rewards import RewardClient
from tierwise.policies import BestOfN
from tierwise.policies.rewarding import RewardModel
from tierwise.policies.scoring import ScorerChoice
from tierwise.run import Tier
from tierwise.testing import Reply, ScriptedEngine
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread

DRAWN = (Reply(text="red", logprob=-2.0), Reply(text="blue", logprob=-0.1), Reply(text="green", logprob=-3.0))
REWARDS = {"red": -1.0, "blue": -2.5, "green": 3.0}


class Grader(FakeServer):
    """vLLM's `/classify`, or the given reply."""

    def __init__(self, bad: HttpReply | None = None) -> None:
        super().__init__()
        self._bad = bad

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if self._bad is not None:
            return self._bad
        reward = REWARDS[request.body["messages"][-1]["content"]]
        body = {"data": [{"index": 0, "probs": [reward]}], "usage": {"prompt_tokens": 11, "total_tokens": 11}}
        return HttpReply(body=json.dumps(body).encode())


def answered(bad: HttpReply | None = None, **fields: Any) -> tuple[Any, list[str]]:
    """The response of an endpoint whose reward model sends this, and the trace's decisions about it."""
    policy = BestOfN(n=3, scorer=ScorerChoice(reward=RewardModel(deployment="grader")))
    with in_a_thread(Grader(bad)) as server:
        engine = HttpEngine(server.url, RewardClient("grader", "M", silent_seconds=0.5))
        drawn = Deployment(name="fake", engine=ScriptedEngine(*DRAWN))
        graders = {"grader": Deployment(name="grader", engine=engine)}
        with serving(Tier(name="tier", deployment=drawn, policy=policy, graders=graders)) as endpoint:
            found = endpoint.chat(messages=HELLO, **fields).json
            stopping: list[Any] = []
            endpoint.call(lambda: stopping.append(asyncio.ensure_future(engine.stop())))
            until(stopping[0].done)
            (record,) = endpoint.records
    notes = [one.reason for one in record.trace.events if getattr(one, "signal", "") == "reward"]
    return found, notes


def test_the_answer_is_that_of_the_highest_reward_and_every_grading_is_on_the_bill():
    found, _ = answered()
    assert found["choices"][0]["message"]["content"] == "green"
    passes = found["usage"]["tierwise"]["passes"]
    rewards = [one for one in passes if one["role"] == "reward"]
    assert [(one["prompt_tokens"], one["completion_tokens"]) for one in rewards] == [(11, 0)] * 3
    assert found["usage"]["prompt_tokens"] == 3 * 3 + 3 * 11
    assert found["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (HttpReply(status=400, body=b'{"error": {"message": "no chat template"}}'), "no chat template"),
        (HttpReply(status=404, body=b"{}"), "no /classify"),
        (HttpReply(status=500, body=b"{}"), "answered 500"),
        (HttpReply(body=b"I like all of them."), "which is no classification"),
        (HttpReply(body=b""), "which is no classification"),
        (HttpReply(body=b'{"data": []}'), "0 grades"),
        (HttpReply(body=b'{"data": [{"probs": [NaN]}]}'), "instead of finite scores"),
        (HttpReply(body=b'{"data": [{"probs": []}]}'), "instead of finite scores"),
        (HttpReply(body=b'{"data": [{"probs": [[0.1, 0.9], [0.2, 0.8]]}]}'), "process reward model"),
        (HttpReply(body=b'{"data": [{"probs": [0.1, 0.9]}]}'), "set `label`"),
        (HttpReply(body=b"{}", waits=5), "grader"),
        (HttpReply(dies_after=0), "grader"),
    ],
)
def test_a_bad_answer_of_the_reward_model_leaves_the_likeliest_candidate(bad, said):
    found, notes = answered(bad)
    assert found["choices"][0]["message"]["content"] == "blue"
    assert any(note.startswith("no verdict") and said in note for note in notes), notes
