"""Headers that identify a request: sent back to the client, and forwarded to engines."""

from __future__ import annotations

import json

import pytest

from endpoints import HELLO, tier_of
from tierwise.policies import Majority, Single
from tierwise.testing import ScriptedEngine

SPAN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = json.dumps({"model": "tier", "messages": HELLO}).encode()


@pytest.mark.parametrize("given", ["my-id-17", "5f0c1d5e-3a64-4b5c-9f2e-000000000000", "!", "x" * 200])
def test_a_request_id_is_sent_back_and_forwarded(serve, given):
    engine = ScriptedEngine("hi there")
    endpoint = serve(tier_of(engine=engine))
    assert endpoint.raw(BODY, {"x-request-id": given}).headers["x-request-id"] == given
    assert engine.calls[0].prompt.headers == {"x-request-id": given}
    wrong = endpoint.raw(b"{", {"x-request-id": given})
    assert (wrong.status, wrong.headers["x-request-id"]) == (400, given)


@pytest.mark.parametrize("given", ["", "two words", "x" * 201, "caf\u00e9"])
def test_without_a_usable_one_the_action_s_id_is_sent_back_and_nothing_is_forwarded(serve, given):
    engine = ScriptedEngine("hi there")
    answer = serve(tier_of(engine=engine)).raw(BODY, {"x-request-id": given})
    assert answer.status == 200
    assert answer.headers["x-request-id"] == answer.headers["x-tierwise-action"]
    assert engine.calls[0].prompt.headers == {}


def test_every_pass_of_an_action_has_a_request_id_of_its_own(serve):
    engine = ScriptedEngine("4", "5", "6")
    serve(tier_of(Majority(n=3), engine)).raw(BODY, {"x-request-id": "mine"})
    ids = [call.prompt.headers["x-request-id"] for call in engine.calls]
    assert sorted(ids) == ["mine", "mine-1", "mine-2"]


def test_the_caller_s_span_is_forwarded(serve):
    engine = ScriptedEngine("hi there")
    serve(tier_of(engine=engine)).raw(BODY, {"traceparent": SPAN, "tracestate": "vendor=1"})
    assert engine.calls[0].prompt.headers == {"traceparent": SPAN, "tracestate": "vendor=1"}


@pytest.mark.parametrize("given", ["", "00-xyz-1-01", SPAN[:-1], f"{SPAN} x"])
def test_what_is_no_span_is_not_forwarded(serve, given):
    engine = ScriptedEngine("hi there")
    serve(tier_of(engine=engine)).raw(BODY, {"traceparent": given, "tracestate": "vendor=1"})
    assert engine.calls[0].prompt.headers == {}


# ── sessions ────────────────────────────────────────────────────────────

BLANK_OR_LONG = ["two words", "x" * 201, "caf\u00e9"]


class Seeing(Single, frozen=True, kw_only=True):
    """Answers with one pass, and remembers the session that it was told."""

    seen: list[str]

    async def solve(self, prompt, ask):
        self.seen.append(ask.session)
        return await super().solve(prompt, ask)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("given", ["agent-7", "!", "x" * 200])
def test_a_session_is_named_by_a_header_or_a_field_and_reaches_policy_and_trace(serve, given, stream):
    seen: list[str] = []
    endpoint = serve(tier_of(Seeing(seen=seen)))
    body = json.dumps({"model": "tier", "messages": HELLO, "stream": stream}).encode()
    assert endpoint.raw(body, {"x-tierwise-session": given}).status == 200
    endpoint.chat(stream=stream, tierwise={"session": given})
    endpoint.chat(stream=stream)
    assert seen == [given, given, ""]
    assert [record.trace.session for record in endpoint.records] == [given, given, ""]


@pytest.mark.parametrize("given", BLANK_OR_LONG)
def test_what_is_no_session_is_refused_and_never_ignored(serve, given):
    endpoint = serve(tier_of())
    answer = endpoint.raw(BODY, {"x-tierwise-session": given})
    assert (answer.status, answer.error["param"]) == (400, "x-tierwise-session")
    assert "at most 200 characters of printable ASCII" in answer.error["message"]
    answer = endpoint.raw(json.dumps({"model": "tier", "messages": HELLO, "tierwise": {"session": given}}).encode())
    assert (answer.status, answer.error["param"]) == (400, "tierwise.session")


def test_header_and_field_must_name_the_same_session(serve):
    endpoint = serve(tier_of())
    body = json.dumps({"model": "tier", "messages": HELLO, "tierwise": {"session": "one"}}).encode()
    assert endpoint.raw(body, {"x-tierwise-session": "one"}).status == 200
    answer = endpoint.raw(body, {"x-tierwise-session": "two"})
    assert (answer.status, answer.error["param"]) == (400, "tierwise.session")
    assert "'one'" in answer.error["message"]
    assert "'two'" in answer.error["message"]


@pytest.mark.parametrize(
    ("headers", "session"),
    [
        ({"originator": "codex_exec", "session-id": "s1"}, "s1"),
        ({"originator": "codex_cli_rs", "session_id": "s0"}, "s0"),
        ({"originator": "codex_exec", "session-id": "s1", "x-tierwise-session": "mine"}, "mine"),
        ({"session-id": "another client's"}, ""),
        ({"originator": "other", "session-id": "s1"}, ""),
    ],
)
def test_a_session_of_codex_is_a_session(serve, headers, session):
    endpoint = serve(tier_of())
    body = json.dumps({"model": "tier", "messages": HELLO}).encode()
    assert endpoint.raw(body, headers).status == 200
    assert [record.trace.session for record in endpoint.records] == [session]
