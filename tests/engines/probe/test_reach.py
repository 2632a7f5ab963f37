"""Finding where a server's API begins: every way in which a URL is wrong has words of its own."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tierwise.engines.probe.reach import Listing, bases, reach, read_base
from tierwise.spec.errors import Broken, Garbled, SpecError, TimedOut
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

MODELS = HttpReply(body=json.dumps({"data": [{"id": "m"}]}).encode())
HTML = HttpReply(body=b"<!doctype html><title>Welcome</title>", headers={"Content-Type": "text/html"})
NOT_FOUND = HttpReply(status=404, body=b"{}")


class Pages(FakeServer):
    """Has these pages, and no others."""

    def __init__(self, **pages: HttpReply) -> None:
        super().__init__()
        self.pages = pages

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return self.pages.get(request.target.strip("/").replace("/", "_"), NOT_FOUND)


def reached(server: FakeServer, path: str = "/v1", *, key: str = "", **options: Any) -> Listing:
    async def main() -> Listing:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with server, aiohttp.ClientSession(headers=headers) as session:
            return await reach(session, f"http://127.0.0.1:{server.port}{path}", **options)

    return asyncio.run(main())


@pytest.mark.parametrize("path", ["", "/v1", "/docs", "/docs/v1"])
def test_the_base_is_found_from_any_path_of_the_server(path):
    listing = reached(Pages(v1_models=MODELS), path)
    assert listing.url.endswith("/v1")
    assert "docs" not in listing.url
    assert listing.names == ["m"]


def test_a_base_without_v1_is_found_too():
    assert reached(Pages(models=MODELS), "").url.count("/") == 2
    assert reached(Pages(openai_models=MODELS), "/openai").url.endswith("/openai")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'[{"id": "a"}, {"id": "b"}]', ["a", "b"]),
        (b'{"data": [{"id": "a"}, {"id": 7}, {}, 3, {"id": ""}, {"id": "b\\u0007"}]}', ["a"]),
        (b'{"data": []}', []),
    ],
)
def test_models_are_listed_in_whatever_shape_they_come(body, names):
    assert reached(Pages(v1_models=HttpReply(body=body))).names == names


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (
            HTML,
            Garbled,
            r"not an OpenAI-compatible API: GET \S+/v1/models returned 200, text/html: '<!doctype html>",
        ),
        (NOT_FOUND, Garbled, "returned 404, application/json: '{}'; give the base URL, such as http://127"),
        (HttpReply(body=b'{"ok": true}'), Garbled, "returned 200, application/json: '{\"ok\": true}'"),
        (HttpReply(body=b'"text"'), Garbled, "returned 200"),
        (HttpReply(body=b"[" * 100_000), Garbled, "returned 200"),
        (HttpReply(body=b'{"data": [' + b" " * (5 << 20) + b"]}"), Garbled, "returned 200"),
        (HttpReply(status=500, body=b'{"error": "oh no"}'), Broken, r"failed \(500: oh no\); try again when"),
        (HttpReply(status=503, body=b'{"error": {"message": "Loading model"}}'), Broken, "503: Loading model"),
        (HttpReply(status=401, body=b'{"error": "who?"}'), Broken, r"requires a key \(401: who\?\); .* --key-env NAME"),
        (HttpReply(status=403, body=b"{}"), Broken, "requires a key"),
        (
            HttpReply(status=308, body=b"", headers={"Location": "https://example.org/v1/models"}),
            Broken,
            r"redirects to https://example.org/v1/models \(308\); .* give its base URL: https://example.org/v1$",
        ),
        (
            HttpReply(status=302, body=b"", headers={"Location": "/login"}),
            Broken,
            r"redirects to http\S+/login \(302\)",
        ),
        (HttpReply(status=307, body=b""), Broken, r"redirects to nowhere \(307\)"),
    ],
)
def test_what_is_no_such_server_is_said_with_what_was_seen(reply, kind, message):
    with pytest.raises(kind, match=message):
        reached(FakeServer(reply))


def test_a_key_that_is_refused_is_told_from_none():
    with pytest.raises(Broken, match=r"rejects the key \(401: no\)") as caught:
        reached(FakeServer(HttpReply(status=401, body=b'{"error": "no"}')), key="geheim")
    assert "geheim" not in str(caught.value)


def test_every_page_that_was_tried_is_named():
    with pytest.raises(Garbled) as caught:
        reached(FakeServer(NOT_FOUND), "/docs")
    assert str(caught.value).count("returned 404") == 3


def test_a_redirect_is_not_followed():
    target = Pages(v1_models=MODELS)

    async def main() -> None:
        async with target:
            moved = HttpReply(status=307, body=b"", headers={"Location": f"{target.url}/models"})
            async with FakeServer(moved) as server, aiohttp.ClientSession() as session:
                with pytest.raises(Broken, match="redirects are not followed"):
                    await reach(session, server.url)

    asyncio.run(main())
    assert target.requests == []


def test_a_server_that_hangs_is_left_after_the_time_that_is_said():
    with pytest.raises(TimedOut, match=r"had no answer within 0\.2 s; check that the server is up"):
        reached(FakeServer(HttpReply(waits=60)), seconds=0.2)


def test_nobody_there_is_said():
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            await reach(session, "http://127.0.0.1:1/v1")

    with pytest.raises(Broken, match=r"cannot be reached: .*Connect.*; start the server, or correct the address"):
        asyncio.run(main())


def test_what_speaks_no_http_is_said():
    async def main() -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            await writer.drain()
            writer.close()

        listener = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        async with listener, aiohttp.ClientSession() as session:
            await reach(session, f"http://127.0.0.1:{port}/v1")

    with pytest.raises(Garbled, match="is not an HTTP server"):
        asyncio.run(main())


def test_a_server_without_a_list_is_taken_where_its_model_is_known_by_name():
    listing = reached(FakeServer(NOT_FOUND), "", may_lack_list=True)
    assert (listing.names, listing.url.endswith("/v1")) == ([], True)
    with pytest.raises(Garbled):
        reached(FakeServer(HTML), may_lack_list=True)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        (" http://h:8000/v1/ ", "http://h:8000/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("http://h/v1/models/", "http://h/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_base_is_read_from_what_people_write(text, base):
    assert read_base(text) == base


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("localhost:8000/v1", "'localhost:8000/v1' is not a URL: it has no scheme; write it as http://"),
        ("", "'' is not a URL"),
        ("ftp://h/v1", "the scheme 'ftp' is not supported; use http or https"),
        ("file:///v1", "the scheme 'file' is not supported"),
        ("http://", "is not a URL"),
        ("http://h:port/v1", "is not a URL: .*[Pp]ort"),
        ("http://h:99999/v1", "is not a URL: .*[Pp]ort"),
        ("http://h h/v1", "is not a URL"),
        ("http://[::1/v1", "is not a URL"),
    ],
)
def test_what_is_no_url_is_refused_with_one_that_is(text, message):
    with pytest.raises(SpecError, match=message):
        read_base(text)


@pytest.mark.parametrize("text", ["http://me:geheim@h/v1", "http://h/v1?key=geheim", "http://h/v1#geheim"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(text):
    with pytest.raises(SpecError) as caught:
        read_base(text)
    assert "geheim" not in str(caught.value)


def test_the_likeliest_base_is_tried_first():
    assert bases("http://h") == ("http://h/v1", "http://h")
    assert bases("http://h/v1") == ("http://h/v1",)
    assert bases("http://h/a") == ("http://h/a", "http://h/a/v1", "http://h/v1")
