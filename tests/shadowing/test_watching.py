"""The detectors of a route: what they are held against, what an alarm says, and what is stored."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observed_routes import certificate
from tierwise.certificate import Figure
from tierwise.shadowing.watching import RECENT, Observed, WatchState, certified_rate


def seen(*, differs=False, loss=None, action="act_1", **strata):
    return Observed(action=action, differs=differs, loss=loss, strata=strata)


def after(state, observations):
    for one in observations:
        state = state.after(one)
    return state


@pytest.mark.parametrize(("kind", "limit"), [("harm", 0.05), ("selective", 0.05), ("net", 0.525)])
def test_the_limits_are_those_of_the_certificate(kind, limit):
    state = WatchState.fresh(certificate(kind))

    assert state.promise.limit == state.harm.limit == pytest.approx(limit)
    assert state.promise.delta == pytest.approx(0.05)
    assert state.disagreement.limit == 0.05


@pytest.mark.parametrize(
    ("figure", "tasks", "limit"),
    [
        (Figure(value=0.1), 200, 0.1),
        (Figure(value=0.1, low=0.05, high=0.16), 200, 0.16),
        (Figure(value=0.0), 200, 0.005),
        (Figure(value=0.0, low=0.0, high=0.02), 200, 0.02),
        (Figure(value=1.0), 200, 0.999),
        (Figure(value=0.0), 10**9, 0.001),
    ],
)
def test_disagreement_is_held_against_the_upper_end_of_its_certified_interval(figure, tasks, limit):
    assert certified_rate(figure, tasks) == pytest.approx(limit)


def test_harm_breaks_the_promise_and_says_by_how_much():
    state = after(WatchState.fresh(certificate()), [seen(loss=float(n % 3 == 0)) for n in range(200)])

    assert state.alarm.startswith("shadowed traffic says that the ")
    assert "at most 5.0% is promised" in state.alarm
    assert "Add tasks" not in state.alarm  # no answer differs


def test_an_alarm_soon_after_a_change_says_that_the_latest_have_more():
    state = after(
        WatchState.fresh(certificate()), [seen(loss=0.0)] * 300 + [seen(loss=float(n % 2)) for n in range(20)]
    )

    assert "actions with a known loss (the latest have more), and at most 5.0% is promised" in state.alarm


def test_gains_offset_harm_where_the_promise_is_net():
    harmless = [seen(loss=1.0 if n % 8 == 0 else 0.0 if n % 8 == 1 else 0.5) for n in range(2000)]
    harmful = [seen(loss=1.0 if n % 4 == 0 else 0.5) for n in range(2000)]

    assert not after(WatchState.fresh(certificate("net")), harmless).alarm
    assert after(WatchState.fresh(certificate("net")), harmful).alarm


def test_an_alarm_names_the_strata_and_the_latest_actions_that_differ():
    observations = [
        seen(differs=n % 10 == 0 or n % 2 == 0, action=f"act_{n}", tier="fast", task="long" if n % 2 == 0 else "short")
        for n in range(60)
    ]
    state = after(WatchState.fresh(certificate()), observations)

    assert "task long" in state.alarm
    assert "task short" not in state.alarm
    assert state.alarm.index("task long") < state.alarm.index("tier fast")
    assert state.tasks_to_add()[0] == "act_58"


def test_the_first_alarm_stays():
    state = after(WatchState.fresh(certificate()), [seen(differs=True)] * 30)
    later = after(state, [seen()] * 500)

    assert state.alarm
    assert later.alarm == state.alarm


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, 0.0, 1.0])), max_size=60))
def test_a_stored_state_is_read_as_it_was(values):
    state = after(WatchState.fresh(certificate()), [seen(differs=one, loss=loss, tier="fast") for one, loss in values])

    assert msgspec.json.decode(msgspec.json.encode(state), type=WatchState) == state
    assert state.disagreement.seen == len(values)
    assert state.promise.seen == sum(loss is not None for _, loss in values)


def test_what_is_stored_is_bounded():
    state = after(WatchState.fresh(certificate()), [seen(tier="fast")] * (RECENT + 50))

    assert len(state.recent) == RECENT
    assert state.disagreement.seen == RECENT + 50
