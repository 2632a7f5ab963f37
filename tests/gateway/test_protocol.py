"""HTTP connections: who leaves is noticed, who sends nothing is not kept, and nobody waits for others."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from contextlib import ExitStack

import pytest

from endpoints import HELLO, Endpoint, head_of, tier_of, until
from tierwise.gateway import body as bodies
from tierwise.gateway import protocol
from tierwise.testing import ScriptedEngine

ENDLESS = " ".join(["word"] * 2000)
JSON = "application/json"


def chat_bytes(**fields: object) -> bytes:
    body = json.dumps({"model": "tier", "messages": HELLO, **fields}).encode()
    return head_of(len(body)) + body


# ── pipelining ──────────────────────────────────────────────────────────
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ahead", [1, 3, 30])
@pytest.mark.parametrize("part", ["whole", "half a head", "half a body"])
def test_a_hang_up_is_seen_although_more_requests_are_waiting(serve, stream, ahead, part):
    engine = ScriptedEngine(ENDLESS, step=5.0)
    endpoint: Endpoint = serve(tier_of(engine=engine))
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(chat_bytes(stream=stream))
        until(lambda: engine.running == 1)
        line.sendall(chat_bytes() * (ahead - 1))
        line.sendall({"whole": chat_bytes(), "half a head": chat_bytes()[:40], "half a body": chat_bytes()[:-5]}[part])
        time.sleep(0.05)
        assert engine.running == 1
    assert until(lambda: engine.running == 0) < 1.0
    until(lambda: endpoint.records)
    assert [record.ending for record in endpoint.records] == ["disconnected"]
    assert len(engine.calls) == 1, "nothing that waited may start for a user who is gone"


def test_a_reset_is_seen_although_a_large_request_is_waiting(serve):
    engine = ScriptedEngine(ENDLESS, step=5.0)
    endpoint: Endpoint = serve(tier_of(engine=engine))
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(chat_bytes())
        until(lambda: engine.running == 1)
        line.sendall(chat_bytes(user="x" * 100_000))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    assert until(lambda: engine.running == 0) < 1.0


def test_pipelined_requests_are_answered_in_their_order(serve):
    endpoint: Endpoint = serve(tier_of(engine=ScriptedEngine(*(f"answer {number}" for number in range(30)), step=0.01)))
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as line:
        line.sendall(b"".join(chat_bytes(user="x" * 20_000 * (number % 3)) for number in range(30)))
        raw = b""
        while raw.count(b'"usage"') < 30:
            raw += line.recv(65536)
    places = [raw.index(b'"answer %d"' % number) for number in range(30)]
    assert places == sorted(places)


# ── slow and silent clients ─────────────────────────────────────────────
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat", head_of(100)[:-2]])
def test_a_client_that_does_not_finish_the_head_of_a_request_is_not_kept(serve, monkeypatch, sent, first):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    endpoint: Endpoint = serve(tier_of())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as line:
        if first and sent:
            line.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
        line.sendall(sent)
        assert line.recv(65536) == b""


def test_a_head_byte_by_byte_does_not_buy_more_time(serve, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    endpoint: Endpoint = serve(tier_of())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=5) as line:
        assert drips_until_closed(line, head_of(100) * 10) < 2.0


def drips_until_closed(line: socket.socket, data: bytes) -> float:
    """Send a byte every 50 ms until the other side closes; how long it took."""
    began = time.monotonic()
    try:
        for byte in data:
            line.sendall(bytes([byte]))
            time.sleep(0.05)
    except ConnectionError:
        return time.monotonic() - began
    raise AssertionError("it was never closed")


def test_a_long_answer_outlives_the_limit_for_heads(serve, monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    endpoint: Endpoint = serve(tier_of(engine=ScriptedEngine("a b c d e f", step=0.1)))
    for stream in (False, True):
        assert endpoint.chat(stream=stream).text == "a b c d e f"


def test_a_hundred_slow_drips_hold_nobody_else_up(serve):
    endpoint: Endpoint = serve(tier_of())
    with ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), timeout=5)) for _ in range(100)
        ]
        for line in lines[:50]:
            line.sendall(head_of(1000))
        for line in lines[50:]:
            line.sendall(head_of(None, x_drip="a")[:-4])
        waits = []
        for number in range(200):
            for line in lines:
                line.sendall(b"1")
            if number % 20 == 0:
                began = time.monotonic()
                assert endpoint.chat().status == 200
                waits.append(time.monotonic() - began)
        assert sorted(waits)[len(waits) // 2] < 0.5


# ── compressed bodies ───────────────────────────────────────────────────
BODY = json.dumps({"model": "tier", "messages": HELLO}).encode()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(BODY, mtime=0)),
        ("GZIP", gzip.compress(BODY, mtime=0)),
        ("x-gzip", gzip.compress(BODY, mtime=0)),
        ("deflate", zlib.compress(BODY)),
        ("identity", BODY),
        ("gzip", gzip.compress(b"\xef\xbb\xbf" + BODY, mtime=0)),
        ("", b"\xef\xbb\xbf" + BODY),
    ],
)
def test_a_compressed_body_is_read(serve, encoding, content):
    answer = serve(tier_of()).raw(content, {"content-encoding": encoding})
    assert (answer.status, answer.text) == (200, "hi there")


@pytest.mark.parametrize(
    ("encoding", "content", "status", "words"),
    [
        ("br", BODY, 415, "gzip"),
        ("gzip, gzip", gzip.compress(gzip.compress(BODY, mtime=0), mtime=0), 415, "gzip"),
        ("gzip", BODY, 400, "cannot be decompressed"),
        ("gzip", b"", 400, "ends too early"),
        ("gzip", gzip.compress(BODY, mtime=0)[:-9], 400, "ends too early"),
        ("gzip", gzip.compress(BODY, mtime=0) + b"more", 400, "4 bytes follow"),
        ("gzip", gzip.compress(b"hello", mtime=0), 400, "not JSON"),
    ],
)
def test_what_cannot_be_decompressed_is_refused(serve, encoding, content, status, words):
    answer = serve(tier_of()).raw(content, {"content-encoding": encoding})
    assert answer.status == status
    assert words in answer.error["message"]


def test_a_gzip_bomb_is_refused_and_holds_nobody_up(serve):
    endpoint: Endpoint = serve(tier_of())
    bomb = gzip.compress(b" " * 512 * 2**20, 1, mtime=0)
    head = head_of(len(bomb), content_encoding="gzip")
    with ExitStack() as stack:
        lines = [
            stack.enter_context(socket.create_connection(("127.0.0.1", endpoint.port), timeout=20)) for _ in range(8)
        ]
        for line in lines:
            line.sendall(head + bomb)
        waits = []
        for _ in range(10):
            began = time.monotonic()
            assert endpoint.chat().status == 200
            waits.append(time.monotonic() - began)
        assert sorted(waits)[len(waits) // 2] < 0.5
        for line in lines:
            assert line.recv(65536).startswith(b"HTTP/1.1 413 ")
    assert len(bomb) > 1_000_000


def test_a_compressed_body_has_the_size_of_what_is_in_it(serve, monkeypatch):
    monkeypatch.setattr(bodies, "MOST_BYTES", 100_000)
    endpoint: Endpoint = serve(tier_of())
    fits, does_not = (
        json.dumps({"model": "tier", "messages": HELLO, "user": "x" * size}).encode() for size in (90_000, 110_000)
    )
    assert endpoint.raw(gzip.compress(fits, mtime=0), {"content-encoding": "gzip"}).status == 200
    answer = endpoint.raw(gzip.compress(does_not, mtime=0), {"content-encoding": "gzip"})
    assert (answer.status, answer.error["code"]) == (413, "body_too_large")
