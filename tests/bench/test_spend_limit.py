"""Budgets: nothing is begun that would go beyond them."""

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


def run(purse, trials, dollars=0.25, skip=0.0):
    """Attend to one trial after the other; how many were."""

    async def main():
        asked = 0
        for trial in purse.hand_out(trials):
            asked += 1
            asyncio.get_running_loop().skip(skip)
            purse.pay(trial, record(trial.task.id, dollars=dollars))
        return asked

    return frozen(main())


def test_a_run_stops_before_its_dollars_are_gone_and_says_so():
    purse = SpendLimit(dollars=1.1)
    assert run(purse, trials(10)) == 4
    assert purse.spent == pytest.approx(1.0)
    assert purse.stopped == "the next action would spend more than $1.1; spent: $1"


def test_what_earlier_sessions_spent_counts():
    assert run(SpendLimit(dollars=1.1, spent=0.6), trials(10)) == 2


def test_what_is_under_way_is_expected_to_cost_what_others_of_its_kind_did():
    purse = SpendLimit(dollars=3.0)

    async def main():
        waiting = purse.hand_out(trials(2, MAX) + trials(1) + trials(9, MAX))
        for _ in range(3):
            trial = next(waiting)
            purse.pay(trial, record("a", dollars=1.0 if trial.variant == MAX else 0.01))
        return len(list(waiting))

    assert frozen(main()) == 0  # a third max action would make it $3.01
    assert purse.spent == pytest.approx(2.01)


def test_no_action_begins_when_the_minutes_are_over():
    purse = SpendLimit(minutes=0.5)
    assert run(purse, trials(10), skip=8.0) == 4
    assert purse.stopped == "0.5 minutes are over"


def test_without_a_budget_everything_is_asked():
    purse = SpendLimit()
    assert run(purse, trials(10), dollars=1e9) == 10
    assert purse.stopped == ""


def test_a_budget_that_nobody_can_keep_is_refused_instead_of_ignored():
    with pytest.raises(TierwiseError, match="does not tell what an action costs"):
        run(SpendLimit(dollars=1.0), trials(2), dollars=None)
