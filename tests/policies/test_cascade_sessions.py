"""A session stays at the tier that it reached, so that the prompts cached there are used."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tierwise.ledger.records import Decision
from tierwise.policies import Cascade, Single
from tierwise.policies.acceptance import CascadeSignal
from tierwise.run import Action, Tier
from tierwise.run.sessions import MOST_SESSIONS
from tierwise.spec.errors import Broken
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier, tiers_of

SHORT = CascadeSignal(length=1)
"""Accepts answers of one word."""


class Route:
    """A route over scripted engines, whose actions belong to sessions."""

    def __init__(self, *engines, **settings):
        made = [tier(Single(), engine, name=f"t{number}") for number, engine in enumerate(engines)]
        made = [replace(one, deployment=replace(one.deployment, name=one.name)) for one in made]
        policy = Cascade(ladder=tuple(one.name for one in made), signals=(SHORT,), **settings)
        self.tier = Tier(name="auto", deployment=made[-1].deployment, policy=policy)
        self._tiers = tiers_of(made)

    async def turn(self, session):
        """The tier that answers, the tiers that were asked, and why."""
        trace = new_trace()
        trace.session = session
        action = Action(self.tier, trace, tiers=self._tiers)
        answer = await action.solve(ask_user("2+2?"))
        return answer.tier, [done.tier for done in trace.passes], action.reason


def turns(route, *sessions, pause=0.0):
    async def main():
        found = []
        for session in sessions:
            found.append(await route.turn(session))
            await asyncio.sleep(pause)
        return found

    return frozen(main())


def test_the_turns_after_an_escalation_begin_where_it_ended():
    first, second = turns(Route(ScriptedEngine("4", "four it is"), ScriptedEngine("5")), "s", "s")
    assert first[:2] == ("t0", ["t0"])
    assert second[:2] == ("t1", ["t0", "t1"])
    route = Route(ScriptedEngine("four it is", "4"), ScriptedEngine("5"))
    first, second, third = turns(route, "s", "s", "s")
    assert first[:2] == ("t1", ["t0", "t1"])
    assert second == third == ("t1", ["t1"], "auto: t1 by session")


def test_a_session_climbs_further_and_never_down():
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5", "5 or 6", "5"), ScriptedEngine("7"))
    assert [asked for _, asked, _ in turns(route, *"ssss")] == [["t0", "t1"], ["t1", "t2"], ["t2"], ["t2"]]


def test_other_sessions_and_requests_without_one_begin_at_the_cheapest_tier():
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5"))
    assert [asked[0] for _, asked, _ in turns(route, "s", "other", "", "", "s")] == ["t0", "t0", "t0", "t0", "t1"]


def test_a_session_is_forgotten_some_time_after_its_last_turn():
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5"), session_seconds=60)
    assert [asked[0] for _, asked, _ in turns(route, *"sss", pause=50)] == ["t0", "t1", "t1"]
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5"), session_seconds=60)
    assert [asked[0] for _, asked, _ in turns(route, *"ss", pause=70)] == ["t0", "t0"]


def test_sessions_can_be_turned_off():
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5"), session_seconds=0)
    assert [asked[0] for _, asked, _ in turns(route, "s", "s")] == ["t0", "t0"]


def test_a_tier_that_failed_is_asked_again_in_the_next_turn():
    route = Route(ScriptedEngine(*[Reply(error=Broken("on purpose"))] * 2, "4"), ScriptedEngine("5"))
    assert [answered for answered, _, _ in turns(route, "s", "s")] == ["t1", "t0"]


def test_a_tier_that_failed_between_two_others_is_where_the_session_goes_on():
    flaky = ScriptedEngine(*[Reply(error=Broken("on purpose"))] * 2, "5")
    route = Route(ScriptedEngine("one two"), flaky, ScriptedEngine("7"))
    first, second = turns(route, "s", "s")
    assert (first[0], second[:2]) == ("t2", ("t1", ["t1"]))


def test_a_turn_whose_last_tier_fails_counts_as_the_last_one_of_its_session():
    broken = Reply(error=Broken("on purpose"))
    last = ScriptedEngine(*[broken] * 2, "7")
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5", "5 or 6", "5"), last, session_seconds=60)
    asked = [asked[0] for _, asked, _ in turns(route, *"sss", pause=50)]
    assert asked == ["t0", "t1", "t1"]


def test_the_trace_says_that_a_session_began_higher():
    route = Route(ScriptedEngine("one two"), ScriptedEngine("5"))

    async def main():
        await route.turn("s")
        trace = new_trace()
        trace.session = "s"
        await Action(route.tier, trace, tiers=route._tiers).solve(ask_user("?"))
        return [(one.signal, one.level) for one in trace.events if isinstance(one, Decision)]

    assert frozen(main())[0] == ("session", 1.0)


def test_a_session_that_was_kept_for_a_tier_that_is_gone_begins_at_the_cheapest():
    route = Route(ScriptedEngine("4"), ScriptedEngine("5"))
    route.tier.sessions.keep("s", "gone", until=1e9)
    assert turns(route, "s")[0][:2] == ("t0", ["t0"])


@pytest.mark.parametrize("sessions", [MOST_SESSIONS + 50])
def test_memory_of_sessions_is_bounded(sessions):
    route = Route(ScriptedEngine("one two", step=0.0), ScriptedEngine("5", step=0.0))
    for number in range(sessions):
        route.tier.sessions.keep(f"s{number}", "t1", until=1e9)
    assert len(route.tier.sessions) == MOST_SESSIONS
    assert turns(route, "s0", f"s{sessions - 1}")[1][1] == ["t1"]
