"""What the k-th pass is worth."""

from __future__ import annotations

from tierwise.stats.marginal import as_they_came, of_policy


def test_a_policy_may_lose_by_a_pass():
    second, third = of_policy([[True, False, True]] * 5 + [[False, False, True]] * 15)
    assert second.value == -0.25
    assert second.interval.high < 0
    assert third.value == 1
    assert of_policy([]) == []


def test_passes_are_worth_what_no_earlier_one_had_right():
    found = as_they_came([[False, True, True], [True], [False, False], []])
    assert [one.value for one in found] == [0.25, 0.25, 0.0]
    assert all(one.interval.low >= 0 for one in found)
    assert as_they_came([]) == []
