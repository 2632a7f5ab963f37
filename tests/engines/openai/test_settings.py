"""A server that runs already: its settings, and the proxy on the way to it."""

from __future__ import annotations

import math
import os
from typing import Any

import msgspec
import pytest

from engines.asking import call, in_time, text_of
from engines.openai.talking import HERE
from tierwise.engines.openai.launch import build, command
from tierwise.engines.openai.proxy import proxy_to
from tierwise.engines.openai.settings import Http
from tierwise.testing.server import FakeServer

# ── proxies ─────────────────────────────────────────────────────────────


@pytest.fixture
def no_proxies(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    return monkeypatch


def test_a_far_server_is_reached_through_the_proxy_of_the_environment(no_proxies):
    async def main() -> None:
        async with FakeServer("through the proxy") as proxy:
            no_proxies.setenv("http_proxy", f"http://user:secret@127.0.0.1:{proxy.port}")
            engine = build(Http(url="http://far.example/v1"), "large", HERE)
            assert await text_of(engine, call()) == "through the proxy"
            assert proxy.requests[0].target == "http://far.example/v1/chat/completions"
            assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpzZWNyZXQ="
            await engine.stop()

    in_time(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]"])
def test_a_server_on_this_machine_is_never_reached_through_a_proxy(no_proxies, host):
    no_proxies.setenv("http_proxy", "http://proxy:3128")
    assert proxy_to("http://far.example/v1") == "http://proxy:3128"
    assert proxy_to(f"http://{host}:8000/v1") is None


def test_no_proxy_and_the_scheme_are_respected(no_proxies):
    no_proxies.setenv("https_proxy", "http://proxy:3128")
    no_proxies.setenv("no_proxy", ".inside.example,10.0.0.7")
    assert proxy_to("https://far.example/v1") == "http://proxy:3128"
    assert proxy_to("https://gpu.inside.example/v1") is None
    assert proxy_to("https://10.0.0.7/v1") is None
    assert proxy_to("http://far.example/v1") is None


# ── settings ────────────────────────────────────────────────────────────


def problems(**settings: Any) -> dict[str, str]:
    return dict(Http(**settings).validate(()))


def test_settings_that_cannot_work_are_named():
    assert problems(url="https://far/v1") == {}
    assert "give the base URL that ends in /v1" in problems(url="https://far/v1/chat/completions/")["url"]
    assert "`api_key_env`" in problems(url="https://me:secret@far/v1")["url"]
    assert problems(url="https://far/v1", extra={"n": 2})["extra"].startswith(
        "n would start passes that are not counted"
    )


@pytest.mark.parametrize(
    "settings", [{"url": "far/v1"}, {"url": "http://x", "slots": 0}, {"url": "http://x", "silent_seconds": 0}]
)
def test_settings_out_of_bounds_are_refused(settings):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"engine": "http", **settings}, Http)


def test_the_plan_says_that_nothing_is_launched():
    assert command(Http(url="http://far/v1"), HERE) == "(runs already) http://far/v1"
    assert math.isclose(Http(url="http://far/v1").silent_seconds, 600)
