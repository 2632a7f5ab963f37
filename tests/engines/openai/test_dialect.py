"""What our request levers become in an engine's words."""

from __future__ import annotations

import pytest

from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.thinking_switch import thinking_off
from tierwise.spec.errors import Refused
from tierwise.spec.sampling import Sampling

SWITCH = ({"enable_thinking": True}, {"enable_thinking": False})
RICH = Dialect(engine="e", priority="lower first", thinking_tokens="budget", active_experts="k")
POOR = Dialect(engine="e", advice={"priority": "serves as they come"})


def test_what_is_no_lever_of_ours_passes_untouched():
    fields = {"temperature": 0.5, "a_field_of_next_year": [1]}
    assert RICH.translate(fields) is fields


def test_priority_is_higher_first_for_everybody_and_turned_where_the_engine_counts_the_other_way():
    assert RICH.translate({"priority": 3}) == {"priority": -3}
    assert Dialect(engine="e", priority="higher first").translate({"priority": 3}) == {"priority": 3}


def test_levers_get_the_engines_own_names():
    assert RICH.translate({"thinking_tokens": 64, "active_experts": 4}) == {"budget": 64, "k": 4}


def test_thinking_becomes_the_switch_of_the_family_and_what_the_client_says_wins():
    told = RICH.translate({"thinking": True, "chat_template_kwargs": {"other": 1}}, SWITCH)
    assert told == {"chat_template_kwargs": {"enable_thinking": True, "other": 1}}
    assert RICH.translate({"thinking": False}, SWITCH)["chat_template_kwargs"] == {"enable_thinking": False}
    kept = {"thinking": False, "chat_template_kwargs": {"enable_thinking": True}}
    assert RICH.translate(kept, SWITCH)["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_hosted_servers_own_object_of_that_name_passes():
    assert RICH.translate({"thinking": {"type": "enabled"}}) == {"thinking": {"type": "enabled"}}


@pytest.mark.parametrize("fields", [{"thinking": True}, {"thinking_tokens": 1}, {"active_experts": 2}, {"priority": 1}])
def test_what_an_engine_has_no_word_for_is_refused_by_name(fields):
    with pytest.raises(Refused, match=next(iter(fields))):
        POOR.translate(fields)


def test_a_tier_learns_the_same_before_anything_runs():
    asked = Sampling(thinking=True, priority=1, active_experts=2)
    found = dict(POOR.unsupported(asked, knows_checkpoint=False))
    assert (set(found), found["priority"]) == ({"thinking", "priority", "active_experts"}, "e serves as they come")
    assert not list(RICH.unsupported(asked))


def test_the_fields_that_turn_thinking_off_are_those_of_the_family():
    assert thinking_off(None) is None
    assert thinking_off(SWITCH) == RICH.translate({"thinking": False}, SWITCH)
