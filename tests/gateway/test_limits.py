"""Everything that a request brings has a size limit, and the error names it."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoints import HELLO, Endpoint, tier_of
from tierwise.gateway import decoding, wire
from tierwise.policies import BestOfN, Majority
from tierwise.spec import limits
from tierwise.spec.errors import SpecError
from tierwise.testing import ScriptedEngine

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


def body_of(**fields) -> bytes:
    return json.dumps({"model": "tier", "messages": HELLO, **fields}).encode()


def exchange(endpoint, *parts: bytes) -> bytes:
    """What the endpoint says to these bytes until it closes the connection or answers; it may close in the middle."""
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as line:
        try:
            for part in parts:
                line.sendall(part)
        except OSError:
            pass
        try:
            return line.recv(65536)
        except ConnectionError:
            return b""


# ── heads ───────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x-long: " + b"a" * limits.HEAD_BYTES + b"\r\n\r\n",
        HEAD + b"a:\r\n" * 20_000 + b"\r\n",
        b"GET /" + b"a" * limits.HEAD_BYTES + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n",
    ],
    ids=["one header", "many headers", "path", "trailers"],
)
def test_a_head_that_is_too_large_is_refused(serve, head):
    answer = exchange(serve(tier_of()), head)
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"64 KiB" in answer
    assert b'"code":"head_too_large"' in answer


@pytest.mark.parametrize(
    "begin", [HEAD + b"x: ", HEAD + b"transfer-encoding: chunked\r\n\r\n5;"], ids=["head", "chunk"]
)
def test_a_head_without_end_is_not_read_on(serve, begin):
    endpoint = serve(tier_of())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as line:
        line.sendall(HEAD + begin)
        sent = 0
        with suppress(ConnectionError):
            while sent < 64 * limits.MIB:
                sent += line.send(b"a" * limits.MIB)
                time.sleep(0.001)
    assert sent < 16 * limits.MIB
    assert endpoint.chat().status == 200


def test_a_head_within_the_limit_is_read_also_in_small_pieces(serve):
    endpoint = serve(tier_of())
    body = body_of()
    head = HEAD + b"x-long: " + b"a" * 60_000 + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
    for size in (1_000, 100_000):
        parts = [head[start : start + size] for start in range(0, len(head), size)]
        assert exchange(endpoint, *parts, body).startswith(b"HTTP/1.1 200 ")


def test_a_body_in_tiny_chunks_is_refused_after_many_of_them(serve):
    endpoint = serve(tier_of())
    chunks = b"1\r\nx\r\n" * (limits.FREE_CHUNKS + 2_000)
    answer = exchange(endpoint, HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"chunks" in answer


def test_text_beyond_ascii_has_a_limit_of_its_own(monkeypatch):
    monkeypatch.setattr(limits, "WIDE_BYTES", 2 * limits.MIB)
    for sign, count in (("x", 3 * limits.MIB), ("é", limits.MIB), ("語", 600_000)):
        wire.read(
            json.dumps(
                {"model": "m", "messages": [{"role": "user", "content": sign * count}]}, ensure_ascii=False
            ).encode()
        )
    with pytest.raises(SpecError, match="more than 2 MiB of text that is not ASCII"):
        wire.read(
            json.dumps(
                {"model": "m", "messages": [{"role": "user", "content": "語" * 700_000}]}, ensure_ascii=False
            ).encode()
        )


def test_a_body_in_many_small_chunks_is_read(serve):
    body = body_of(messages=[{"role": "user", "content": "word " * 20_000}])
    chunks = b"".join(b"10\r\n%b\r\n" % body[start : start + 16].ljust(16) for start in range(0, len(body), 16))
    request = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert exchange(serve(tier_of()), request).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("count", "answered"), [(limits.PIPELINED // 4, True), (limits.PIPELINED * 4, False)])
def test_requests_that_wait_on_one_connection_are_bounded(serve, count, answered):
    endpoint = serve(tier_of())
    body = body_of()
    one = HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    answer = exchange(endpoint, one * count)
    assert answer.startswith(b"HTTP/1.1 200 ") == answered
    if not answered:
        assert b"32 requests wait on this connection" in answer


# ── JSON ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "filler",
    [
        b"[" + b"[]," * limits.VALUES + b"1]",
        b"[" + b"{}," * limits.VALUES + b"1]",
        b"[" + b"1," * limits.VALUES + b"1]",
        b"[" + b'"a",' * limits.VALUES + b"1]",
        b"[" + b'"a, b [c] \\" {",' * limits.VALUES + b"1]",
        b"{" + b",".join(b'"k%d": 1' % number for number in range(limits.VALUES + 1)) + b"}",
        b'"' + b"\\n" * (limits.ESCAPES + 1) + b'"',
    ],
    ids=["lists", "objects", "numbers", "strings", "strings with marks", "keys", "escapes"],
)
def test_a_body_with_too_many_values_is_refused_before_it_is_decoded(filler, monkeypatch):
    monkeypatch.setattr(decoding, "_DECODER", None)
    with pytest.raises(SpecError, match=r"50,000 JSON values|500,000 backslashes"):
        wire.read(body_of()[:-1] + b', "x": ' + filler + b"}")


@pytest.mark.parametrize("text", ["a, b [c] {d}, " * 20_000, "a, b\n" * 30_000, '"[,' * 30_000, "\\[," * 30_000])
def test_a_long_text_is_one_value_whatever_it_holds(text):
    asked = wire.read(body_of(messages=[{"role": "user", "content": text}]))
    assert asked.prompt.messages[0]["content"] == text


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(['"', "\\", ",[{", '\\"', ""]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=4), inner, max_size=5),
    max_leaves=30,
)


def size_of(value) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (1 if inner or not isinstance(value, dict | list) else 2) + sum(map(size_of, inner))


@settings(max_examples=300)
@given(value=JSON, extra=st.integers(-3, 3), size=st.integers(1, 40))
def test_a_body_is_refused_only_if_it_has_more_values_than_allowed(value, extra, size):
    body = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    most = limits.VALUES
    limits.VALUES = max(1, size_of(value) + extra)
    counter = decoding.ValueCounter()
    try:
        for start in range(0, len(body), size):
            counter.add(body[start : start + size])
    except SpecError:
        assert extra < 0
    finally:
        limits.VALUES = most


@settings(max_examples=300)
@given(value=JSON, size=st.integers(1, 40))
def test_the_count_does_not_depend_on_the_pieces_in_which_a_body_arrives(value, size):
    body = json.dumps(value).encode()
    whole, pieces = decoding.ValueCounter(), decoding.ValueCounter()
    whole.add(body)
    for start in range(0, len(body), size):
        pieces.add(body[start : start + size])
    assert vars(pieces) == vars(whole)


def test_too_many_messages_are_refused():
    messages = [{"role": "user", "content": ""}] * (limits.MESSAGES + 1)
    with pytest.raises(SpecError, match="4096") as refused:
        wire.read(body_of(messages=messages))
    assert refused.value.field == "messages"
    assert len(wire.read(body_of(messages=messages[1:])).prompt.messages) == limits.MESSAGES


@pytest.mark.parametrize(("number", "value"), [("1e300", 1e300), ("-1.5E-3", -0.0015), ("0.1", 0.1), ("1e5", 1e5)])
def test_numbers_are_read_as_they_are_written(number, value):
    assert wire.read(body_of()[:-1] + b', "x": %b}' % number.encode()).prompt.fields["x"] == value


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_out_of_range_is_refused(number):
    with pytest.raises(SpecError, match="not JSON"):
        wire.read(body_of()[:-1] + b', "x": %b}' % number.encode())


# ── verifiers ───────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"tierwise": {"verifier": {"python_tests": {"tests": "x" * 300_000}}}},
            "tierwise.verifier.python_tests.tests",
            "262,144",
        ),
        ({"tierwise": {"verifier": {"regex": {"pattern": "x" * 5_000}}}}, "tierwise.verifier.regex.pattern", "4,096"),
        (
            {"tierwise": {"verifier": {"choice": {"options": ["x" * 300, "y"]}}}},
            "tierwise.verifier.choice.options[0]",
            "200",
        ),
        (
            {"tierwise": {"verifier": {"choice": {"options": ["x"] * 1_001}}}},
            "tierwise.verifier.choice.options",
            "1,000",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["x" * 70_000]}}}},
            "response_format.json_schema",
            "65,536",
        ),
    ],
)
def test_the_parts_of_a_verifier_have_sizes(serve, fields, param, message):
    answer = serve(tier_of()).raw(body_of(**fields))
    assert (answer.status, answer.error["param"]) == (400, param)
    assert message in answer.error["message"]


def test_large_tests_that_do_not_compile_are_refused_with_their_line(serve):
    verifier = {"python_tests": {"tests": "a = 1\n" * 10_000 + "b ="}}
    answer = serve(tier_of()).raw(body_of(tierwise={"verifier": verifier}))
    assert answer.status == 400
    assert "line 10001" in answer.error["message"]


def test_a_check_that_takes_too_long_rejects_the_candidate_and_the_action_is_answered(serve):
    endpoint = serve(tier_of(BestOfN(n=2), engine=ScriptedEngine("1")))
    defs = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**defs, "d40": {"type": "integer"}}}
    answer = endpoint.chat(tierwise={"verifier": {"json_schema": {"schema": schema}}})
    assert answer.status == 200
    assert "more than" in answer.json["usage"]["tierwise"]["why"][0]


def test_long_votes_are_counted_as_short_ones_are(serve):
    endpoint = serve(tier_of(Majority(n=3), engine=ScriptedEngine("so " * 3_000 + "the answer is 4", "5", "4", step=0)))
    assert endpoint.chat().json["usage"]["tierwise"]["why"] == ["2 of 3 votes"]


def test_a_client_that_hangs_up_ends_the_check_of_its_settings(serve):
    endpoint: Endpoint = serve(tier_of())
    body = body_of(tierwise={"verifier": {"python_tests": {"tests": "a = [" + "1, " * 80_000 + "]"}}})
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=30) as line:
        line.sendall(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body))
    assert endpoint.chat().status == 200
    assert len(endpoint.records) <= 2
