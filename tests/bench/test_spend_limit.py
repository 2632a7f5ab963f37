"""Spend limits: no trial starts that would exceed them."""

from __future__ import annotations

import asyncio

import pytest

from fake_runs import record, task
from tierwise.bench.schedule import Trial
from tierwise.bench.spend_limit import SpendLimit
from tierwise.runs.records import TierVariant
from tierwise.spec.errors import TierwiseError
from tierwise.testing import frozen

FAST, MAX = TierVariant(tier="fast", mode="both"), TierVariant(tier="max", mode="max")


def trials(number, variant=FAST):
    return [Trial(task=task(f"t{one}"), variant=variant, seed=1) for one in range(number)]


def run(limit, trials, dollars=0.25, skip=0.0):
    """Run the trials in sequence; returns how many were handed out."""

    async def main():
        asked = 0
        for trial in limit.hand_out(trials):
            asked += 1
            asyncio.get_running_loop().skip(skip)
            limit.pay(trial, record(trial.task.id, dollars=dollars))
        return asked

    return frozen(main())


def test_a_run_stops_before_it_exceeds_its_dollars():
    limit = SpendLimit(dollars=1.1)
    assert run(limit, trials(10)) == 4
    assert limit.spent == pytest.approx(1.0)
    assert limit.stopped == "the next action would exceed $1.1; spent so far: $1"


def test_what_earlier_sessions_spent_counts():
    assert run(SpendLimit(dollars=1.1, spent=0.6), trials(10)) == 2


def test_running_trials_are_expected_to_cost_their_variants_mean():
    limit = SpendLimit(dollars=3.0)

    async def main():
        waiting = limit.hand_out(trials(2, MAX) + trials(1) + trials(9, MAX))
        for _ in range(3):
            trial = next(waiting)
            limit.pay(trial, record("a", dollars=1.0 if trial.variant == MAX else 0.01))
        return len(list(waiting))

    assert frozen(main()) == 0  # a third max action would make it $3.01
    assert limit.spent == pytest.approx(2.01)


def test_no_action_starts_after_the_time_limit():
    limit = SpendLimit(minutes=0.5)
    assert run(limit, trials(10), skip=8.0) == 4
    assert limit.stopped == "the time limit of 0.5 minutes is reached"


def test_without_a_limit_every_trial_is_handed_out():
    limit = SpendLimit()
    assert run(limit, trials(10), dollars=1e9) == 10
    assert limit.stopped == ""


def test_a_dollar_limit_without_reported_costs_is_an_error():
    with pytest.raises(TierwiseError, match="does not report what an action costs"):
        run(SpendLimit(dollars=1.0), trials(2), dollars=None)
