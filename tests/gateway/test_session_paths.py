"""A session that the base URL names, and what `/v1/sessions/ID` says of it."""

from __future__ import annotations

import json
import socket

import anthropic
import openai
import pytest

from endpoints import HELLO, tier_of
from tierwise.gateway.session_path import split
from tierwise.policies.majority import Majority

BODY = json.dumps({"model": "tier", "messages": HELLO}).encode()
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("target", "found"),
    [
        (b"/v1/x/a/chat/completions", (b"/v1/chat/completions", b"a", b"")),
        (b"/x/a/v1/messages?beta=true", (b"/v1/messages?beta=true", b"a", b"")),
        (b"/v1/x/a%2Fb.c-d~e/models", (b"/v1/models", b"a/b.c-d~e", b"")),
        (b"/v1/x/x/x/models", (b"/v1/x/models", b"x", b"")),
        (b"/v1/x/a;passes=1/chat/completions", (b"/v1/chat/completions", b"a", b"1")),
        (b"/x/a;passes=12/v1/messages", (b"/v1/messages", b"a", b"12")),
        (b"/v1/x/a;b%3Bpasses=1/models", (b"/v1/models", b"a;b;passes=1", b"")),
        (b"/v1/x/a;passes=/models", None),
        (b"/v1/x/;passes=1/models", None),
        (b"/v1/x/a", None),
        (b"/v1/x//models", None),
        (b"/v1/x/?a=/models", None),
        (b"/v1/xa/models", None),
        (b"/v1/chat/completions", None),
    ],
)
def test_the_session_is_the_part_after_x(target, found):
    assert split(target) == found


def test_openai_s_client_names_a_session_by_its_base_url(serve):
    endpoint = serve(tier_of())
    with openai.OpenAI(base_url=f"{endpoint.url}/v1/x/agent%207.a", api_key="any", max_retries=0) as client:
        assert [one.id for one in client.models.list().data] == ["tier"]
    with openai.OpenAI(base_url=f"{endpoint.url}/v1/x/agent-7.a", api_key="any", max_retries=0) as client:
        client.chat.completions.create(model="tier", messages=HELLO)
        with client.chat.completions.stream(model="tier", messages=HELLO) as stream:
            stream.until_done()
        client.responses.create(model="tier", input="hello")
    assert [record.trace.session for record in endpoint.records] == ["agent-7.a"] * 3


def test_anthropic_s_client_names_one_too(serve):
    endpoint = serve(tier_of())
    with anthropic.Anthropic(base_url=f"{endpoint.url}/x/agent-8", api_key="any", max_retries=0) as client:
        client.messages.create(model="tier", messages=HELLO, max_tokens=9)
    assert [record.trace.session for record in endpoint.records] == ["agent-8"]


def test_a_base_url_can_bound_the_passes_of_each_request(serve):
    endpoint = serve(tier_of(Majority(n=3)))

    def ask(base, **extra):
        with openai.OpenAI(base_url=f"{endpoint.url}/v1/x/{base}", api_key="any", max_retries=0) as client:
            client.chat.completions.create(model="tier", messages=HELLO, extra_body=extra)
            client.responses.create(model="tier", input="hello")
        with anthropic.Anthropic(base_url=f"{endpoint.url}/x/{base}", api_key="any", max_retries=0) as client:
            client.messages.create(model="tier", messages=HELLO, max_tokens=9)
        last = endpoint.records[-3:]
        assert {record.trace.session for record in last} == {base.partition(";")[0]}
        return [len(record.trace.passes) for record in last]

    assert min(ask("a")) > 1
    assert ask("b;passes=1") == [1, 1, 1]
    assert ask("c;passes=2") == [2, 2, 2]
    assert ask("d;passes=2", tierwise={"budget": {"passes": 1}}) == [1, 2, 2]


@pytest.mark.parametrize("passes", ["0", "1001", "one", "-1", "1%30"])
def test_what_is_no_number_of_passes_is_refused(serve, passes):
    answer = serve(tier_of()).request("POST", f"/v1/x/a;passes={passes}/chat/completions", BODY, JSON)
    assert (answer.status, answer.error["param"]) == (400, "passes")
    assert "allowed are 1 to 1000" in answer.error["message"]


@pytest.mark.parametrize("name", ["two%20words", "caf%C3%A9", "x" * 201])
def test_what_is_no_session_is_refused(serve, name):
    answer = serve(tier_of()).request("POST", f"/v1/x/{name}/chat/completions", BODY, JSON)
    assert (answer.status, answer.error["param"]) == (400, "x-tierwise-session")


def test_path_header_and_body_must_name_the_same_session(serve):
    endpoint = serve(tier_of())
    path = "/v1/x/one/chat/completions"
    assert endpoint.request("POST", path, BODY, {**JSON, "x-tierwise-session": "one"}).status == 200
    answer = endpoint.request("POST", path, BODY, {**JSON, "x-tierwise-session": "two"})
    assert (answer.status, answer.error["param"]) == (400, "x-tierwise-session")
    assert "'one'" in answer.error["message"]
    assert "'two'" in answer.error["message"]
    named = json.dumps({"model": "tier", "messages": HELLO, "tierwise": {"session": "two"}}).encode()
    assert endpoint.request("POST", path, named, JSON).error["param"] == "tierwise.session"


def test_an_agent_s_own_header_does_not_replace_the_path(serve):
    endpoint = serve(tier_of())
    endpoint.request("POST", "/v1/x/one/chat/completions", BODY, {**JSON, "x-claude-code-session-id": "its own"})
    endpoint.request(
        "POST", "/v1/x/one/chat/completions", BODY, {**JSON, "originator": "codex_exec", "session-id": "s"}
    )
    assert [record.trace.session for record in endpoint.records] == ["one", "one"]


def test_no_client_can_send_the_name_that_the_path_uses(serve):
    endpoint = serve(tier_of())
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as raw:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n:session: forged\r\ncontent-length: {len(BODY)}\r\n\r\n"
        )
        raw.sendall(head.encode() + BODY)
        assert b" 400 " in raw.recv(4096).split(b"\r\n")[0]
    assert endpoint.records == []
