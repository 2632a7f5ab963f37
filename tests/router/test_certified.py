"""A route whose certificate does not hold is answered by its safe tier, and the trace says why."""

from __future__ import annotations

import logging

import pytest

from tierwise.ledger.records import Decision
from tierwise.policies import Cascade, Single
from tierwise.router import Router
from tierwise.router.certified import CERTIFICATE, CertifiedRoute, CertifiedRoutes
from tierwise.run import Action
from tierwise.run.tier import Tier
from tierwise.testing import ScriptedEngine, ask_user, cascade, frozen, new_trace, tier

SHA = "ab" * 32


def router(engine: ScriptedEngine) -> Router:
    fast, top = tier(Single(), engine, name="fast"), tier(Single(), engine, name="max")
    auto = cascade([fast, top])
    outer = Tier(name="outer", deployment=top.deployment, policy=Cascade(ladder=("auto", "max"), signals=()))
    found = {one.name: one for one in (fast, top, auto, outer)}
    return Router(tiers=found, certified=CertifiedRoutes({"auto": CertifiedRoute(certificate=SHA, safe="max")}))


def ask(routed: Router, model: str) -> tuple[str, str, list[Decision]]:
    """The tier that answered, the reason, and the decisions on the trace."""

    async def main() -> tuple[str, str, list[Decision]]:
        trace = new_trace()
        action = Action(routed.route(model), trace, tiers=routed.serving)
        answer = await action.solve(ask_user("2+2?", tools=[]))
        return answer.tier, action.reason, [one for one in trace.events if isinstance(one, Decision)]

    return frozen(main())


def test_the_safe_tier_answers_until_the_engines_are_compared():
    routed = router(ScriptedEngine("4"))
    tier_, reason, decisions = ask(routed, "auto")
    assert tier_ == "max"
    assert reason == "auto: max by certificate"
    (decision,) = decisions
    assert (decision.signal, decision.about) == (CERTIFICATE, "max")
    assert decision.reason == "its certificate is unchecked; the engines are not ready yet: its safe tier max answers"
    assert not routed.certified.are_checked


def test_a_route_that_holds_answers_by_its_own_policy():
    routed = router(ScriptedEngine("4"))
    routed.certified.hold("auto")
    assert routed.certified.are_checked
    assert routed.serving is routed.tiers
    assert ask(routed, "auto")[1] == "auto: fast by agreement"
    state = routed.certified.state("auto")
    assert state is not None
    assert state.label == SHA[:12]


def test_an_alarm_makes_later_actions_go_to_the_safe_tier_and_is_logged_once(caplog):
    routed = router(ScriptedEngine("4"))
    routed.certified.hold("auto")
    with caplog.at_level(logging.WARNING, "tierwise"):
        for _ in range(2):
            routed.certified.void("auto", "disagreement rose")
        routed.certified.void("auto", "another engine")
        routed.certified.hold("auto")
    state = routed.certified.state("auto")
    assert state is not None
    assert (state.state, state.label) == ("void", "void; disagreement rose; another engine")
    assert ask(routed, "auto")[0] == "max"
    said = [one.getMessage() for one in caplog.records]
    assert said == [
        f"route auto: its certificate is void, so tier max answers: {why}"
        for why in ("disagreement rose", "another engine")
    ]


def test_a_route_that_another_route_asks_is_replaced_too():
    engine = ScriptedEngine("4")
    routed = router(engine)
    _, _, decisions = ask(routed, "outer")
    assert not [one for one in decisions if one.signal == CERTIFICATE]  # `outer` has no signals: it asks `max` at once
    with_tools = Cascade(ladder=("auto", "max"))
    tiers = {**routed.tiers, "outer": tier(with_tools, engine, name="outer")}
    _, _, decisions = ask(Router(tiers=tiers, certified=routed.certified), "outer")
    assert [one.tier for one in decisions if one.signal == CERTIFICATE] == ["auto"]


def test_a_void_route_spends_what_its_safe_tier_spends():
    routed = router(ScriptedEngine("4"))
    assert routed.most("auto").passes == 1
    routed.certified.hold("auto")
    assert routed.most("auto").passes == 3


def test_what_has_no_certificate_has_no_state():
    routed = router(ScriptedEngine("4"))
    assert routed.certified.state("fast") is None
    assert list(routed.certified) == ["auto"]
    with pytest.raises(KeyError):
        routed.certified.void("fast", "why")
