"""A vLLM at a URL, faked: which passes are recorded, and what they are asked for."""

from __future__ import annotations

import base64
import io
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiohttp import web

from engines.asking import call, chunks, in_time
from tierwise.engines import Vllm
from tierwise.engines.settings import LaunchContext
from tierwise.engines.vllm.client import VllmClient
from tierwise.engines.vllm.launch import LAUNCHER
from tierwise.spec.call import Recorder
from tierwise.spec.errors import Broken, Garbled, Overloaded, Refused, SpecError, TooLong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

USAGE = {"prompt_tokens": 3, "completion_tokens": 2}


@dataclass
class Served:
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append({**asked, "key": request.headers.get("Authorization")})
        if self.status != 200:
            return web.json_response(
                {"error": {"message": self.body["message"], "code": self.status}}, status=self.status
            )
        if not asked["stream"]:
            return web.json_response(self.body)
        events = [
            {"choices": [{"delta": {"content": "streamed"}, "finish_reason": "stop"}]},
            {"choices": [], "usage": USAGE},
        ]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")


def recorded() -> dict[str, Any]:
    with io.BytesIO() as buffer:
        np.save(buffer, np.array([[[0, 1]], [[1, 2]]], dtype="uint8"))
        routed = base64.b64encode(buffer.getvalue()).decode()
    message = {"role": "assistant", "content": "whole", "reasoning": None, "tool_calls": []}
    return {"choices": [{"message": message, "finish_reason": "stop", "routed_experts": routed}], "usage": USAGE}


@asynccontextmanager
async def served(status: int = 200, body: dict[str, Any] | None = None) -> AsyncIterator[Served]:
    server, app = Served(status, recorded() if body is None else body), web.Application()
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()


def asked(draws: list[float], sampled: float, status: int = 200, body: dict[str, Any] | None = None) -> Any:
    """What each of so many passes brought, and what the server was asked."""

    async def main() -> tuple[list[Recorder], list[dict[str, Any]]]:
        async with served(status, body) as server:
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


def test_an_answer_that_cannot_be_read_is_garbled():
    with pytest.raises(Garbled, match="deployment 'large' sent no chat completion"):
        asked([0.0], sampled=1.0, body={"choices": 3})
    body = recorded()
    body["choices"][0]["routed_experts"] = "!"
    with pytest.raises(Garbled, match="no base64"):
        asked([0.0], sampled=1.0, body=body)


def test_one_that_runs_already_is_spoken_to_in_vllms_words_with_its_key(tmp_path, monkeypatch):
    monkeypatch.setenv("LARGE_KEY", "secret")

    async def main() -> None:
        async with served() as server:
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
