"""What is refused before any pass runs: a 400 that names the field, in OpenAI's shape, and never a 500."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from endpoints import HELLO, Endpoint, head_of, serving, tier_of, until
from tierwise.gateway import body as bodies
from tierwise.policies import BestOfN, Majority, Refine
from tierwise.testing import ScriptedEngine


@pytest.fixture(scope="module")
def house() -> Iterator[Endpoint]:
    engine = ScriptedEngine('{"a": 4}', step=0)
    tiers = [
        tier_of(engine=engine, name="single", context=2048),
        tier_of(Majority(n=3), engine, name="majority"),
        tier_of(BestOfN(n=2), engine, name="best"),
        tier_of(Refine(), engine, name="refine"),
    ]
    with serving(*tiers, routes={"auto": ("single", "best")}) as endpoint:
        yield endpoint


def body_of(**fields: Any) -> bytes:
    return json.dumps({"model": "single", "messages": HELLO, **fields}).encode()


def assert_shape(error: Any) -> None:
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["type"] in {"invalid_request_error", "rate_limit_error", "server_error"}
    assert error["param"] is None or error["param"]


WRONG = [
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 7}, "model"),
    ({"model": "x" * 301}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": None}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": {"role": "user"}}, "messages"),
    ({"messages": [None]}, "messages[0]"),
    ({"messages": ["hello"]}, "messages[0]"),
    ({"messages": [{}]}, "messages[0].role"),
    ({"messages": [{"content": "hello"}]}, "messages[0].role"),
    ({"messages": [{"role": None, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "USER", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user\n", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "a" * 65, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": {"type": "text"}}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [None]}]}, "messages[0].content[0]"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
    ({"n": 0}, "n"),
    ({"n": -1}, "n"),
    ({"n": 33}, "n"),
    ({"n": 10**30}, "n"),
    ({"n": "3"}, "n"),
    ({"n": 1.5}, "n"),
    ({"n": True}, "n"),
    ({"max_tokens": -5}, "max_tokens"),
    ({"max_tokens": "many"}, "max_tokens"),
    ({"max_tokens": 256.5}, "max_tokens"),
    ({"max_completion_tokens": -2}, "max_completion_tokens"),
    ({"temperature": -0.1}, "temperature"),
    ({"temperature": 5.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"),
    ({"top_logprobs": 101}, "top_logprobs"),
    ({"logprobs": "yes"}, "logprobs"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"stop": 7}, "stop"),
    ({"stop": [7]}, "stop[0]"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": 7}, "stream_options"),
    ({"stream_options": {"include_usage": 7}}, "stream_options.include_usage"),
    ({"tools": {}}, "tools"),
    ({"tools": ["f"]}, "tools[0]"),
    ({"response_format": "json"}, "response_format"),
    ({"response_format": {}}, "response_format.type"),
    ({"response_format": {"type": "json_schema", "json_schema": 7}}, "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"schema": 7}}}, "response_format.json_schema.schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "wizard"}}}},
        "response_format.json_schema",
    ),
    ({"tierwise": None}, "tierwise"),
    ({"tierwise": {"tier": "max"}}, "tierwise.tier"),
    ({"tierwise": {"budget": {"passes": 0}}}, "tierwise.budget.passes"),
    ({"tierwise": {"budget": {"euros": 1}}}, "tierwise.budget.euros"),
    ({"tierwise": {"budget": {"seconds": -1}}}, "tierwise.budget.seconds"),
    ({"tierwise": {"action": "x" * 201}}, "tierwise.action"),
    ({"tierwise": {"action": "\x1b[2J"}}, "tierwise.action"),
    ({"tierwise": {"action": "mine\n"}}, "tierwise.action"),
    ({"tierwise": {"action": "caf\u00e9"}}, "tierwise.action"),
    ({"tierwise": {"action": "a\u202eb"}}, "tierwise.action"),
    ({"tierwise": {"verifier": {}}}, "tierwise.verifier"),
    ({"tierwise": {"verifier": {"wizard": {}}}}, "tierwise.verifier.wizard"),
    ({"tierwise": {"verifier": {"python_tests": {}}}}, "tierwise.verifier.python_tests"),
    ({"tierwise": {"verifier": {"stdio": {}}}}, "tierwise.verifier.stdio"),
    (
        {"tierwise": {"verifier": {"python_tests": {"tests": "assert f()", "seconds": 31}}}},
        "tierwise.verifier.python_tests.seconds",
    ),
    (
        {"tierwise": {"verifier": {"stdio": {"cases": [{"output": "1"}], "seconds": 300}}}},
        "tierwise.verifier.stdio.seconds",
    ),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=lambda value: json.dumps(value)[:60])
def test_a_wrong_field_is_named(house, fields, named):
    answer = house.raw(body_of(**fields))
    assert answer.status == 400
    assert_shape(answer.error)
    assert answer.error["param"] == named
    assert answer.error["type"] == "invalid_request_error"
    assert named.partition("[")[0].rpartition(".")[2] in answer.error["message"]


def test_an_unknown_model_is_told_which_there_are(house):
    answer = house.raw(body_of(model="singel"))
    message = answer.error["message"]
    assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
    assert "'singel'" in message
    assert "did you mean 'single'?" in message
    assert "majority" in message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"null",
        b"7",
        b"[]",
        b'"text"',
        b"{",
        b'{"model": "single", "messages": [{"role": "user", "content": "hel',
        body_of()[:-1],
        body_of() + b"}",
        body_of() + body_of(),
        body_of().decode().encode("utf-16"),
        body_of().replace(b"hello", b"\xff\xfe"),
        body_of().replace(b"hello", b"\xc0\x80"),
        body_of().replace(b"hello", b"\\ud800"),
        body_of().replace(b"hello", b"tab\tinside"),
        b'{"model": "single", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "single", "temperature": 1e999, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "single", "x": -Infinity, "messages": [{"role": "user", "content": "x"}]}',
        b'{"model": "single", "x": 0x10, "messages": [{"role": "user", "content": "x"}]}',
        b"{'model': 'single'}",
        b"model=single&messages=hello",
        b"\x00" * 100,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_json_object_is_a_bad_request(house, body):
    answer = house.raw(body)
    assert answer.status == 400
    assert_shape(answer.error)
    assert "JSON" in answer.error["message"]


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_field_is_named(house, missing):
    body = {"model": "single", "messages": HELLO}
    del body[missing]
    answer = house.raw(json.dumps(body).encode())
    assert (answer.status, answer.error["param"]) == (400, missing)


@pytest.mark.parametrize("depth", [129, 500, 995, 5_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_deep_nesting_is_a_bad_request(house, depth, opening, closing):
    nested = opening * depth + b"1" + closing * depth
    for field in (b'"x"', b'"tools"', b'"tierwise"'):
        answer = house.raw(body_of()[:-1] + b"," + field + b":" + nested + b"}")
        assert answer.status == 400
        assert_shape(answer.error)


def test_nesting_within_reason_goes_through(house):
    assert house.raw(body_of()[:-1] + b', "x": ' + b"[" * 100 + b"]" * 100 + b"}").status == 200
    assert house.raw(body_of(x=[[]] * 1000)).status == 200


def test_of_keys_that_stand_twice_the_last_one_counts_everywhere(serve):
    engine = ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=engine, name="one"), tier_of(engine=engine, name="two"))
    first = b'{"model": "one", "top_k": 1, "messages": [{"role": "user", "content": "a"}],'
    second = b' "model": "two", "top_k": 2, "messages": [{"role": "user", "content": "b"}]}'
    answer = endpoint.raw(first + second)
    assert answer.headers["x-tierwise-tier"] == "two"
    assert answer.json["model"] == "two"
    assert engine.calls[0].prompt.fields == {"top_k": 2}
    assert [dict(message) for message in engine.calls[0].prompt.messages] == [{"role": "user", "content": "b"}]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": ""},
        {"role": "user", "content": []},
        {"role": "user", "content": None},
        {"role": "user"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "audio": {"id": "1"}, "name": "ada"},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "1"}}], "name": "ada"},
        {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "user", "content": "\U0001f9d1‍\U0001f680 \u202e \x7f \u0000", "future": [1]},
    ],
    ids=lambda message: json.dumps(message)[:60],
)
def test_legal_messages_are_not_refused(house, message):
    assert house.raw(body_of(messages=[message])).status == 200


def test_null_is_as_good_as_absent(house):
    names = "n max_tokens temperature top_p seed stop stream stream_options logprobs tools response_format user"
    assert house.raw(body_of(**dict.fromkeys(names.split()))).status == 200


def test_a_refused_request_is_counted_and_not_remembered(serve):
    endpoint = serve(tier_of())
    endpoint.chat("nobody")
    assert endpoint.metric('tierwise_refused_total{status="404"}') == 1
    assert endpoint.records == []
    assert endpoint.metric("tierwise_actions_running") == 0


# ── bodies ──────────────────────────────────────────────────────────────
@pytest.mark.parametrize("chunked", [False, True])
def test_a_huge_body_is_refused_without_being_kept(serve, monkeypatch, chunked):
    monkeypatch.setattr(bodies, "MOST_BYTES", 2**20)
    endpoint = serve(tier_of())
    block = b"x" * 65536
    size = 4 * 2**20
    head = head_of(None, transfer_encoding="chunked") if chunked else head_of(size)
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as line:
        line.sendall(head)
        for _ in range(size // len(block)):
            line.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        answer = line.recv(65536)
        while b"}" not in answer and (more := line.recv(65536)):  # the head may come first
            answer += more
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"body_too_large"' in answer
    assert b"1 MiB" in answer


def test_a_body_of_some_megabytes_is_taken(house):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 8 * 2**20}}
    assert house.raw(body_of(messages=[{"role": "user", "content": [image]}])).status == 200


def test_a_body_that_stops_half_way_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)
    endpoint = serve(tier_of())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as line:
        line.sendall(head_of(100) + b'{"model": "ti')
        answer = line.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"stopped after 13 bytes" in answer


def test_who_hangs_up_in_the_middle_of_a_body_leaves_nothing(serve, caplog):
    endpoint = serve(tier_of())
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as line:
            line.sendall(head_of(100) + b'{"model": "ti')
            time.sleep(0.01)
    assert endpoint.chat().status == 200
    assert len(endpoint.records) == 1
    assert not caplog.records


def test_a_body_in_small_pieces_is_one_body(serve):
    endpoint = serve(tier_of())
    body = json.dumps(
        {"model": "tier", "messages": [{"role": "user", "content": "ü" * 50}]}, ensure_ascii=False
    ).encode()
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as line:
        line.sendall(head_of(len(body)))
        for start in range(0, len(body), 7):
            line.sendall(body[start : start + 7])
            time.sleep(0.001)
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")


# ── methods and paths ───────────────────────────────────────────────────
@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/moderations", "/v1/chat", "/v1/chat/completions/x", "/metrics/x", "//"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_paths_are_404_in_the_same_shape(house, method, path):
    answer = house.request(method, path)
    assert answer.status == 404
    assert_shape(answer.error)
    assert "/v1/chat/completions" in answer.error["message"]


CHAT = "/v1/chat/completions"
PAGES = ["/v1/models", "/v1/models/single", "/v1/deployments", "/health", "/ready", "/metrics"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_chat_answers_posts_only(house, method):
    answer = house.request(method, CHAT)
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"POST", "HEAD", "OPTIONS"}
    assert_shape(answer.error)
    assert answer.error["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", PAGES)
def test_pages_answer_gets_and_heads_only(house, path):
    whole, head = house.request("GET", path), house.request("HEAD", path)
    assert (whole.status, head.status, head.body) == (200, 200, b"")
    for method in ("POST", "DELETE"):
        answer = house.request(method, path, b"{}")
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
        assert_shape(answer.error)


@pytest.mark.parametrize("path", [CHAT, *PAGES])
def test_options_says_what_a_path_allows(house, path):
    answer = house.request("OPTIONS", path)
    assert (answer.status, answer.body) == (204, b"")
    assert set(answer.headers["allow"].split(", ")) == {"POST" if path == CHAT else "GET", "HEAD", "OPTIONS"}


def test_a_head_of_chat_is_answered_without_a_body(house):
    answer = house.request("HEAD", CHAT)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("path", [CHAT, *PAGES])
@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_trailing_slash_changes_nothing(house, path, slashes):
    method = "POST" if path == CHAT else "GET"
    answer = house.request(method, path + slashes, body_of(), {"content-type": "application/json"})
    assert answer.status == 200


@pytest.mark.parametrize("name", ["nobody", "a/b", "%F0%9F%A6%89", "..%2Fhealth"])
def test_an_unknown_model_is_404_where_it_is_looked_up(house, name):
    answer = house.request("GET", f"/v1/models/{name}")
    assert answer.status == 404
    assert_shape(answer.error)
    assert answer.error["code"] == "model_not_found"


def test_what_is_no_http_gets_a_400_and_the_next_one_is_served(house):
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as line:
        line.sendall(b"hello\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 400 ")
    assert house.raw(body_of()).status == 200


# ── fuzz ────────────────────────────────────────────────────────────────
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(), inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "type", "json_schema", "schema", "$ref", "pattern", "budget", "passes"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        *("model", "messages", "n", "max_tokens", "temperature", "top_p", "seed", "stop", "stream", "stream_options"),
        *("logprobs", "top_logprobs", "tools", "response_format", "tierwise", "user"),
    ]
)
SCHEMAS = st.recursive(
    st.booleans() | st.just({}) | st.builds(lambda value: {"const": value}, SCALARS),
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                *("$ref", "$schema", "$id", "$defs", "$dynamicRef", "type", "properties", "items", "pattern", "format"),
                *("patternProperties", "anyOf", "allOf", "not", "enum", "minimum", "multipleOf", "required"),
                *("dependentSchemas", "prefixItems", "contains", "unevaluatedProperties"),
            ]
        ),
        inner
        | SCALARS
        | st.lists(inner, max_size=2)
        | st.sampled_from(["#", "#/nope", "http://127.0.0.1:9/x", "object"]),
        max_size=3,
    ),
    max_leaves=6,
)
VERIFIERS = st.dictionaries(
    st.sampled_from(["number", "choice", "exact", "regex", "json_schema"]),
    st.dictionaries(
        st.sampled_from(["equals", "pattern", "schema", "tolerance", "choices", "values"]), SCHEMAS | SCALARS
    ),
    min_size=1,
    max_size=1,
)
MODELS = st.sampled_from(["single", "majority", "best", "refine", "auto"])


def assert_no_fault_of_ours(house: Endpoint, body: bytes) -> None:
    answer = house.raw(body)
    assert answer.status in {200, 400, 404}, answer.body
    if answer.status != 200:
        assert_shape(answer.error)
    else:
        assert not answer.events or answer.is_done


@given(fields=st.dictionaries(NAMES | st.text(), VALUES, max_size=5), model=MODELS)
@settings(max_examples=200, deadline=None)
def test_no_field_can_break_us(house, fields, model):
    assert_no_fault_of_ours(house, json.dumps({"model": model, "messages": HELLO, **fields}).encode())


@given(schema=SCHEMAS, model=MODELS, stream=st.booleans())
@settings(max_examples=150, deadline=None)
def test_no_schema_can_break_us(house, schema, model, stream):
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"model": model, "messages": HELLO, "response_format": form, "stream": stream}
    assert_no_fault_of_ours(house, json.dumps(body).encode())


@given(verifier=VERIFIERS, model=MODELS)
@settings(max_examples=100, deadline=None)
def test_no_verifier_can_break_us(house, verifier, model):
    body = {"model": model, "messages": HELLO, "tierwise": {"verifier": verifier}}
    assert_no_fault_of_ours(house, json.dumps(body).encode())


@given(cut=st.integers(0, 200), insert=st.binary(max_size=8), data=st.binary(max_size=40))
@settings(max_examples=150, deadline=None)
def test_no_bytes_can_break_us(house, cut, insert, data):
    body = body_of(temperature=0.5, tools=[], stop=["x"])
    assert_no_fault_of_ours(house, body[:cut] + insert + body[cut:])
    assert_no_fault_of_ours(house, data)


def test_after_all_this_nothing_is_left(house):
    until(lambda: house.metric("tierwise_actions_running") == 0)


def test_a_slow_upload_is_not_on_the_action_s_time(serve):
    endpoint = serve(tier_of())
    body = body_of(model="tier", tierwise={"budget": {"seconds": 1.0}})
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=10) as line:
        line.sendall(head_of(len(body)) + body[:20])
        time.sleep(1.2)
        line.sendall(body[20:])
        assert line.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert endpoint.records[0].seconds < 1.0
