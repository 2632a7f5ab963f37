"""What is computed from records: who is in which denominator, and what is not known stays unknown."""

from __future__ import annotations

import pytest

from bench.runs import manifest, record, spent
from tierwise.bench.summary import summarise

MAX_ROWS = (("max", "average", 4), ("max", "max", 4))


def row_of(*records, tasks=None):
    names = tasks or [one.task for one in records]
    (row,) = summarise(manifest(names), records).rows
    return row


def test_infrastructure_errors_are_left_out_of_the_quality_and_counted_apart():
    row = row_of(record("a"), record("b", "fail"), record("c", "error", why="connection lost"))
    assert (row.quality.value, row.quality.n) == (0.5, 2)
    assert row.counts.errors == 1
    assert row.quality_errors_failed.value == pytest.approx(1 / 3)


def test_what_a_tier_could_not_answer_counts_against_it():
    row = row_of(record("a"), record("b", "no_answer"))
    assert row.quality.value == 0.5
    assert row.action.p50.n == 1, "there was no answer to wait for"


def test_tasks_without_a_record_were_not_run():
    summary = summarise(manifest(["a", "b", "c"]), [record("a")])
    assert summary.rows[0].counts.not_run == 2
    assert summary.is_partial
    assert not summarise(manifest(["a"]), [record("a")]).is_partial


def test_a_row_without_records_knows_nothing():
    row = row_of(tasks=["a"])
    assert (row.quality, row.dollars, row.dollars_per_solved, row.passes, row.action.p50) == (None,) * 5


def test_every_pass_is_paid_for_and_totals_are_shared_among_what_was_solved():
    row = row_of(
        record("a", passes=[spent(dollars=1.0), spent(outcome="aborted", dollars=0.5)]),
        record("b", "fail", passes=[spent(dollars=2.5)]),
    )
    assert row.passes == 1.5
    assert row.dollars.value == 2.0
    assert row.dollars_per_solved.value == 4.0
    assert row.tokens_per_solved == 60


def test_nothing_solved_has_no_price():
    row = row_of(record("a", "fail"), record("b", "fail"))
    assert row.dollars.value == pytest.approx(0.001)
    assert row.dollars_per_solved is None
    assert row.tokens_per_solved is None


def test_actions_whose_cost_nobody_told_are_in_no_mean():
    row = row_of(record("a"), record("b", "no_answer", dollars=None, passes=[]))
    assert row.untold == 1
    assert row.dollars.value == pytest.approx(0.001)


def test_two_percent_of_errors_are_borne_and_more_are_not():
    records = [record(f"t{number}") for number in range(98)]
    names = [f"t{number}" for number in range(100)]
    errors = [record("t98", "error", why="x"), record("t99", "error", why="x")]
    assert not summarise(manifest(names), records + errors).has_too_many_errors
    worse = summarise(manifest(names), [*records[:97], record("t97", "error", why="y"), *errors])
    assert worse.has_too_many_errors
    assert worse.errors == {"x": 2, "y": 1}


def both_modes(*outcomes):
    """Records of a tier in both modes; outcomes are (average, max) of each task."""
    names = [f"t{number}" for number in range(len(outcomes))]
    records = [
        record(name, outcome, tier="max", mode=mode, passes=[spent(dollars=0.001 * (4 if mode == "max" else 1))])
        for name, pair in zip(names, outcomes, strict=True)
        for mode, outcome in zip(("average", "max"), pair, strict=True)
    ]
    return summarise(manifest(names, *MAX_ROWS), records)


def test_extra_passes_that_helped_are_told_from_luck():
    (gain,) = both_modes(*[("fail", "pass")] * 8, *[("pass", "pass")] * 12).gains
    assert (gain.only_max, gain.only_average, gain.both, gain.neither) == (8, 0, 12, 0)
    assert gain.verdict == "better"
    assert gain.quality.interval.low > 0
    assert gain.dollars.value == pytest.approx(0.003)


def test_a_lead_that_luck_explains_is_no_difference():
    (gain,) = both_modes(*[("fail", "pass")] * 3, ("pass", "fail"), *[("pass", "pass")] * 16).gains
    assert gain.verdict == "no difference shown"
    assert gain.p_value == pytest.approx(0.625)


def test_extra_passes_may_do_harm():
    (gain,) = both_modes(*[("pass", "fail")] * 10, *[("fail", "fail")] * 10).gains
    assert gain.verdict == "worse"
    assert gain.quality.value == -0.5


def test_only_tasks_that_were_graded_in_both_modes_are_compared():
    (gain,) = both_modes(("pass", "error"), ("error", "pass"), ("fail", "pass")).gains
    assert gain.quality.n == 1


def test_modes_without_a_common_task_are_not_compared():
    assert both_modes(("pass", "error")).gains == []


def test_tags_have_rows_of_their_own():
    records = [
        record("a", tags=["sums", "easy"]),
        record("b", "fail", tags=["sums"]),
        record("c", "error", tags=["sums"], why="lost"),
    ]
    tags = summarise(manifest(["a", "b", "c"]), records).tags
    assert [(line.tag, line.passed, line.quality.n) for line in tags] == [("easy", 1, 1), ("sums", 1, 2)]


def test_the_bill_says_which_role_and_outcome_took_which_share():
    passes = [
        spent("vote", dollars=0.5),
        spent("vote", "aborted", dollars=0.25),
        spent("critique", dollars=0.25),
    ]
    bill = summarise(manifest(["a"]), [record("a", passes=passes)]).bill
    assert {(line.role, line.outcome): line.share for line in bill} == {
        ("vote", "finished"): 0.5,
        ("vote", "aborted"): 0.25,
        ("critique", "finished"): 0.25,
    }


def test_a_bill_without_prices_has_no_shares():
    (line,) = summarise(manifest(["a"]), [record("a", passes=[spent(dollars=0.0)])]).bill
    assert (line.dollars, line.share) == (0, None)
