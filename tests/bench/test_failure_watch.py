"""A run stops as soon as it is clear that its result will say nothing about a tier's answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_runs import manifest, record
from tierwise.bench.failure_watch import LEAST_REFUSED, LONGEST_STREAK, FailureWatch


def refused(number, why="logprobs is not supported"):
    return record(f"t{number}", "error", status=400, code="engine_refused", why=why, dollars=None)


def watched(*records, planned=1000):
    """The fault after each record."""
    watch = FailureWatch(manifest([f"t{number}" for number in range(planned)]))
    return [watch.fault(one) for one in records]


def test_a_run_whose_every_request_is_refused_stops_after_five():
    faults = watched(*(refused(number) for number in range(5)))
    assert faults[:4] == [""] * 4
    assert faults[4].startswith("fast: the server refused 5 of 5 requests. Most common: logprobs is not supported")


def test_a_share_of_refused_requests_stops_a_run_once_it_exceeds_two_percent_of_the_plan():
    some = [refused(number) if number % 3 == 0 else record(f"t{number}") for number in range(100)]
    faults = watched(*some, planned=500)
    assert next(number for number, fault in enumerate(faults) if fault) == 30


@given(st.integers(200, 2000))
def test_refusals_within_two_percent_of_the_plan_stop_nothing(planned):
    few = int(0.02 * planned)
    records = [record("t0"), *(refused(number) for number in range(1, few + 1))]
    assert not any(watched(*records, planned=planned))


def test_an_answer_of_another_tier_does_not_hide_refusals():
    watch = FailureWatch(manifest(["a"] * 100, ("fast", "both", 1), ("max", "both", 1)))
    faults = []
    for number in range(LEAST_REFUSED):
        assert not watch.fault(record(f"t{number}", tier="max"))
        faults.append(watch.fault(refused(number)))
    assert "fast: the server refused 5 of 5" in faults[-1]


@pytest.mark.parametrize(
    ("outcome", "code", "why"),
    [
        ("error", "engine_overloaded", "insufficient quota, request {}"),
        ("error", "engine_broken", "CUDA error at 0x{}"),
        ("no_answer", "context_length_exceeded", "the prompt has {} tokens; the context holds 512"),
    ],
)
def test_the_same_failure_of_twenty_actions_in_a_row_stops_a_run(outcome, code, why):
    records = [
        record(f"t{n}", outcome, status=429, code=code, why=why.format(n + 100), dollars=None) for n in range(20)
    ]
    faults = watched(*records)
    assert [bool(fault) for fault in faults] == [False] * (LONGEST_STREAK - 1) + [True]
    assert "20 actions in a row failed for the same reason" in faults[-1]


@pytest.mark.parametrize(
    "between",
    [record("x", "incorrect"), record("x", "no_answer", code="budget_exhausted"), record("x", "error", why="other")],
    ids=["an answer", "a budget that ran out", "another failure"],
)
def test_a_streak_is_interrupted_by_any_other_end(between):
    def broken(n):
        return record(f"t{n}", "error", code="engine_broken", why="gone")

    assert not any(watched(*(broken(n) for n in range(19)), between, *(broken(n) for n in range(19))))


def test_prompts_that_are_too_long_do_not_stop_a_tier_that_has_answered_others():
    long = [record(f"t{n}", "no_answer", code="context_length_exceeded") for n in range(50)]
    assert not any(watched(record("a"), *long))


def test_a_tier_that_always_runs_out_of_budget_is_measured_to_the_end():
    slow = [record(f"t{n}", "no_answer", code="budget_exhausted") for n in range(100)]
    assert not any(watched(*slow))
