"""Requests of APIs, which are answered without ASGI: whatever HTTP allows reaches the same answer."""

from __future__ import annotations

import json
import socket
import time

import pytest

from endpoints import HELLO, Endpoint, head_of, tier_of, until
from tierwise.gateway import protocol
from tierwise.gateway.access import Access
from tierwise.gateway.exchange import HttpExchange
from tierwise.testing import ScriptedEngine

BODY = json.dumps({"model": "tier", "messages": HELLO}).encode()
HEAD = head_of(len(BODY))


def said(endpoint: Endpoint, *parts: bytes, ends: bytes = b"}", pause: float = 0.0) -> bytes:
    """What the endpoint answers to these bytes, until it ends so or closes the connection."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        for part in parts:
            line.sendall(part)
            time.sleep(pause)
        raw = b""
        while not raw.endswith(ends) and (more := line.recv(65536)):
            raw += more
        return raw


def as_target(target: str) -> bytes:
    return HEAD.replace(b" /v1/chat/completions ", f" {target} ".encode())


# ── requests ────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completions/",
        "/v1/chat/completions?api-version=1",
        "/v1/chat%2Fcompletions",
        "http://localhost/v1/chat/completions",
    ],
)
def test_every_way_to_write_the_path_of_an_api_is_understood(serve, target):
    assert b'"hi there"' in said(serve(tier_of()), as_target(target) + BODY)


def test_another_path_below_an_api_is_none(serve):
    assert said(serve(tier_of()), as_target("/v1/chat/completions/more") + BODY).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_another_method_at_the_path_of_an_api_is_not_allowed(serve, method):
    answer = serve(tier_of()).request(method, "/v1/chat/completions")
    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")


def test_a_client_that_asks_before_it_sends_the_body_is_told_to_go_on(serve):
    endpoint: Endpoint = serve(tier_of())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(head_of(len(BODY), expect="100-continue"))
        assert line.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        line.sendall(BODY)
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_asks_and_is_refused_need_not_send_the_body(serve):
    endpoint: Endpoint = serve(tier_of(), access=Access(key="secret"))
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(head_of(len(BODY), expect="100-continue"))
        assert line.recv(65536).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_request_in_pieces_is_answered_as_a_whole_one(serve, size):
    data = HEAD + BODY
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    assert b'"hi there"' in said(serve(tier_of()), *parts, pause=0.001)


def test_what_follows_a_body_is_no_header_of_its_request(serve):
    endpoint: Endpoint = serve(tier_of(), access=Access(key="secret"))
    head = head_of(None, transfer_encoding="chunked")
    request = head + b"%x\r\n%b\r\n0\r\nauthorization: Bearer secret\r\n\r\n" % (len(BODY), BODY)
    assert said(endpoint, request).startswith(b"HTTP/1.1 401 ")


def test_requests_to_apis_and_other_pages_are_answered_in_their_order(serve):
    endpoint: Endpoint = serve(tier_of(engine=ScriptedEngine("hi there", step=0.02)))
    page = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = (HEAD + BODY).replace(b"host:", b"connection: close\r\nhost:", 1)
    raw = said(endpoint, HEAD + BODY + page + HEAD + BODY + page + last, ends=b"never")
    found = [part.partition(b"\r\n\r\n")[2][:30] for part in raw.split(b"HTTP/1.1 200 OK")[1:]]
    assert [b"act_" in one for one in found] == [True, False, True, False, True]


def test_a_refused_body_does_not_disturb_the_next_request(serve):
    endpoint: Endpoint = serve(tier_of())
    refused = HEAD.replace(b"application/json", b"text/plain")
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(refused + BODY[:10])
        assert line.recv(65536).startswith(b"HTTP/1.1 415 ")
        line.sendall(BODY[10:] + HEAD + BODY)
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")


# ── responses ───────────────────────────────────────────────────────────
def test_a_response_is_one_write_and_a_stream_one_per_block_of_events(serve, monkeypatch):
    written: list[bytes] = []

    class Noting:
        def __init__(self, transport):
            self._transport = transport

        def write(self, data):
            written.append(data)
            self._transport.write(data)

        def __getattr__(self, name):
            return getattr(self._transport, name)

    class Connection(protocol.HttpProtocol):
        def connection_made(self, transport):
            super().connection_made(Noting(transport))

    monkeypatch.setattr("tierwise.gateway.server.HttpProtocol", Connection)
    endpoint: Endpoint = serve(tier_of(engine=ScriptedEngine("a b c", step=0.05)))
    assert endpoint.chat().text == "a b c"
    assert len(written) == 1
    assert endpoint.chat(stream=True).text == "a b c"
    assert len(written) <= 1 + 5, "a block for each word, which comes alone, one for the finish, and the end"


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x", "a\nb", "a\0b"])
def test_no_value_can_add_a_header_to_a_response(value):
    exchange = HttpExchange(None, "/", (), keep_alive=True, wants_continue=False)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no header can carry"):
        exchange.begin(200, {"x-tierwise-note": value})


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_connection_is_closed_after_the_response_if_the_client_wants_it(serve, version):
    head = HEAD.replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    if version == "1.1":
        head = head.replace(b"host:", b"connection: close\r\nhost:", 1)
    raw = said(serve(tier_of()), head + BODY, ends=b"never")
    assert b"connection: close\r\n" in raw
    assert raw.endswith(b"}")


def test_an_idle_connection_is_closed_in_time_and_not_while_it_is_answered(serve, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    endpoint: Endpoint = serve(tier_of(engine=ScriptedEngine("a b c", step=0.2)))
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        endpoint.call(lambda: [setattr(one, "timeout_keep_alive", 0.3) for one in _connections()])
        line.sendall(HEAD + BODY)
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        began = time.monotonic()
        assert line.recv(65536) == b""
    assert 0.2 < time.monotonic() - began < 5


def _connections() -> list[protocol.HttpProtocol]:
    import gc  # noqa: PLC0415 - only here

    return [one for one in gc.get_objects() if type(one) is protocol.HttpProtocol]


def test_a_slow_reader_of_a_stream_misses_nothing(serve):
    words = " ".join(f"{number:020000}" for number in range(500))  # more than the buffers of a connection hold
    endpoint: Endpoint = serve(tier_of(engine=ScriptedEngine(words, step=0)))
    with endpoint.dial(stream=True) as line:
        time.sleep(0.5)
        raw = b""
        while not raw.endswith(b"0\r\n\r\n"):
            raw += line.recv(1 << 20)
    until(lambda: endpoint.records)
    texts = [json.loads(one[6:])["choices"] for one in _events(raw) if one.startswith(b"data: {")]
    assert "".join(one[0]["delta"].get("content") or "" for one in texts if one) == words


def _events(raw: bytes) -> list[bytes]:
    """The events of a chunked response."""
    parts = []
    begin = raw.index(b"\r\n\r\n") + 4
    while begin < len(raw):
        end = raw.index(b"\r\n", begin)
        size = int(raw[begin:end], 16)
        parts.append(raw[end + 2 : end + 2 + size])
        begin = end + size + 4
    return b"".join(parts).split(b"\n\n")
