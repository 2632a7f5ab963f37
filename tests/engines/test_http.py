"""The client of OpenAI-compatible servers, against a real server on the loopback that has every bad habit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tierwise.engines.engine import Health, Site
from tierwise.engines.http import Http, HttpEngine, proxy_to
from tierwise.spec.call import Usage
from tierwise.spec.errors import Broken, EngineError, Garbled, Overloaded, Refused, SpecError, TimedOut, TooLong
from tierwise.testing_server import FakeServer, HttpReply, HttpRequest

from .asking import begun, call, chunks, completed, in_time, text_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tierwise.spec.call import Call

HERE = Site(base=Path(), logs=Path())


@contextlib.asynccontextmanager
async def talking(*replies: str | HttpReply, server: FakeServer | None = None, **settings: Any) -> AsyncIterator[Any]:
    """A fake server with these replies, and an engine that speaks to it."""
    async with server or FakeServer(*replies) as there:
        engine = Http(url=there.url, model="large", **settings).build("large", HERE)
        try:
            yield there, engine
        finally:
            await engine.stop()


def asked(*replies: str | HttpReply, of: Call | None = None, **settings: Any) -> Any:
    """The completion and usage that come of one call."""

    async def main() -> Any:
        async with talking(*replies, **settings) as (_, engine):
            return await completed(engine, of or call())

    return in_time(main())


def failed(reply: HttpReply, of: Call | None = None, **settings: Any) -> EngineError:
    """What one call raises."""
    with pytest.raises(EngineError) as caught:
        asked(reply, of=of, **settings)
    assert caught.value.engine == "large"
    return caught.value


def sent(of: Call, reply: HttpReply = HttpReply(), **settings: Any) -> HttpRequest:  # noqa: B008 - it is frozen
    """The request that a call becomes."""

    async def main() -> Any:
        async with talking(reply, **settings) as (server, engine):
            await chunks(engine, of)
            return server.requests[0]

    return in_time(main())


# ── what is sent ────────────────────────────────────────────────────────


def test_a_conversation_with_images_tools_and_unknown_fields_arrives_as_it_was():
    messages = (
        {"role": "system", "content": "Be brief.", "name": "boss"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Wie heißt das? 🦊"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "", "cache_control": {"type": "ephemeral"}},
    )
    fields = {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "temperature": 0.25,
        "metadata": None,
        "chat_template_kwargs": {"enable_thinking": False},
        "a_field_of_next_year": [1, {"deep": 1.5e-300}],
    }
    request = sent(call(messages, seed=7, **fields), api_key_env=None)
    body = request.body
    ours = {name: body.pop(name) for name in ("model", "stream", "stream_options", "seed")}
    assert body == {"messages": list(messages), **fields}
    assert ours == {"model": "large", "stream": True, "stream_options": {"include_usage": True}, "seed": 7}
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")


def test_every_draw_is_sent_with_its_own_seed():
    seeds = [sent(call(draw=draw)).body["seed"] for draw in range(4)]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_what_the_config_says_of_the_server_is_sent_whatever_the_client_says():
    extra = {"timings_per_token": True, "stream_options": {"continuous_usage_stats": True}}
    of = call(timings_per_token=False, stream_options={"include_usage": False, "include_obfuscation": False})
    body = sent(of, extra=extra).body
    assert body["timings_per_token"] is True
    assert body["stream_options"] == {
        "include_usage": True,
        "continuous_usage_stats": True,
        "include_obfuscation": False,
    }


@pytest.mark.parametrize("name", ["n", "n_cmpl", "best_of"])
def test_no_field_that_multiplies_passes_reaches_a_server(name):
    assert name not in sent(call(**{name: 1})).body
    error = failed(HttpReply(), of=call(**{name: 2}))
    assert isinstance(error, Refused)
    assert str(error).startswith(f"{name}: a pass is one completion")


def test_a_key_is_read_from_its_variable_when_the_engine_is_built(monkeypatch):
    monkeypatch.setenv("LARGE_KEY", "sk-1\n")
    assert sent(call(), api_key_env="LARGE_KEY").headers["authorization"] == "Bearer sk-1"
    assert "authorization" not in sent(call()).headers
    monkeypatch.setenv("LARGE_KEY", " ")
    with pytest.raises(SpecError, match="LARGE_KEY is empty; it must hold the key of http://x/v1"):
        Http(url="http://x/v1", api_key_env="LARGE_KEY").build("large", HERE)


def test_an_answer_is_never_asked_for_compressed():
    assert sent(call()).headers["accept-encoding"] == "identity"


def test_half_a_character_is_refused_and_not_a_crash():
    error = failed(HttpReply(), of=call("\ud83e"))
    assert isinstance(error, Refused)
    assert "half a character" in str(error)


def test_a_prompt_of_five_megabytes_is_sent_whole():
    text = "x" * 5_000_000
    assert sent(call(text)).body["messages"][0]["content"] == text


def test_a_cookie_of_one_answer_is_not_sent_with_the_next_request():
    async def main() -> None:
        async with talking(HttpReply(headers={"Set-Cookie": "user=alice; Path=/"})) as (server, engine):
            for _ in range(2):
                await chunks(engine, call())
            assert "cookie" not in server.requests[1].headers

    in_time(main())


# ── what comes back ─────────────────────────────────────────────────────

PANGRAM = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🦊🥊 日本語"


@pytest.mark.parametrize(
    "habit",
    [
        {"block": 1},
        {"block": 3},
        {"block": 7},
        {"line_end": "\r\n"},
        {"line_end": "\r\n", "block": 1},
        {"line_end": "\r"},
        {"comment": "OPENROUTER PROCESSING"},
        {"comment": "ping", "line_end": "\r\n", "block": 5},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"Connection": "close"}},
    ],
    ids=str,
)
def test_an_answer_is_the_same_however_its_bytes_arrive(habit):
    said, usage = asked(HttpReply(text=PANGRAM, **habit))
    assert (said.text, said.finish) == (PANGRAM, "stop")
    assert usage == Usage(prompt=3, completion=12)


def raw(*blocks: str | bytes, **more: Any) -> HttpReply:
    return HttpReply(raw=[block.encode() if isinstance(block, str) else block for block in blocks], **more)


def event(content: str = "", finish: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    return f"data: {json.dumps({'choices': [choice], **more}, ensure_ascii=False)}\n\n"


def test_events_without_a_blank_after_the_colon_or_between_them_are_read():
    stream = (event("a") + event("b") + event(finish="stop")).replace("data: ", "data:").replace("\n\n", "\n")
    assert asked(raw(stream))[0].text == "ab"


def test_an_event_of_five_megabytes_is_read_in_reasonable_time():
    began = time.monotonic()
    said, _ = asked(raw(event("é" * 2_500_000), event(finish="stop")))
    assert said.text == "é" * 2_500_000
    assert time.monotonic() - began < 5


def test_a_stream_that_ends_without_its_last_line_end_is_whole():
    assert asked(raw(event("a"), event(finish="stop").strip()))[0].text == "a"


def test_what_the_server_lets_stand_open_after_its_last_word_is_not_waited_for():
    began = time.monotonic()
    assert asked(raw(event("a"), event(finish="stop"), "data: [DONE]\n\n", stays_open=True))[0].text == "a"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("ending", [{"dies_after": 4}, {"dies_after": 3}], ids=["before [DONE]", "before usage"])
def test_an_answer_that_was_finished_survives_the_death_of_its_connection(ending):
    said, usage = asked(HttpReply(text="one", **ending))
    assert (said.text, said.finish) == ("one", "stop")
    assert usage.exact == (ending == {"dies_after": 4})


def test_tokens_that_a_server_never_counted_are_counted_from_the_stream_and_marked():
    said, usage = asked(HttpReply(text="one two three", usage=False))
    assert (said.text, usage) == ("one two three", Usage(completion=3, exact=False))


def test_running_counts_that_a_server_sends_are_kept_as_far_as_a_pass_came():
    async def main() -> None:
        counted = [event("a", usage={"prompt_tokens": 5, "completion_tokens": count}) for count in (1, 2)]
        async with talking(raw(*counted, stays_open=True)) as (_, engine):
            stream = engine.stream(call())
            assert [(await anext(stream)).usage for _ in range(2)] == [
                Usage(prompt=5, completion=1),
                Usage(prompt=5, completion=2),
            ]
            await stream.aclose()

    in_time(main())


def test_tool_calls_reasoning_and_unknown_delta_fields_come_through():
    deltas = (
        {"reasoning_content": "hm"},
        {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}], "audio": {"id": "x"}},
    )
    said, _ = asked(HttpReply(deltas=deltas, finish="tool_calls"))
    assert said.reasoning == "hm"
    assert said.tool_calls == ({"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},)
    assert (said.extra, said.finish) == ({"audio": {"id": "x"}}, "tool_calls")


# ── what goes wrong ─────────────────────────────────────────────────────


def refusing(status: int, message: str = "no", **headers: str) -> HttpReply:
    return HttpReply(status=status, headers=headers, body=json.dumps({"error": {"message": message}}).encode())


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
        (refusing(301, Location="https://far/v1/chat/completions"), Broken, "moved to https://far/v1/chat/completions"),
        (HttpReply(body=b'{"error":{"message":"no","code":429}}'), Overloaded, "no"),
        (
            HttpReply(body=b'{"choices":[{"message":{"content":"hi"}}]}'),
            Garbled,
            "answered with application/json instead",
        ),
        (HttpReply(body=b"<html>hi", headers={"Content-Type": "text/html"}), Garbled, "text/html instead of a stream"),
        (raw("hello\nworld\n"), Garbled, "sent no event, but 'hello'"),
        (raw("data: hello\n\n"), Garbled, "sent 'hello': JSON is malformed"),
        (raw(event("a"), 'data: {"choices":[{"delta":[]}]}\n\n'), Garbled, "Expected `object | null`"),
        (raw(event("a"), b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'), Garbled, "can't decode byte 0xff"),
        (raw("data: ", '{"choices":[{"delta":{"a":', "[" * 50_000, "\n\n"), Garbled, "recursion"),
        (raw(event("a")), Broken, "ended its stream in mid-answer"),
        (raw(event("a"), "data: [DONE]\n\n"), Broken, "ended its stream in mid-answer"),
        (raw(event("a"), 'data: {"choices":[{"del'), Broken, "ended its stream in mid-answer"),
        (raw(": ping\n\n"), Broken, "ended its stream in mid-answer"),
        (raw(), Broken, "ended its stream in mid-answer"),
        (HttpReply(dies_after=0), Broken, "cannot be reached: "),
        (HttpReply(dies_after=2), Broken, "died in mid-answer: "),
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
    assert "went silent" in str(error)
    assert time.monotonic() - began < 5


def test_a_server_that_speaks_now_and_then_has_not_timed_out():
    assert asked(HttpReply(text="a b c d e", step=0.15), silent_seconds=0.4)[0].text == "a b c d e"


def test_a_port_where_nobody_listens_is_named():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    error = None
    engine = Http(url=url).build("large", HERE)

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
        engine = HttpEngine("large", Http(url="http://nowhere.invalid/v1"))
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
            engine = Http(url=url).build("large", HERE)
            with pytest.raises(EngineError) as caught:
                await chunks(engine, call())
            assert isinstance(caught.value, Garbled | Broken)
            await engine.stop()

    in_time(main())


def test_health_speaks_of_a_failure_only_while_it_is_fresh():
    async def main() -> None:
        moment = 1000.0
        async with FakeServer("hi", refusing(500), "hi") as server:
            engine = HttpEngine("large", Http(url=server.url), clock=lambda: moment)
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


# ── connections ─────────────────────────────────────────────────────────


def test_one_connection_serves_many_passes():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            for _ in range(20):
                assert await text_of(engine, call()) == "hi"
            assert server.accepted == 1

    in_time(main())


def test_a_connection_that_the_server_closed_while_idle_is_replaced():
    async def main() -> None:
        async with talking(HttpReply(text="hi", closes=True)) as (server, engine):
            for pause in (0, 0, 0.05, 0):
                await asyncio.sleep(pause)
                assert await text_of(engine, call()) == "hi"
            assert len(server.requests) == 4

    in_time(main())


def test_connections_that_die_at_the_moment_of_their_next_use_are_replaced_unseen():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            await asyncio.gather(*(text_of(engine, call()) for _ in range(5)))
            server.drops_reused = True
            assert server.accepted == 5
            assert await text_of(engine, call()) == "hi"
            assert (server.accepted, len(server.requests)) == (6, 6)

    in_time(main())


def test_a_server_that_closes_every_new_connection_is_asked_once():
    async def main() -> None:
        async with talking(HttpReply(dies_after=0)) as (server, engine):
            with pytest.raises(Broken):
                await chunks(engine, call())
            assert len(server.requests) == 1

    in_time(main())


async def moment_of_hangup(server: FakeServer, leave: Callable[[], Awaitable[object]]) -> float:
    """Seconds from the moment at which the client leaves to the moment at which the server notices."""
    count, left = len(server.hangups), asyncio.get_running_loop().time()
    await leave()
    await until(lambda: len(server.hangups) > count)
    return server.hangups[-1] - left


@pytest.mark.parametrize("stage", ["before the headers", "before the first word", "between two words", "unread words"])
def test_leaving_a_pass_aborts_it_in_the_server_at_once(stage):
    reply = {
        "before the headers": HttpReply(waits=60),
        "before the first word": HttpReply(silent_after=0),
        "between two words": HttpReply(text="a b c", silent_after=2),
        "unread words": HttpReply(text="word " * 5000, stays_open=True),
    }[stage]

    async def main() -> None:
        async with talking(reply) as (server, engine):
            waits = []
            for number in range(5):
                if stage.startswith("before"):
                    task = asyncio.create_task(chunks(engine, call()))
                    await until(lambda: len(server.requests) > number)  # noqa: B023 - used at once
                    task.cancel()
                    waits.append(await moment_of_hangup(server, lambda: asyncio.wait({task})))  # noqa: B023
                else:
                    stream = await begun(engine, call())
                    waits.append(await moment_of_hangup(server, stream.aclose))
            assert min(waits) < 0.3
            await until(lambda: (server.running, len(server.connections)) == (0, 0))

    in_time(main())


def test_two_hundred_aborted_passes_leave_no_connection_no_task_and_no_file():
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        tasks = asyncio.all_tasks()
        async with talking(HttpReply(text="a b c d e f", step=0.005)) as (server, engine):

            async def abort(number: int) -> None:
                if number % 2:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(chunks(engine, call()), 0.004 * (number % 5))
                else:
                    await (await begun(engine, call())).aclose()

            await abort(0)
            await until(lambda: not server.connections)
            before = held()
            for batch in range(10):
                await asyncio.gather(*(abort(batch * 20 + number) for number in range(20)))
            await until(lambda: not server.running)
            assert await text_of(engine, call()) == "a b c d e f"
            assert len(server.connections) <= 20
        gc.collect()
        assert held() <= before
        assert asyncio.all_tasks() == tasks

    in_time(main())


class Echo(FakeServer):
    """Says what it was asked."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return HttpReply(text=request.body["messages"][0]["content"], step=0.002 * (number % 3))


def test_many_streams_side_by_side_do_not_mix():
    async def main() -> None:
        async with talking(server=Echo()) as (server, engine):
            texts = [f"{number} " * (1 + number % 7) + "end" for number in range(200)]
            assert await asyncio.gather(*(text_of(engine, call(text)) for text in texts)) == texts
            assert server.running == 0

    in_time(main())


def test_a_server_that_comes_back_on_its_port_is_spoken_to_again():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            assert await text_of(engine, call()) == "hi"
            port = server.port
            await server.close()
            with pytest.raises(Broken):
                await chunks(engine, call())
            await server.listen(port)
            assert await text_of(engine, call()) == "hi"

    in_time(main())


def test_stop_may_come_twice_and_before_the_first_pass():
    async def main() -> None:
        engine = Http(url="http://127.0.0.1:1/v1").build("large", HERE)
        await engine.start()
        await engine.stop()
        await engine.stop()

    in_time(main())


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
            engine = Http(url="http://far.example/v1").build("large", HERE)
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
    return dict(Http(**settings).problems(()))


def test_settings_that_cannot_work_are_named():
    assert problems(url="https://far/v1") == {}
    assert "give the base that ends in /v1" in problems(url="https://far/v1/chat/completions/")["url"]
    assert "`api_key_env`" in problems(url="https://me:secret@far/v1")["url"]
    assert problems(url="https://far/v1", extra={"n": 2})["extra"].startswith("n would start passes that nobody counts")


@pytest.mark.parametrize(
    "settings", [{"url": "far/v1"}, {"url": "http://x", "slots": 0}, {"url": "http://x", "silent_seconds": 0}]
)
def test_settings_out_of_bounds_are_refused(settings):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"engine": "http", **settings}, Http)


def test_the_plan_says_that_nothing_is_launched():
    assert Http(url="http://far/v1").command(HERE) == "(runs already) http://far/v1"
    assert math.isclose(Http(url="http://far/v1").silent_seconds, 600)
