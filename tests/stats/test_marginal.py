"""What the k-th pass is worth."""

from __future__ import annotations

import pytest

from tierwise.spec.errors import SpecError
from tierwise.stats.marginal import as_they_came, of_candidates, of_policy
from tierwise.stats.repeats import pass_at


def test_the_values_of_all_passes_add_up_to_what_they_solve_together():
    solved, candidates = [0, 1, 3, 8, 5, 2], [8] * 6
    total = sum(of_candidates(solved, candidates, k).value for k in range(1, 9))
    assert total == pytest.approx(pass_at(solved, candidates, 8).value)


def test_each_further_pass_is_worth_less():
    worth = [of_candidates([1, 2, 4, 6], [8] * 4, k).value for k in range(1, 9)]
    assert worth == sorted(worth, reverse=True)


def test_a_pass_beyond_the_candidates_has_no_value_that_anybody_knows():
    with pytest.raises(SpecError, match="between 1 and the 4 candidates"):
        of_candidates([1, 1], [8, 4], 5)
    assert of_candidates([], [], 1) is None


def test_a_worthless_pass_still_has_an_interval():
    found = of_candidates([8] * 20 + [0] * 20, [8] * 40, 2)
    assert found.value == 0
    assert found.interval.high > 0.01
    assert found.population == "tasks"


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
