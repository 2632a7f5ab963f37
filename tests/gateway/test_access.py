"""A web page cannot spend, and nobody gets in without the key where there is one."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints import HELLO, Answered, Endpoint, tier_of
from tierwise.gateway.access import Access, access_of, is_loopback
from tierwise.spec.errors import SpecError
from tierwise.testing import ScriptedEngine

BODY = json.dumps({"model": "tier", "messages": HELLO}).encode()
JSON = "application/json"
CHAT = "/v1/chat/completions"


def post(endpoint: Endpoint, **headers: str) -> Answered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return endpoint.request("POST", CHAT, BODY, named)


def assert_refused(answer: Answered, status: int, code: str, words: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == JSON
    assert set(answer.error) == {"message", "type", "param", "code"}
    assert answer.error["code"] == code
    assert words in answer.error["message"]


# ── bodies ──────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "kind", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_that_a_page_may_send_unasked_is_refused(serve, kind):
    engine = ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=engine))
    assert_refused(post(endpoint, content_type=kind), 415, "unsupported_media_type", "application/json")
    assert_refused(post(endpoint), 415, "unsupported_media_type", "is missing")
    assert engine.calls == []
    assert endpoint.records == []


@pytest.mark.parametrize(
    "kind",
    [JSON, "application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json", " application/json "],
)
def test_json_is_taken_however_it_is_written(serve, kind):
    assert post(serve(tier_of()), content_type=kind).status == 200


# ── origins ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8400", "chrome-extension://abc"],
)
def test_a_page_of_an_origin_that_is_not_allowed_is_refused(serve, origin):
    engine = ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=engine), access=Access(origins=frozenset({"https://app.example"})))
    answer = post(endpoint, content_type=JSON, origin=origin)
    assert_refused(answer, 403, "forbidden", "--cors-origin")
    assert "access-control-allow-origin" not in answer.headers
    assert endpoint.request("GET", "/v1/models", headers={"origin": origin}).status == 403
    assert "access-control-allow-origin" not in endpoint.request("OPTIONS", CHAT, headers={"origin": origin}).headers
    assert engine.calls == []
    assert endpoint.metric('tierwise_refused_total{status="403"}') == 2


@pytest.mark.parametrize(("allowed", "origin"), [("https://app.example", "https://app.example"), ("*", "null")])
def test_a_page_of_an_allowed_origin_may_ask_and_read(serve, allowed, origin):
    endpoint = serve(tier_of(), access=Access(origins=frozenset({allowed})))
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    before = endpoint.request("OPTIONS", CHAT, headers={"origin": origin, **asked})
    assert before.status == 204
    assert before.headers["access-control-allow-origin"] == origin
    assert "POST" in before.headers["access-control-allow-methods"]
    assert before.headers["access-control-allow-headers"] == "authorization,content-type"
    for stream in (False, True):
        body = json.dumps({"model": "tier", "messages": HELLO, "stream": stream}).encode()
        answer = endpoint.request("POST", CHAT, body, {"origin": origin, "content-type": JSON})
        assert (answer.status, answer.text) == (200, "hi there")
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["vary"] == "Origin"
    wrong = endpoint.request("POST", CHAT, b"{", {"origin": origin, "content-type": JSON})
    assert (wrong.status, wrong.headers["access-control-allow-origin"]) == (400, origin)


def test_a_browser_that_asks_about_private_networks_is_told(serve):
    endpoint = serve(tier_of(), access=Access(origins=frozenset({"https://app.example"})))
    asked = {"origin": "https://app.example", "access-control-request-private-network": "true"}
    assert endpoint.request("OPTIONS", CHAT, headers=asked).headers["access-control-allow-private-network"] == "true"


def test_programs_send_no_origin_and_need_no_permission(serve):
    assert post(serve(tier_of()), content_type=JSON).status == 200


# ── hosts ───────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8400", "127.0.0.1:1", "[::1]:8400", "192.168.1.7", "localhost."]
)
def test_an_address_or_localhost_is_this_endpoint(serve, host):
    assert post(serve(tier_of()), content_type=JSON, host=host).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8400", "127.0.0.1.evil.example", "localhost.evil.example", "a@localhost", "x"],
)
def test_a_name_that_could_be_rebound_is_refused(serve, host):
    engine = ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=engine))
    assert_refused(post(endpoint, content_type=JSON, host=host), 403, "forbidden", "--allowed-host")
    for path in ("/v1/models", "/ready", "/metrics", "/v1/deployments", "/health"):
        assert endpoint.request("GET", path, headers={"host": host}).status == 403
    assert engine.calls == []


def test_an_allowed_name_is_this_endpoint(serve):
    access = access_of(listens=["127.0.0.1"], hosts=["Tierwise.Example"])
    endpoint = serve(tier_of(), access=access)
    assert post(endpoint, content_type=JSON, host="tierwise.example:443").status == 200
    assert post(endpoint, content_type=JSON, host="other.example").status == 403
    anything = serve(tier_of(), access=access_of(listens=["127.0.0.1"], hosts=["*"]))
    assert post(anything, content_type=JSON, host="other.example").status == 200


# ── the key ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer wrong", "secret", "Basic secret", "Bearer secre", "Bearer secrett"]
)
def test_without_the_key_nothing_is_answered(serve, given):
    engine = ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=engine), access=Access(key="secret"))
    answer = post(endpoint, content_type=JSON, authorization=given)
    assert_refused(answer, 401, "invalid_api_key", "Authorization: Bearer")
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/v1/models/tier", "/v1/deployments", "/metrics", "/nothing"):
        assert endpoint.request("GET", path, headers={"authorization": given}).status == 401
    for path in ("/health", "/ready", "/ready/"):
        assert endpoint.request("GET", path, headers={"authorization": given}).status == 200
    assert engine.calls == []


@pytest.mark.parametrize("given", ["Bearer secret", "bearer secret", "Bearer  secret "])
def test_with_the_key_everything_is_answered_under_any_name(serve, given):
    endpoint = serve(tier_of(), access=Access(key="secret"))
    assert post(endpoint, content_type=JSON, authorization=given, host="api.example").status == 200
    assert endpoint.request("GET", "/metrics", headers={"authorization": given}).status == 200


def test_a_page_of_an_allowed_origin_needs_the_key_too(serve):
    endpoint = serve(tier_of(), access=Access(key="secret", origins=frozenset({"https://app.example"})))
    refused = post(endpoint, content_type=JSON, origin="https://app.example", authorization="")
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://app.example")
    asked = {"origin": "https://app.example", "authorization": ""}
    assert endpoint.request("OPTIONS", CHAT, headers=asked).status == 204
    assert post(endpoint, content_type=JSON, origin="https://evil.example").status == 403


def test_the_official_client_sends_the_key(serve):
    endpoint = serve(tier_of(), access=Access(key="any"))
    with endpoint.client() as client:
        assert client.chat.completions.create(model="tier", messages=HELLO).choices[0].message.content == "hi there"


@given(st.binary(max_size=40))
def test_no_other_header_has_the_key(given):
    scheme, *rest = given.split() or [b""]
    assert Access(key="secret").has_key(given) == (scheme.lower() == b"bearer" and rest == [b"secret"])
    assert not Access().has_key(given)


# ── options ─────────────────────────────────────────────────────────────
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "tierwise.example"])
def test_an_endpoint_that_others_reach_needs_a_key_or_a_word(monkeypatch, host):
    with pytest.raises(SpecError, match="--no-auth") as refused:
        access_of(listens=[host])
    assert refused.value.field == "--host"
    assert access_of(listens=[host], is_open=True).key == ""
    monkeypatch.setenv("MY_KEY", "secret")
    assert access_of(listens=[host], key_variable="MY_KEY").key == "secret"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    assert is_loopback(host)
    assert access_of(listens=[host]) == Access(hosts=frozenset({host} - {"127.0.0.1", "127.8.8.8", "::1"}))


def test_the_name_it_listens_on_is_its_own():
    assert access_of(listens=["tierwise.example"], is_open=True).is_host("tierwise.example:8400")


@pytest.mark.parametrize("value", [None, "", "  ", "caf\u00e9", "two words", "line\nbreak"])
def test_a_variable_without_a_usable_key_is_an_error(monkeypatch, value):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(SpecError, match="MY_KEY"):
        access_of(listens=["127.0.0.1"], key_variable="MY_KEY")


def test_a_key_and_no_key_is_a_contradiction(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    with pytest.raises(SpecError, match="--no-auth"):
        access_of(listens=["127.0.0.1"], key_variable="MY_KEY", is_open=True)


@pytest.mark.parametrize("origin", ["app.example", "https://", "https://app.example/path", "", "https://a b"])
def test_what_is_no_origin_is_an_error(origin):
    with pytest.raises(SpecError, match="not an origin"):
        access_of(listens=["127.0.0.1"], origins=[origin])


@pytest.mark.parametrize("host", ["http://tierwise.example", "a/b", "", "a b"])
def test_what_is_no_host_is_an_error(host):
    with pytest.raises(SpecError, match="not a host"):
        access_of(listens=["127.0.0.1"], hosts=[host])


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_a_browser_gets_each_header_once_because_it_refuses_a_repeated_one(serve, method):
    endpoint = serve(tier_of(), access=Access(origins=frozenset({"https://app.example"})))
    headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
    with closing(http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=10)) as line:
        line.request(method, "/v1/models", headers=headers)
        answer = line.getresponse()
        answer.read()
    names = [name.lower() for name, _ in answer.getheaders()]
    assert "access-control-allow-origin" in names
    assert len(names) == len(set(names))
