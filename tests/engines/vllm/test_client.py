"""A vLLM at a URL, faked: which passes are recorded, and what they are asked for."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.asking import call, chunks, in_time
from tierwise.engines import Vllm
from tierwise.engines.settings import LaunchContext
from tierwise.engines.vllm.client import VllmClient
from tierwise.engines.vllm.launch import LAUNCHER
from tierwise.spec.call import Recorder
from tierwise.spec.errors import Broken, Garbled, Overloaded, Refused, SpecError, TooLong
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

if TYPE_CHECKING:
    from pathlib import Path

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


def recorded() -> dict[str, Any]:
    with io.BytesIO() as buffer:
        np.save(buffer, np.array([[[0, 1]], [[1, 2]]], dtype="uint8"))
        routed = base64.b64encode(buffer.getvalue()).decode()
    message = {"role": "assistant", "content": "whole", "reasoning": None, "tool_calls": []}
    return {"choices": [{"message": message, "finish_reason": "stop", "routed_experts": routed}], "usage": USAGE}


class Served(FakeServer):
    """Answers whole as vLLM does, and in a stream."""

    def __init__(self, status: int = 200, body: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.status = status
        self.body = recorded() if body is None else body

    @property
    def asked(self) -> list[dict[str, Any]]:
        return [{**one.body, "key": one.headers.get("authorization")} for one in self.requests]

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        if self.status != 200:
            error = {"error": {"message": self.body["message"], "code": self.status}}
            return HttpReply(status=self.status, body=json.dumps(error).encode())
        return HttpReply(text="streamed") if request.body["stream"] else HttpReply(body=json.dumps(self.body).encode())


def asked(draws: list[float], sampled: float, status: int = 200, body: dict[str, Any] | None = None) -> Any:
    """What each of so many passes brought, and what the server was asked."""

    async def main() -> tuple[list[Recorder], list[dict[str, Any]]]:
        async with Served(status, body) as server:
            client = VllmClient("large", "M", sampled=sampled, experts=4, draw=iter(draws).__next__)
            found = []
            try:
                for _ in draws:
                    recorder = Recorder()
                    async for chunk in client.stream(server.url, call(stream_options={"x": 1})):
                        recorder.add(chunk)
                    found.append(recorder)
            finally:
                await client.close()
            return found, server.asked

    return in_time(main())


def test_the_share_of_passes_that_was_asked_for_is_recorded_and_not_streamed():
    found, requests = asked([0.1, 0.3, 0.2], sampled=0.25)
    assert [one["stream"] for one in requests] == [False, True, False]
    assert [one.completion().text for one in found] == ["whole", "streamed", "whole"]
    assert [one.routing is not None for one in found] == [True, False, True]
    assert all(one.usage.exact and one.usage.prompt == 3 for one in found)
    assert requests[1]["stream_options"] == {"x": 1, "continuous_usage_stats": True, "include_usage": True}
    assert "stream_options" not in requests[0]


def test_what_was_recorded_never_reaches_the_message():
    (one,), _ = asked([0.0], sampled=1.0)
    assert one.routing.counts == [[1, 2, 1, 0]]
    assert "routed" not in json.dumps(one.completion().message())


def test_without_sampling_nothing_is_recorded():
    (one,), _ = asked([0.0], sampled=0.0)
    assert (one.routing, one.completion().text) == (None, "streamed")


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (503, "too many requests are queued", Overloaded),
        (400, "This model's maximum context length is 9 tokens", TooLong),
        (400, "temperature must be a number", Refused),
        (500, "EngineCore encountered an issue", Broken),
    ],
)
def test_a_recorded_pass_fails_as_a_streamed_one_does(status, message, kind):
    with pytest.raises(kind, match=message):
        asked([0.0], sampled=1.0, status=status, body={"message": message})


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_recorded_pass_that_the_server_did_not_complete_fails_as_a_streamed_one_does(reason):
    body = recorded()
    body["choices"][0]["finish_reason"] = reason
    with pytest.raises(Broken, match=reason):
        asked([0.0], sampled=1.0, body=body)


@pytest.mark.parametrize(
    ("error", "kind"),
    [({"message": "too many requests", "code": 429}, Overloaded), ({"message": "out of memory", "code": 500}, Broken)],
)
def test_an_error_in_the_body_of_a_recorded_pass_has_its_own_kind(error, kind):
    with pytest.raises(kind, match=error["message"]):
        asked([0.0], sampled=1.0, body={"error": error})


def test_an_answer_that_cannot_be_read_is_garbled():
    with pytest.raises(Garbled, match="deployment 'large' sent an invalid chat completion"):
        asked([0.0], sampled=1.0, body={"choices": 3})
    body = recorded()
    body["choices"][0]["routed_experts"] = "!"
    with pytest.raises(Garbled, match="not base64"):
        asked([0.0], sampled=1.0, body=body)


def test_one_that_runs_already_is_spoken_to_in_vllms_words_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setenv("LARGE_KEY", "secret")

    async def main() -> None:
        async with Served() as server:
            settings = Vllm(url=server.url, model="LARGE", api_key_env="LARGE_KEY", scheduling="priority")
            engine = LAUNCHER.build(settings, "large", at(tmp_path))
            await engine.start()
            await chunks(engine, call(priority=3))
            (sent,) = server.asked
            assert (sent["model"], sent["priority"], sent["key"]) == ("LARGE", -3, "Bearer secret")
            page = engine.health().page
            assert page is not None
            assert page.url == server.url.replace("/v1", "/metrics")
            assert LAUNCHER.command(settings, at(tmp_path)) == f"(runs already) {server.url}"
            await engine.stop()

    in_time(main())


def test_a_key_that_is_not_there_is_asked_for(tmp_path):
    with pytest.raises(SpecError, match="NOBODYS_KEY is empty"):
        LAUNCHER.build(Vllm(url="http://127.0.0.1:1/v1", api_key_env="NOBODYS_KEY"), "large", at(tmp_path))


def at(folder: Path) -> LaunchContext:
    return LaunchContext(base=folder, logs=folder)
