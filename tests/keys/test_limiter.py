"""Which accounts the limits of a key and its team are counted in."""

from __future__ import annotations

from tierwise.keys.limiter import bounds_of, budgets_of
from tierwise.keys.records import Caller, Key, Limits, Team

OF_MODELS = Limits(max_budget=5, budget_duration="30d", model_max_budget={"max": 1, "fast": 2}, rpm_limit=3)


def caller(key: str, team: str) -> Caller:
    return Caller(key=Key(id=key, hashed="", limits=OF_MODELS), team=Team(name=team, limits=OF_MODELS))


def test_a_request_is_counted_in_its_rates_and_in_the_budgets_that_apply_to_its_model():
    found = [(one.kind, one.limit) for one in bounds_of(caller("k", "t"), "max")]
    dollars = [("dollars", 5 * 10**9), ("dollars", 10**9)]
    assert found == [("requests", 3), ("requests", 3), *dollars, *dollars]
    assert [one.limit for one in budgets_of(caller("k", "t"))] == [5 * 10**9, 10**9, 2 * 10**9] * 2


def test_no_two_limits_share_an_account_whatever_the_names_are():
    """Names of teams may have colons, so that one could spell out the account of another."""
    callers = [caller("k", name) for name in ("a", "a:max", "a:model:max", "a:max:30d", "a:rpm")]
    accounts = [
        bound.account
        for one in callers
        for bound in [*budgets_of(one), *bounds_of(one, "")]
        if bound.account.startswith("team:")
    ]
    assert len(set(accounts)) == 5 * 4  # a rate, the budget, and those of two models
