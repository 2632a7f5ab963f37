"""Every answer of a route with a certificate says whether the certificate holds, and why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from endpoints import Endpoint, tier_of
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.rows import entry
from tierwise.router.certified import CertifiedRoute, CertifiedRoutes
from tierwise.testing import ScriptedEngine

SHA = "ab12" * 16
WHY = "deployment 'small' has another checkpoint"


@pytest.fixture
def endpoint(serve: Callable[..., Endpoint]) -> Endpoint:
    """Two tiers and a route with a certificate that is not compared yet."""
    tiers = [tier_of(engine=ScriptedEngine(text), name=name) for name, text in (("fast", "cheap"), ("max", "dear"))]
    return serve(
        *tiers,
        routes={"auto": ("fast", "max")},
        certified=CertifiedRoutes({"auto": CertifiedRoute(certificate=SHA, safe="max")}),
    )


def hold(endpoint: Endpoint) -> None:
    endpoint.call(lambda: endpoint.service.router.certified.hold("auto"))


def void(endpoint: Endpoint, why: str = WHY) -> None:
    endpoint.call(lambda: endpoint.service.router.certified.void("auto", why))


TOOLS: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def test_an_answer_under_a_certificate_names_it(endpoint):
    hold(endpoint)
    answer = endpoint.chat("auto", tools=TOOLS)
    assert answer.headers["x-tierwise-certificate"] == SHA[:12]
    assert answer.headers["x-tierwise-tier"] == "fast"
    certificate = answer.json["usage"]["tierwise"]["certificate"]
    assert certificate == {"state": "holds", "sha256": SHA, "safe": "max", "reasons": []}


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_of_the_safe_tier_is_labelled_wherever_it_is_told(endpoint, stream):
    void(endpoint)
    answer = endpoint.chat("auto", stream=stream, stream_options={"include_usage": True} if stream else None)
    assert answer.headers["x-tierwise-certificate"] == f"void; {WHY}"
    usage = answer.chunks[-1]["usage"] if stream else answer.json["usage"]
    assert usage["tierwise"]["tier"] == "max"
    assert usage["tierwise"]["reason"] == "auto: max by certificate"
    assert usage["tierwise"]["certificate"] == {"state": "void", "sha256": SHA, "safe": "max", "reasons": [WHY]}
    stored = entry(endpoint.records[0], PriceBook({}))
    assert (stored.action.model, stored.action.tier) == ("auto", "max")
    assert stored.action.reason == "auto: max by certificate"
    assert [one.reason for one in stored.decisions] == [f"its certificate is void; {WHY}: its safe tier max answers"]


def test_an_error_is_labelled_too(serve):
    tiers = [tier_of(engine=ScriptedEngine(OSError("gone")), name=name) for name in ("fast", "max")]
    certified = CertifiedRoutes({"auto": CertifiedRoute(certificate=SHA, safe="max")})
    answer = serve(*tiers, routes={"auto": ("fast", "max")}, certified=certified).chat("auto")
    assert answer.status >= 500
    assert answer.headers["x-tierwise-certificate"] == "unchecked; the engines are not ready yet"


def test_what_has_no_certificate_says_nothing_of_one(endpoint):
    answer = endpoint.chat("fast")
    assert "x-tierwise-certificate" not in answer.headers
    assert "certificate" not in answer.json["usage"]["tierwise"]


def test_reasons_in_other_scripts_and_of_any_length_fit_a_header(endpoint):
    void(endpoint, "größer\n" * 1000)
    header = endpoint.chat("auto").headers["x-tierwise-certificate"]
    assert header.isascii()
    assert len(header) == 500


def test_the_list_of_models_the_metrics_and_readiness_know_the_state(endpoint):
    def seen() -> tuple[Any, float, bool]:
        model = endpoint.request("GET", "/v1/models/auto").json["tierwise"]["certificate"]["state"]
        return (
            model,
            endpoint.metric('tierwise_route_certified{route="auto"}'),
            endpoint.request("GET", "/ready").json["ready"],
        )

    assert seen() == ("unchecked", 0, False)
    hold(endpoint)
    assert seen() == ("holds", 1, True)
    void(endpoint)
    assert seen() == ("void", 0, True)
    assert "certificate" not in endpoint.request("GET", "/v1/models/fast").json["tierwise"]


def test_an_alarm_is_told_from_the_next_action_on(endpoint):
    hold(endpoint)
    assert endpoint.chat("auto", tools=TOOLS).headers["x-tierwise-tier"] == "fast"
    void(endpoint, "disagreement rose from 5 % to 15 %")
    answer = endpoint.chat("auto", tools=TOOLS)
    assert answer.headers["x-tierwise-tier"] == "max"
    assert answer.headers["x-tierwise-certificate"] == "void; disagreement rose from 5 % to 15 %"
