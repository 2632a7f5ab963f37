"""Embeddings, through a real HTTP server that has them."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from endpoints import tier_of
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.policies import Majority
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread

ANSWER = {
    "object": "list",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}


class Embedder(FakeServer):
    """Answers with the same vectors always."""

    vector: object = (0.25, -1.0)

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        data = [{"object": "embedding", "index": 0, "embedding": self.vector}]
        return HttpReply(body=json.dumps({**ANSWER, "data": data}).encode())


@pytest.fixture
def served(serve):
    with in_a_thread(Embedder()) as server:
        engine = HttpEngine(server.url, ChatClient("up", "m"))
        endpoint = serve(tier_of(engine=engine, sampling={"temperature": 0.6}))
        yield endpoint, server
        endpoint.call(lambda: asyncio.ensure_future(engine.stop()))


def test_vectors_come_as_the_engine_sends_them_and_are_recorded(served):
    endpoint, server = served
    with endpoint.client() as client:
        answer = client.embeddings.create(model="tier", input="hello", encoding_format="float", dimensions=2)
    assert answer.data[0].embedding == [0.25, -1.0]
    assert answer.usage.prompt_tokens == 4
    (request,) = server.requests
    assert request.target.endswith("/v1/embeddings")
    assert request.body == {"model": "m", "input": "hello", "encoding_format": "float", "dimensions": 2}
    (done,) = endpoint.records[0].trace.passes
    assert (done.outcome, done.usage.prompt, done.usage.completion) == ("finished", 4, 0)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"input": []}, "input"), ({"input": {}}, "input"), ({"extra_body": {"stream": 1}}, "stream")],
)
def test_what_cannot_be_embedded_is_refused(served, fields, named):
    with served[0].client() as client, pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(**{"model": "tier", "input": "a", "encoding_format": "float", **fields})
    assert refused.value.param == named


@pytest.mark.parametrize("vector", [[0.25, -1.0], "AACAPgAAgL8="], ids=["floats", "base64"])
def test_vectors_of_other_dimensions_than_asked_for_are_refused(served, vector):
    endpoint, server = served
    server.vector = vector
    with endpoint.client() as client:
        assert client.embeddings.create(model="tier", input="a", encoding_format="float", dimensions=2).data
        with pytest.raises(openai.BadRequestError, match="dimensions: the vectors of deployment 'up' have 2"):
            client.embeddings.create(model="tier", input="a", encoding_format="float", dimensions=8)


def test_a_policy_of_several_passes_is_refused(serve):
    with serve(tier_of(policy=Majority(n=3))).client() as client, pytest.raises(openai.BadRequestError, match="single"):
        client.embeddings.create(model="tier", input="a")
