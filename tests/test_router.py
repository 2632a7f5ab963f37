"""The router turns a model name into tiers, and writes down why."""

from __future__ import annotations

import pytest

from tierwise.policies import Single
from tierwise.router import Router
from tierwise.spec.errors import SpecError
from tierwise.testing import ScriptedEngine, tier
from tierwise.verifiers import Number

TIERS = {name: tier(Single(), ScriptedEngine(), name=name) for name in ("fast", "standard", "max")}
ROUTER = Router(tiers=TIERS, routes={"auto": ("fast", "standard", "max"), "lone": ("standard",)})


def climbed(model: str, verifier=None) -> tuple[list[str], str]:
    decision = ROUTER.route(model, verifier)
    return [one.name for one in decision.climb], decision.reason


@pytest.mark.parametrize("verifier", [None, Number(equals=4)])
@pytest.mark.parametrize("name", TIERS)
def test_a_tier_is_asked_by_its_name(name, verifier):
    assert climbed(name, verifier) == ([name], "asked by name")


def test_a_route_climbs_its_tiers_where_answers_can_be_verified():
    assert climbed("auto", Number(equals=4)) == (["fast", "standard", "max"], "auto: climbs until number accepts")


def test_a_route_asks_its_strongest_tier_where_they_cannot():
    assert climbed("auto") == (["max"], "auto: nothing to verify with, so the strongest tier")


@pytest.mark.parametrize("verifier", [None, Number()])
def test_a_route_of_one_tier_has_no_choice(verifier):
    assert climbed("lone", verifier) == (["standard"], "lone: its only tier")


def test_an_unknown_name_is_refused_and_the_likely_one_is_named():
    with pytest.raises(SpecError, match="there is no model 'autp'; did you mean 'auto'") as caught:
        climbed("autp")
    assert caught.value.field == "model"
    assert "allowed: auto, fast, lone, max, standard" in str(caught.value)


def test_tiers_come_before_routes_in_the_list_of_models():
    assert ROUTER.names == ["fast", "standard", "max", "auto", "lone"]
