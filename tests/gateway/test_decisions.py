"""Which tier of a route answered, by which signal, and why it escalated: header, usage, metrics and ledger agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from endpoints import Endpoint, tier_of
from tierwise.cli.status import standing
from tierwise.router.certified import CertifiedRoute, CertifiedRoutes
from tierwise.spec.errors import Refused
from tierwise.testing import Reply, ScriptedEngine

FOUR = {"tierwise": {"verifier": {"number": {"equals": 4}}}}


def route(serve: Any, cheap: str | Reply, **more: Any) -> Endpoint:
    tiers = [tier_of(engine=ScriptedEngine(text), name=name) for name, text in (("fast", cheap), ("max", "4"))]
    endpoint: Endpoint = serve(*tiers, routes={"auto": ("fast", "max")}, **more)
    return endpoint


def test_an_answer_that_is_kept_names_the_signal_and_its_level(serve):
    endpoint = route(serve, "4")
    answer = endpoint.chat("auto", **FOUR)
    assert answer.headers["x-tierwise-decision"] == "fast accepted by verifier 1"
    (decision,) = answer.json["usage"]["tierwise"]["decisions"]
    assert decision == {
        "choice": 0,
        "route": "auto",
        "tier": "fast",
        "accepted": True,
        "signal": "verifier",
        "level": 1.0,
        "reason": "fast accepted",
        "after": [0],
    }
    assert endpoint.metric('tierwise_route_answers_total{reason="verifier",route="auto",tier="fast"}') == 1
    assert endpoint.records[0].reason == "auto: fast by verifier"


@pytest.mark.parametrize("stream", [False, True])
def test_an_escalation_says_what_refused_the_cheap_answer(serve, stream):
    endpoint = route(serve, "5")
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = endpoint.chat("auto", **FOUR, **more)
    usage = (answer.chunks[-1] if stream else answer.json)["usage"]["tierwise"]
    assert answer.headers["x-tierwise-decision"] == "fast not accepted by verifier 0; max answers"
    assert [(one["tier"], one["signal"], one["accepted"]) for one in usage["decisions"]] == [
        ("fast", "verifier", False)
    ]
    assert usage["reason"] == "auto: max after fast: verifier"
    assert endpoint.metric('tierwise_escalations_total{reason="verifier",route="auto",tier="fast"}') == 1
    assert endpoint.metric('tierwise_route_answers_total{reason="last",route="auto",tier="max"}') == 1


def test_a_tier_that_fails_is_a_reason_too(serve):
    endpoint = route(serve, Reply(error=Refused("no tools here")))
    answer = endpoint.chat("auto")
    assert answer.headers["x-tierwise-decision"] == "fast not accepted by failed; max answers"
    assert endpoint.metric('tierwise_escalations_total{reason="failed",route="auto",tier="fast"}') == 1


def test_every_choice_has_decisions_of_its_own(serve):
    endpoint = route(serve, "5")
    answer = endpoint.chat("auto", n=3, **FOUR)
    decisions = answer.json["usage"]["tierwise"]["decisions"]
    assert sorted((one["choice"], one["tier"]) for one in decisions) == [(0, "fast"), (1, "fast"), (2, "fast")]
    assert endpoint.metric('tierwise_escalations_total{reason="verifier",route="auto",tier="fast"}') == 3
    assert endpoint.metric('tierwise_route_answers_total{reason="last",route="auto",tier="max"}') == 1


def test_a_tier_that_is_asked_by_name_decides_nothing(serve):
    endpoint = route(serve, "4")
    answer = endpoint.chat("fast")
    assert "x-tierwise-decision" not in answer.headers
    assert answer.json["usage"]["tierwise"]["decisions"] == []
    assert "tierwise_route_answers_total{" not in endpoint.request("GET", "/metrics").body.decode()


def test_a_refused_cheap_answer_never_reaches_the_stream(serve):
    """No byte of it, neither as content nor as thinking, before the answer that is kept."""
    endpoint = route(serve, Reply(text="five it is, said the small one", thinking="small thoughts"))
    answer = endpoint.chat("auto", stream=True, stream_options={"include_usage": True}, **FOUR)
    sent = json.dumps([chunk for chunk in answer.chunks if chunk.get("choices")])
    assert answer.text == "4"
    assert "small" not in sent
    assert "five" not in sent


def state_of(endpoint: Endpoint) -> Any:
    pages = [endpoint.request("GET", path) for path in ("/ready", "/v1/models", "/metrics")]
    return standing(endpoint.url, pages[0].json, pages[1].json["data"], pages[2].body.decode())


def test_the_status_counts_escalations_and_answers_of_the_safe_tier_apart(serve):
    certified = CertifiedRoutes({"auto": CertifiedRoute(certificate="ab" * 32, safe="max")})
    endpoint = route(serve, "5", certified=certified)
    endpoint.chat("auto")
    endpoint.call(lambda: certified.hold("auto"))
    for _ in range(2):
        endpoint.chat("auto", **FOUR)
    endpoint.call(lambda: certified.void("auto", "disagreement rose"))
    endpoint.chat("auto")
    found = state_of(endpoint)
    assert [one["name"] for one in found["tiers"]] == ["fast", "max"]
    (auto,) = found["routes"]
    assert (auto["actions"], auto["by_safe_tier"], auto["escalated"], auto["escalation_rate"]) == (4, 2, 2, 1.0)
    assert auto["certificate"]["state"] == "void"
    assert auto["certificate"]["reasons"] == ["disagreement rose"]
    assert auto["escalations"] == [{"tier": "fast", "reason": "verifier", "answers": 2}]


def test_the_status_of_a_route_that_nobody_asked_has_no_rate(serve):
    (auto,) = state_of(route(serve, "4"))["routes"]
    assert (auto["actions"], auto["escalation_rate"], auto["certificate"]) == (0, None, None)
