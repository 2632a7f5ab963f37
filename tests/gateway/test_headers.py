"""Headers that identify a request: sent back to the client, and forwarded to engines."""

from __future__ import annotations

import json

import pytest

from endpoints import HELLO, tier_of
from tierwise.policies import Majority
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
