"""The endpoint in front of a server over HTTP: what reaches the server, and what of its stream reaches the client."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from endpoints import HELLO, Endpoint, serving, tier_of, until
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.engines.settings import LaunchContext
from tierwise.policies import BestOfN, Majority
from tierwise.spec.budget import Budget
from tierwise.testing.server import FakeServer, HttpReply, in_a_thread

HERE = LaunchContext(base=Path(), logs=Path())
DONE = "data: [DONE]\n\n"


@contextmanager
def before(*replies: HttpReply, **tier: Any) -> Iterator[tuple[Endpoint, FakeServer]]:
    """An endpoint before a fake server."""
    with in_a_thread(FakeServer(*replies)) as server:
        engine = build(Http(url=server.url, model="large"), "far", HERE)
        with serving(tier_of(engine=engine, **tier)) as endpoint:  # type: ignore[arg-type] - any engine
            yield endpoint, server
            stop(endpoint, engine)


def stop(endpoint: Endpoint, engine: Any) -> None:
    """Close the engine's connections in the endpoint's own loop."""
    stopping: list[Any] = []
    endpoint.call(lambda: stopping.append(asyncio.ensure_future(engine.stop())))
    until(lambda: endpoint.call(stopping[0].done))


def event(content: str = "", *, index: int = 0, finish: str | None = None) -> str:
    choice = {"index": index, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice]})}\n\n"


def raw(*blocks: str, **more: Any) -> HttpReply:
    return HttpReply(raw=[block.encode() for block in blocks], **more)


STRAY = [
    raw(event("hi"), event(finish="stop"), DONE, event(" and more"), DONE),
    raw(event("hi"), event(finish="stop") + DONE + event(" and more")),
    raw(event("hi"), event("no", index=1), event(finish="stop"), event("no", index=1, finish="stop"), DONE),
    raw(event("no", index=2), event("hi"), event(finish="stop"), DONE),
    raw(event("hi"), event(finish="stop"), event(finish="stop"), DONE),
]


@pytest.mark.parametrize("reply", STRAY, ids=range(len(STRAY)))
def test_what_comes_after_the_end_or_for_another_choice_is_not_shown(reply):
    with before(reply) as (endpoint, _):
        whole, streamed = endpoint.chat(), endpoint.chat(stream=True)
        assert (whole.text, streamed.text, streamed.is_done) == ("hi", "hi", True)
        choices = [choice for chunk in streamed.chunks for choice in chunk["choices"]]
        assert {choice["index"] for choice in choices} == {0}
        assert [choice["finish_reason"] for choice in choices].count("stop") == 1


def test_headers_of_the_client_reach_the_server_and_no_others_do():
    with before(HttpReply(text="hi")) as (endpoint, server):
        span = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        body = json.dumps({"model": "tier", "messages": HELLO}).encode()
        given = {"x-request-id": "mine", "traceparent": span, "authorization": "Bearer users", "cookie": "a=b"}
        assert endpoint.raw(body, {**given, "x-other": "1"}).status == 200
        headers = server.requests[0].headers
        assert (headers["x-request-id"], headers["traceparent"]) == ("mine", span)
        assert headers["content-type"] == "application/json"
        assert not {"authorization", "cookie", "x-other"} & headers.keys()


def test_a_server_that_drips_holds_nobody_but_its_own_client():
    drip = HttpReply(text="a b c d e f g h", step=0.3)
    with before(drip, budget=Budget(seconds=0.5)) as (endpoint, _), ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        slow = [pool.submit(endpoint.chat, stream=bool(number % 2)) for number in range(8)]
        waits = []
        while time.monotonic() - began < 0.4:
            asked = time.monotonic()
            assert endpoint.request("GET", "/v1/models").status == 200
            waits.append(time.monotonic() - asked)
        assert all(one.result().status == 200 for one in slow)
        assert time.monotonic() - began < 3.0
        assert sorted(waits)[len(waits) // 2] < 0.25


def test_a_server_s_gzip_bomb_is_an_error_and_holds_nobody_up():
    bomb = gzip.compress(b'data: {"choices": [{"delta": {"content": "' + b" " * 256 * 2**20, 1, mtime=0)
    reply = HttpReply(raw=[bomb], headers={"content-encoding": "gzip", "content-type": "text/event-stream"})
    with before(reply) as (endpoint, _), ThreadPoolExecutor(1) as pool:
        bombed = pool.submit(endpoint.chat)
        waits = []
        while not bombed.done():
            asked = time.monotonic()
            assert endpoint.request("GET", "/health").status == 200
            waits.append(time.monotonic() - asked)
        assert bombed.result().status == 502
        assert sorted(waits)[len(waits) // 2] < 0.5


@pytest.mark.parametrize("policy", [None, Majority(n=4), BestOfN(n=4)])
def test_a_server_that_answers_one_choice_whatever_is_asked_still_gives_every_candidate_and_choice(policy):
    with before(HttpReply(text="4"), **({} if policy is None else {"policy": policy})) as (endpoint, server):
        answered = endpoint.chat(n=3)
        assert [choice["message"]["content"] for choice in answered.json["choices"]] == ["4"] * 3
        assert len(server.requests) >= (3 if policy is None else 9)  # a vote may be decided early
        assert not any("n" in request.body for request in server.requests)
