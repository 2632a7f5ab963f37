"""Drift: false alarms by enumeration and by simulation, delays, and states that are stored and read again."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import asdict
from functools import reduce

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.stats.drift import BrokenPromise, Change, fixed_bet
from tierwise.stats.estimates import wilson

RATES = st.floats(0.001, 0.99)
LOSSES = st.lists(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), max_size=80)


def fed(state, losses):
    return reduce(lambda one, loss: one.after(loss), losses, state)


def alarmed_share(state, rate, length):
    """The exact probability of an alarm within `length` independent losses of this rate."""
    share, front = 0.0, {state: 1.0}
    for _ in range(length):
        after: dict[object, float] = {}
        for one, chance in front.items():
            for loss, likely in ((1, rate), (0, 1 - rate)):
                then = one.after(loss)
                if then.is_alarm:
                    share += chance * likely
                else:
                    after[then] = after.get(then, 0.0) + chance * likely
        front = after
    return share


@pytest.mark.parametrize("limit", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_a_promise_that_holds_is_called_broken_with_at_most_delta_over_every_run_of_fourteen(limit, delta):
    found = alarmed_share(BrokenPromise(limit=limit, delta=delta), limit, 14)

    assert found <= delta
    assert alarmed_share(BrokenPromise(limit=limit, delta=delta), min(0.99, 6 * limit), 14) > found


@pytest.mark.parametrize("limit", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("delta", [0.05, 0.3])
def test_no_change_is_called_one_with_at_most_delta_over_every_run_of_its_horizon(limit, delta):
    state = Change(limit=limit, delta=delta, horizon=14)

    assert alarmed_share(state, limit, 14) <= delta
    assert alarmed_share(state, min(0.99, 6 * limit), 14) > alarmed_share(state, limit, 14)


@pytest.mark.parametrize("kind", [BrokenPromise, Change])
def test_long_runs_at_exactly_the_limit_raise_few_alarms(kind):
    limit, runs, length, rng = 0.05, 300, 3000, random.Random(7)
    alarms = sum(
        fed(kind(limit=limit), (float(rng.random() < limit) for _ in range(length))).is_alarm for _ in range(runs)
    )

    assert wilson(alarms, runs).low <= 0.05


def test_losses_that_depend_on_earlier_ones_raise_few_alarms_if_none_is_likelier_than_the_limit():
    """The limit bounds each loss given the past, so bursts within it are no reason for an alarm."""
    limit, runs, rng = 0.1, 300, random.Random(3)
    alarms = 0
    for _ in range(runs):
        state, last = BrokenPromise(limit=limit), 0.0
        for _ in range(1000):
            last = float(rng.random() < (limit if last or state.bet else limit / 4))
            state = state.after(last)
        alarms += state.is_alarm

    assert wilson(alarms, runs).low <= 0.05


@pytest.mark.parametrize(("limit", "raised", "most"), [(0.05, 0.15, 140), (0.02, 0.06, 330), (0.01, 0.03, 650)])
def test_a_rate_that_becomes_three_times_the_limit_is_noticed_in_time(limit, raised, most):
    rng, delays = random.Random(11), []
    for _ in range(201):
        state = fed(Change(limit=limit), (float(rng.random() < 0.6 * limit) for _ in range(300)))
        before = state.seen
        while not state.is_alarm:
            state = state.after(float(rng.random() < raised))
        delays.append(state.seen - before)

    assert sorted(delays)[len(delays) // 2] <= most * 1.15  # the benchmark measures the median with more runs


@given(RATES, LOSSES)
def test_the_wealth_is_never_negative_and_bets_stay_within_their_bounds(limit, losses):
    state = fed(BrokenPromise(limit=limit), losses)

    assert math.isfinite(state.log_wealth)
    assert 0 <= state.bet <= 0.5 / limit
    assert fed(Change(limit=limit), losses).total >= 0


@given(RATES, LOSSES, st.integers(0, 80))
def test_a_state_that_was_stored_goes_on_as_if_it_had_not_been(limit, losses, cut):
    for state in (BrokenPromise(limit=limit), Change(limit=limit)):
        stored = msgspec.json.encode(asdict(fed(state, losses[:cut])))
        read = msgspec.json.decode(stored, type=type(state))

        assert fed(read, losses[cut:]) == fed(state, losses)


@given(RATES, LOSSES)
def test_more_loss_is_never_less_evidence_of_a_change(limit, losses):
    assert fed(Change(limit=limit), [1.0] * len(losses)).total >= fed(Change(limit=limit), losses).total * (1 - 1e-12)


@given(RATES)
def test_a_bet_is_fair_and_cannot_lose_everything(limit):
    bet = fixed_bet(limit)

    assert 1 - bet * limit > 0
    assert limit * (1 + bet * (1 - limit)) + (1 - limit) * (1 - bet * limit) == pytest.approx(1)


def test_an_alarm_stays_and_says_when_it_was_raised():
    for state in (BrokenPromise(limit=0.05), Change(limit=0.05)):
        alarmed = fed(state, [1.0] * 40)
        assert alarmed.is_alarm
        assert alarmed.alarm_at is not None
        assert alarmed.alarm_at < 40
        later = fed(alarmed, [0.0] * 500)
        assert later.alarm_at == alarmed.alarm_at
        assert alarmed.evidence >= 1
        assert state.evidence <= 0
        assert fed(state, [1.0] * (alarmed.alarm_at - 1)).evidence < 1


def test_a_detector_that_sees_losses_for_ever_does_not_overflow():
    assert math.isfinite(fed(Change(limit=0.01), itertools.repeat(1.0, 5000)).total)


@pytest.mark.parametrize("kind", [BrokenPromise, Change])
@pytest.mark.parametrize("wrong", [{"limit": 0.0}, {"limit": 1.0}, {"limit": 0.1, "delta": 0.0}, {"limit": math.nan}])
def test_impossible_limits_are_refused(kind, wrong):
    with pytest.raises(ValueError, match="between 0 and 1"):
        kind(**wrong)


@pytest.mark.parametrize("loss", [-0.1, 1.1, math.nan])
def test_a_loss_outside_its_range_is_refused(loss):
    for state in (BrokenPromise(limit=0.1), Change(limit=0.1)):
        with pytest.raises(ValueError, match="from 0 to 1"):
            state.after(loss)


def test_a_horizon_without_observations_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Change(limit=0.1, horizon=0)
