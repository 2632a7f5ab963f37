"""What SGLang sends, without an SGLang: the shapes are those of release 0.5.23, srt/entrypoints/openai."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import numpy as np
import pytest

from engines.asking import call
from tierwise.engines import Sglang
from tierwise.engines.openai.engine import HttpEngine
from tierwise.engines.settings import LaunchContext
from tierwise.engines.sglang.answer import Shape, read_routing
from tierwise.engines.sglang.client import SglangClient
from tierwise.engines.sglang.launch import LAUNCHER
from tierwise.spec.call import Recorder, Usage
from tierwise.spec.errors import EngineError, Garbled, Overloaded, Refused, TooLong
from tierwise.testing.server import FakeServer, HttpReply

SHAPE = Shape(layers=3, active=2, experts=8)


def chosen(tokens: int, dense: int | None = None) -> np.ndarray[Any, Any]:
    draw = np.random.default_rng(0)
    rows = [draw.permutation(SHAPE.experts or 0)[: SHAPE.active] for _ in range(tokens * SHAPE.layers)]
    array = np.array(rows, dtype="int32").reshape(tokens, SHAPE.layers, SHAPE.active)
    if dense is not None:
        array[:, dense] = 0
    return array


def encoded(array: np.ndarray[Any, Any]) -> str:
    """As SGLang does it (srt/managers/detokenizer_manager.py, _b64_encode_per_request)."""
    return base64.b64encode(array.tobytes()).decode()


def event(*choices: dict[str, Any], **more: Any) -> bytes:
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**head, "choices": list(choices), "usage": None, **more}).encode() + b"\n\n"


def says(text: str | None = None, *, reasoning: str | None = None, role: str | None = None) -> dict[str, Any]:
    delta = {"role": role, "content": text, "reasoning_content": reasoning}
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None, "matched_stop": None}


def counted(completion: int) -> dict[str, Any]:
    """`UsageInfo` with --enable-cache-report, in a chunk of `continuous_usage_stats` and at the end."""
    return {
        "prompt_tokens": 9,
        "total_tokens": 9 + completion,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": 4},
        "reasoning_tokens": 1,
    }


def stream(payload: str | None = None) -> list[bytes]:
    """The order of srt/entrypoints/openai/serving_chat.py: role, deltas, finish, sglext, usage."""
    finish = {**says(), "finish_reason": "stop", "matched_stop": 2}
    return [
        event(says("", role="assistant")),
        event(says(reasoning="2 and 2"), usage=counted(1)),
        event(says("4"), usage=counted(2)),
        event(finish),
        *([event(sglext={"routed_experts": payload})] if payload else []),
        event(usage=counted(2)),
        b"data: [DONE]\n\n",
    ]


def passed(
    *replies: HttpReply, sampled: float = 0.0, shape: Shape | None = SHAPE, **fields: Any
) -> tuple[Recorder, Any]:
    """One pass against a fake that answers so: what was recorded, and the body that it was asked with."""

    async def main() -> tuple[Recorder, Any]:
        async with FakeServer(*replies) as server:
            client, recorder = SglangClient("large", "m", sampled=sampled, shape=shape), Recorder()
            try:
                async for chunk in client.stream(server.url, call(**fields)):
                    assert "sglext.routed_experts" not in chunk.delta
                    recorder.add(chunk)
            finally:
                await client.close()
            return recorder, server.requests[0].body

    return asyncio.run(main())


def test_a_stream_is_read_with_thinking_and_cached_tokens():
    recorder, asked = passed(HttpReply(raw=stream()))
    said = recorder.completion()
    assert (said.text, said.reasoning, said.finish, said.extra) == ("4", "2 and 2", "stop", {})
    assert recorder.usage == Usage(prompt=9, cached=4, completion=2, reasoning=1)
    assert asked["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert "return_routed_experts" not in asked


def test_a_sampled_pass_brings_its_routing_and_no_client_sees_the_payload():
    array = chosen(20, dense=0)
    recorder, asked = passed(HttpReply(raw=stream(encoded(array))), sampled=1.0)
    assert asked["return_routed_experts"] is True
    assert recorder.completion().extra == {}
    assert recorder.routing is not None
    assert ([*recorder.routing.layers], recorder.routing.source) == ([1, 2], "sglang")
    assert [*recorder.routing.counts[0]] == np.bincount(array[:, 1].ravel(), minlength=8).tolist()


def test_routing_that_a_client_asked_for_itself_of_an_unknown_shape_is_dropped():
    recorder, _ = passed(HttpReply(raw=stream(encoded(chosen(2)))), shape=None, return_routed_experts=True)
    assert (recorder.routing, recorder.completion().text, recorder.completion().extra) == (None, "4", {})


def test_a_payload_of_another_shape_is_garbled():
    with pytest.raises(Garbled, match=r"'large' sent 12 bytes of routed experts, which is not a multiple of 3 layers"):
        passed(HttpReply(raw=stream(base64.b64encode(bytes(12)).decode())), sampled=1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [("@@", "not base64"), (encoded(np.full((1, 3, 2), -1, dtype="int32")), "negative numbers")],
)
def test_what_is_no_such_array_is_told_apart(text, words):
    with pytest.raises(ValueError, match=words):
        read_routing(text, SHAPE)


def test_no_token_is_no_routing():
    assert read_routing("", SHAPE) is None


def error(status: int, message: str, kind: str = "BadRequestError") -> dict[str, Any]:
    """`ErrorResponse`."""
    return {"object": "error", "message": message, "type": kind, "param": None, "code": status}


LONG = "The input (5000 tokens) is longer than the model's context length (2048 tokens)."
FULL = "The request queue is full."


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (HttpReply(status=400, body=json.dumps(error(400, LONG)).encode()), TooLong),
        (HttpReply(status=400, body=json.dumps(error(400, "temperature must be non-negative")).encode()), Refused),
        (
            HttpReply(
                raw=[b"data: " + json.dumps({"error": error(503, FULL, "SERVICE_UNAVAILABLE")}).encode() + b"\n\n"]
            ),
            Overloaded,
        ),
        (HttpReply(status=503, body=json.dumps({"detail": FULL}).encode()), Overloaded),
    ],
    ids=["too long", "refused", "queue full in a stream", "queue full"],
)
def test_errors_are_known_by_sglangs_own_words(reply, kind):
    with pytest.raises(EngineError) as caught:
        passed(reply)
    assert type(caught.value) is kind


def test_one_that_runs_already_is_spoken_to_in_its_words_and_its_page_is_known(tmp_path):
    async def main() -> None:
        async with FakeServer(HttpReply(raw=stream())) as server:
            settings = Sglang(url=server.url, model="theirs", scheduling="priority")
            engine = LAUNCHER.build(settings, "far", LaunchContext(base=tmp_path, logs=tmp_path))
            assert isinstance(engine, HttpEngine)
            async for _ in engine.stream(call(priority=3)):
                pass
            asked, page = server.requests[0].body, engine.health().page
            assert (asked["model"], asked["priority"]) == ("theirs", 3)
            assert page is not None
            assert page.url.endswith("/metrics")
            await engine.stop()

    asyncio.run(main())
