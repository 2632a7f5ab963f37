"""The client of OpenAI-compatible servers, against a real server on the loopback that has every bad habit."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest

from engines.asking import call, chunks, in_time
from engines.openai.talking import HERE, asked, event, failed, raw, refusing, talking
from tierwise.engines.engine import Health
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.spec.errors import Broken, EngineError, Garbled, Misconfigured, Overloaded, Refused, TimedOut, TooLong
from tierwise.testing.server import FakeServer, HttpReply

# ── what goes wrong ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (refusing(429), Overloaded, "deployment 'large' answered 429: no"),
        (refusing(503), Overloaded, "answered 503: no"),
        (refusing(504), TimedOut, "answered 504: no"),
        (refusing(400, "temperature is hot"), Refused, "temperature is hot"),
        (refusing(400, "maximum context length is 5"), TooLong, "maximum context length is 5"),
        (refusing(500), Broken, "answered 500: no"),
        (HttpReply(status=502, body=b"<html>Bad Gateway</html>"), Broken, "answered 502: <html>Bad Gateway</html>"),
        (
            refusing(301, Location="https://far/v1/chat/completions"),
            Misconfigured,
            "redirects to https://far/v1/chat/completions",
        ),
        (HttpReply(body=b'{"error":{"message":"no","code":429}}'), Overloaded, "no"),
        (
            HttpReply(body=b'{"choices":[{"text":"hi"}]}'),
            Garbled,
            "answered with application/json instead",
        ),
        (
            HttpReply(body=b"<html>hi", headers={"Content-Type": "text/html"}),
            Garbled,
            "text/html instead of an event stream",
        ),
        (raw("hello\nworld\n"), Garbled, "sent 'hello', not events"),
        (raw("data: hello\n\n"), Garbled, "sent 'hello', not events"),
        (raw(event("a"), 'data: {"choices":[{"delta":[]}]}\n\n'), Garbled, "Expected `object | null`"),
        (raw(event("a"), b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'), Garbled, "can't decode byte 0xff"),
        (raw("data: ", '{"choices":[{"delta":{"a":', "[" * 50_000, "\n\n"), Garbled, "recursion"),
        (raw(event("a")), Broken, "ended its stream during an answer"),
        (raw(event("a"), "data: [DONE]\n\n"), Broken, "ended its stream during an answer"),
        (raw(event("a"), 'data: {"choices":[{"del'), Broken, "ended its stream during an answer"),
        (raw(": ping\n\n"), Broken, "ended its stream during an answer"),
        (raw(), Broken, "ended its stream during an answer"),
        (HttpReply(dies_after=0), Broken, "cannot be reached: "),
        (HttpReply(dies_after=2), Broken, "broke off during an answer: "),
        (HttpReply(text="a b", error={"message": "no", "type": "overloaded_error"}), Overloaded, "no"),
        (HttpReply(text="a b", error={"message": "out of memory", "code": 500}), Broken, "answered 500: out of memory"),
        (HttpReply(text="a b", error="no"), Broken, "answered 500: no"),
    ],
)
def test_whatever_goes_wrong_has_its_kind_and_the_servers_own_words(reply, kind, words):
    error = failed(reply)
    assert type(error) is kind
    assert words in str(error)


def test_an_overloaded_server_says_when_to_come_back():
    assert failed(refusing(429, **{"Retry-After": "7"})).retry_after == 7


@pytest.mark.parametrize("silence", [{"waits": 60}, {"silent_after": 0}, {"silent_after": 2}], ids=str)
def test_a_server_that_falls_silent_has_timed_out(silence):
    began = time.monotonic()
    error = failed(HttpReply(text="a b c", **silence), silent_seconds=0.2)
    assert isinstance(error, TimedOut)
    assert "stopped sending" in str(error)
    assert time.monotonic() - began < 5


def test_a_server_that_speaks_now_and_then_has_not_timed_out():
    assert asked(HttpReply(text="a b c d e", step=0.15), silent_seconds=0.4)[0].text == "a b c d e"


def test_a_port_where_nobody_listens_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    error = None
    engine = build(Http(url=url), "large", HERE)

    async def main() -> None:
        nonlocal error
        with pytest.raises(Broken, match="deployment 'large' cannot be reached: Cannot connect") as caught:
            await chunks(engine, call())
        error = caught.value
        assert (engine.health().state, engine.health().reason) == ("failed", str(error))
        await engine.stop()

    in_time(main())
    assert error is not None


def test_a_host_that_does_not_exist_is_named():
    async def main() -> None:
        engine = build(Http(url="http://nowhere.invalid/v1"), "large", HERE)
        with pytest.raises(Broken, match=r"cannot be reached: .*nowhere\.invalid"):
            await chunks(engine, call())
        await engine.stop()

    in_time(main())


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH_9.9\r\n\r\n", b"\x16\x03\x01\x00\xff"], ids=["ssh", "tls"])
def test_a_server_that_does_not_speak_http_is_garbled(words):
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words)
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            engine = build(Http(url=url), "large", HERE)
            with pytest.raises(EngineError) as caught:
                await chunks(engine, call())
            assert isinstance(caught.value, Garbled | Broken)
            await engine.stop()

    in_time(main())


def test_health_speaks_of_a_failure_only_while_it_is_fresh():
    async def main() -> None:
        moment = 1000.0
        async with FakeServer("hi", refusing(500), "hi") as server:
            engine = HttpEngine(server.url, ChatClient("large", "large"), clock=lambda: moment)
            await chunks(engine, call())
            assert engine.health() == Health(state="ready")
            with pytest.raises(Broken):
                await chunks(engine, call())
            reason = "deployment 'large' answered 500: no"
            assert engine.health() == Health(state="failed", reason=reason)
            moment += 11
            assert engine.health() == Health(state="ready", reason=reason)
            await chunks(engine, call())
            assert engine.health() == Health(state="ready")
            await engine.stop()

    in_time(main())


@pytest.mark.parametrize("reply", [refusing(429), refusing(400), HttpReply(raw=[b"data: x\n\n"])])
def test_a_server_that_answers_is_healthy_whatever_it_answers(reply):
    async def main() -> None:
        async with talking(reply) as (_, engine):
            with pytest.raises(EngineError):
                await chunks(engine, call())
            assert engine.health().state == "ready"

    in_time(main())


def said_by(model: str, fingerprint: str | None) -> HttpReply:
    choice = {"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}
    event = {"model": model, "choices": [choice], **({"system_fingerprint": fingerprint} if fingerprint else {})}
    return HttpReply(raw=[b"data: " + json.dumps(event).encode() + b"\n\ndata: [DONE]\n\n"])


def test_a_server_that_answers_as_another_model_or_with_another_fingerprint_is_told_of():
    async def main() -> list[str]:
        told: list[str] = []

        async def changed(what: str) -> None:
            told.append(what)

        replies = [said_by("m-1", "fp_1"), said_by("m-1", None), said_by("m-1", "fp_2"), said_by("m-2", "fp_2")]
        async with talking(*replies) as (_, engine):
            engine.when_changed = changed
            for _ in replies:
                await chunks(engine, call())
        return told

    assert in_time(main()) == [
        "answers with system_fingerprint 'fp_2', and answered with 'fp_1' before",
        "answers with model 'm-2', and answered with 'm-1' before",
    ]
