"""A refusal that only a change of our settings can mend is told apart from one of the client's request."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from engines.asking import call, chunks, in_time
from engines.openai.talking import HERE, failed, refusing, talking
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.spec.errors import EngineError, Misconfigured, Refused
from tierwise.testing.server import FakeServer, HttpReply


def test_a_refused_field_of_extra_names_extra():
    error = failed(refusing(400, "Unrecognized request argument: top_a"), extra={"top_a": 0.1})
    assert type(error) is Misconfigured
    assert str(error).endswith("Unrecognized request argument: top_a; remove top_a from `extra` of the deployment")


def test_a_refused_field_of_a_tiers_sampling_names_the_tier_and_the_same_field_of_a_client_is_the_clients():
    of = call(top_k=5)
    assert type(failed(refusing(400, "top_k is not allowed"), of=of)) is Refused
    by_tier = replace(of, prompt=replace(of.prompt, filled=frozenset({"top_k"})))
    error = failed(refusing(400, "top_k is not allowed"), of=by_tier)
    assert type(error) is Misconfigured
    assert "remove top_k from `sampling` of the tier, or set `drop: [top_k]` on the deployment" in str(error)


def test_a_refused_field_that_a_policy_only_prefers_stays_a_refusal_so_that_the_pass_is_repeated_without():
    of = call()
    preferred = replace(of, prompt=of.prompt.preferring(logprobs=True))
    assert type(failed(refusing(400, "logprobs are not supported"), of=preferred)) is Refused


@pytest.mark.parametrize("stream", [refusing(400, "stream_options is not supported"), refusing(422, "include_usage?")])
def test_refused_usage_in_streams_names_the_setting_that_drops_it(stream):
    assert "set `drop: [stream_options]` on the deployment" in str(failed(stream))


@pytest.mark.parametrize(
    ("path", "hint"), [("", "`url` has no /v1: try "), ("/v1", "check `url` and `model`"), ("/v4", "check `url` and")]
)
def test_a_404_says_what_to_try(path, hint):
    async def main() -> EngineError:
        async with FakeServer(refusing(404, "not found")) as server:
            engine = build(Http(url=server.url.removesuffix("/v1") + path), "large", HERE)
            with pytest.raises(Misconfigured) as caught:
                await chunks(engine, call())
            assert engine.health().state == "ready"
            assert engine.health().reason == str(caught.value)
            await engine.stop()
            return caught.value

    assert hint in str(in_time(main()))


def test_a_page_at_a_url_without_v1_says_what_to_try():
    async def main() -> EngineError:
        async with FakeServer(HttpReply(body=b"<html>hi", headers={"Content-Type": "text/html"})) as server:
            engine = build(Http(url=server.url.removesuffix("/v1")), "large", HERE)
            with pytest.raises(EngineError) as caught:
                await chunks(engine, call())
            await engine.stop()
            return caught.value

    assert str(in_time(main())).endswith("/v1")


def test_an_error_whose_body_drips_is_told_all_the_same():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 900\r\n\r\nno")
        with contextlib.closing(writer):
            await reader.read()  # until the client has left

    async def main() -> EngineError:
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        engine = build(Http(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"), "large", HERE)
        with pytest.raises(EngineError) as caught:
            await asyncio.wait_for(chunks(engine, call()), 15)
        await engine.stop()
        server.close()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=5)
        return caught.value

    assert "answered 500: no" in str(in_time(main()))


def test_dropped_fields_are_not_sent_whoever_sets_them():
    async def main() -> dict[str, object]:
        async with talking("hi", drop=("seed", "stream_options", "top_k")) as (server, engine):
            await chunks(engine, call(top_k=3, top_p=0.5))
            return dict(server.requests[0].body)

    body = in_time(main())
    assert not {"seed", "stream_options", "top_k"} & body.keys()
    assert body["top_p"] == 0.5
