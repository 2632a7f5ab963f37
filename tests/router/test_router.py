"""The router turns a model name into a tier; a route is one."""

from __future__ import annotations

import pytest

from tierwise.policies import Majority, Single
from tierwise.router import Router
from tierwise.spec.budget import Budget
from tierwise.spec.errors import SpecError
from tierwise.testing import ScriptedEngine, cascade, tier

FAST, STANDARD = (tier(Single(), ScriptedEngine(), name=name) for name in ("fast", "standard"))
MAX = tier(Majority(n=7), ScriptedEngine(), name="max", budget=Budget(passes=4))
LADDER = [FAST, STANDARD, MAX]
AUTO, LONE = cascade(LADDER), cascade([STANDARD], "lone")
ROUTER = Router(tiers={one.name: one for one in (*LADDER, AUTO, LONE)})


@pytest.mark.parametrize("asked", [*LADDER, AUTO, LONE], ids=lambda one: one.name)
def test_a_name_means_a_tier(asked):
    assert ROUTER.route(asked.name) is asked


def test_an_unknown_name_is_refused_and_the_likely_one_is_named():
    with pytest.raises(SpecError, match="there is no model 'autp'; did you mean 'auto'") as caught:
        ROUTER.route("autp")
    assert caught.value.field == "model"
    assert "allowed: auto, fast, lone, max, standard" in str(caught.value)


def test_tiers_come_before_routes_in_the_list_of_models():
    assert ROUTER.names == ["fast", "standard", "max", "auto", "lone"]


def test_a_request_can_come_to_every_tier_that_its_own_asks():
    assert [one.name for one in ROUTER.reach("auto")] == ["auto", "fast", "standard", "max"]
    assert [one.name for one in ROUTER.reach("fast")] == ["fast"]


def test_the_most_passes_of_a_route_are_those_of_all_its_tiers_within_their_budgets():
    assert [ROUTER.most(name).passes for name in ROUTER.names] == [1, 1, 4, 8, 1]
