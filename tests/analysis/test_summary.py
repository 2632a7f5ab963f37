"""What is computed from records: who is in which denominator, and what is not known stays unknown."""

from __future__ import annotations

import pytest
from msgspec import structs

from fake_runs import manifest, record, spent, task
from tierwise.analysis.summary import design_of, summarise
from tierwise.bench.grading import JudgeSpend

MAX_ROWS = (("max", "average", 4), ("max", "max", 4))


def row_of(*records, tasks=None):
    names = tasks or [one.task for one in records]
    (row,) = summarise(manifest(names), records).rows
    return row


def test_infrastructure_errors_are_left_out_of_the_quality_and_counted_apart():
    row = row_of(record("a"), record("b", "incorrect"), record("c", "error", why="connection lost"))
    assert (row.quality.value, row.quality.n) == (0.5, 2)
    assert row.counts.errors == 1
    assert row.quality_errors_failed.value == pytest.approx(1 / 3)


def test_what_a_tier_could_not_answer_counts_against_it():
    row = row_of(record("a"), record("b", "no_answer"))
    assert row.quality.value == 0.5
    assert row.action.n == 1, "there was no answer to wait for"


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
        record("b", "incorrect", passes=[spent(dollars=2.5)]),
    )
    assert row.passes == 1.5
    assert row.dollars.value == 2.0
    assert row.dollars_per_solved.value == 4.0
    assert row.tokens_per_solved == 60


def test_nothing_solved_has_no_price():
    row = row_of(record("a", "incorrect"), record("b", "incorrect"))
    assert row.dollars.value == pytest.approx(0.001)
    assert row.dollars_per_solved is None
    assert row.tokens_per_solved is None


def test_actions_whose_cost_nobody_told_are_in_no_mean():
    row = row_of(record("a"), record("b", "no_answer", dollars=None, passes=[]))
    assert row.unreported == 1
    assert row.dollars.value == pytest.approx(0.001)


def test_two_percent_of_errors_are_borne_and_more_are_not():
    records = [record(f"t{number}") for number in range(98)]
    names = [f"t{number}" for number in range(100)]
    errors = [record("t98", "error", why="x"), record("t99", "error", why="x")]
    assert not summarise(manifest(names), records + errors).has_too_many_errors
    worse = summarise(manifest(names), [*records[:97], record("t97", "error", why="y"), *errors])
    assert worse.has_too_many_errors
    assert worse.errors == {"x": 2, "y": 1}


def both_modes(*outcomes, spread=0.0):
    """Records of a tier in both modes; outcomes are (average, max) of each task, and max costs ever more of them."""
    names = [f"t{number}" for number in range(len(outcomes))]
    records = [
        record(
            name,
            outcome,
            tier="max",
            mode=mode,
            passes=[spent(dollars=0.004 + spread * number if mode == "max" else 0.001)],
        )
        for number, (name, pair) in enumerate(zip(names, outcomes, strict=True))
        for mode, outcome in zip(("average", "max"), pair, strict=True)
    ]
    return summarise(manifest(names, *MAX_ROWS), records)


def test_extra_passes_that_helped_are_told_from_luck():
    (gain,) = both_modes(*[("incorrect", "correct")] * 8, *[("correct", "correct")] * 12).gains
    table = gain.contrast
    assert (table.only_row, table.only_base, table.both, table.neither) == (8, 0, 12, 0)
    assert gain.verdict == "better"
    assert table.quality.interval.low > 0
    assert gain.dollars.value == pytest.approx(0.003)


def test_a_lead_that_luck_explains_is_no_difference():
    outcomes = [("incorrect", "correct")] * 3 + [("correct", "incorrect")] + [("correct", "correct")] * 16
    (gain,) = both_modes(*outcomes).gains
    assert gain.verdict == "no difference shown"
    assert gain.contrast.p_value == pytest.approx(0.625)


def test_extra_passes_may_do_harm():
    (gain,) = both_modes(*[("correct", "incorrect")] * 10, *[("incorrect", "incorrect")] * 10).gains
    assert gain.verdict == "worse"
    assert gain.contrast.quality.value == -0.5


def test_only_tasks_that_were_graded_in_both_modes_are_compared():
    (gain,) = both_modes(("correct", "error"), ("error", "correct"), ("incorrect", "correct")).gains
    assert gain.contrast.quality.n == 1


def test_modes_without_a_common_task_are_not_compared():
    assert both_modes(("correct", "error")).gains == []


def test_tags_have_rows_of_their_own():
    records = [
        record("a", tags=["sums", "easy"]),
        record("b", "incorrect", tags=["sums"]),
        record("c", "error", tags=["sums"], why="lost"),
    ]
    tags = summarise(manifest(["a", "b", "c"]), records).tags
    assert [(line.tag, line.correct, line.quality.n) for line in tags] == [("easy", 1, 1), ("sums", 1, 2)]


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


def times(name, letters, **more):
    """Records of one task asked again and again: `+` passes, `-` fails."""
    words = {"+": "correct", "-": "incorrect"}
    return [record(name, words[letter], repeat=number, **more) for number, letter in enumerate(letters)]


def asked_again(*letters, rows=(("fast", "both", 1),), **more):
    names = [f"t{number}" for number in range(len(letters))]
    plan = manifest(names, *rows)
    settings = structs.replace(plan.settings, repeats=max(map(len, letters)))
    records = [one for name, these in zip(names, letters, strict=True) for one in times(name, these, **more)]
    return summarise(structs.replace(plan, settings=settings), records)


def width(estimate):
    return estimate.interval.high - estimate.interval.low


def test_repeats_of_a_task_are_no_new_tasks():
    alike = asked_again(*["++++", "----"] * 10).rows[0].quality
    alone = (
        summarise(
            manifest([f"t{number}" for number in range(80)]),
            [record(f"t{number}", "correct" if number % 2 else "incorrect") for number in range(80)],
        )
        .rows[0]
        .quality
    )
    assert (alike.value, alone.value, alike.n) == (0.5, 0.5, 20)
    assert width(alike) > 1.8 * width(alone)


def test_repeats_say_how_often_any_and_all_of_them_solve_a_task():
    row = asked_again("++", "+-", "--", "-+").rows[0]
    assert (row.any_of.value, row.all_of.value) == (0.75, 0.25)
    assert summarise(manifest(["a"]), [record("a")]).rows[0].any_of is None


def test_what_these_very_tasks_would_do_again_is_told_from_ten_repeats_on():
    again = asked_again(*["+-" * 5] * 6).rows[0].quality_again
    assert (again.population, again.value) == ("repeats", 0.5)
    assert asked_again(*["+-" * 4] * 6).rows[0].quality_again is None


@pytest.mark.parametrize(("tasks", "p95", "p99"), [(71, False, False), (72, True, False), (368, True, True)])
def test_percentiles_are_shown_from_as_many_tasks_on_as_an_interval_needs(tasks, p95, p99):
    names = [f"t{number}" for number in range(tasks)]
    row = summarise(manifest(names), [record(name, seconds=float(at)) for at, name in enumerate(names)]).rows[0]
    assert (row.action.p95 is not None, row.action.p99 is not None) == (p95, p99)


def test_asking_the_same_tasks_more_often_shows_no_further_percentile():
    row = asked_again(*["++++"] * 30).rows[0]
    assert row.action.n == 120
    assert (row.action.p50.n <= 30, row.action.p95) == (True, None)


def weighed(weights, *outcomes):
    names = [f"t{number}" for number in range(len(outcomes))]
    records = [
        record(name, outcome, seconds=float(number), passes=[spent(dollars=1.0 + number)])
        for number, (name, outcome) in enumerate(zip(names, outcomes, strict=True))
    ]
    tasks = [task(name, weight=weight) for name, weight in zip(names, weights, strict=True)]
    return summarise(manifest(names), records, tasks)


def test_a_task_counts_as_many_times_as_its_weight_says():
    summary = weighed([3, 1, 1, 1], "correct", "incorrect", "incorrect", "incorrect")
    (row,) = summary.rows
    assert summary.is_weighted
    assert row.quality.value == pytest.approx(0.5)
    assert row.dollars.value == pytest.approx((3 * 1 + 2 + 3 + 4) / 6)
    assert row.dollars_per_solved.value == pytest.approx((3 * 1 + 2 + 3 + 4) / 3)
    assert row.counts.correct == 1, "counts are what was measured"


def test_weights_that_are_all_the_same_change_nothing():
    outcomes = ["correct", "incorrect", "incorrect", "correct", "correct", "correct", "incorrect"]
    even, plain = weighed([7] * 7, *outcomes), weighed([1] * 7, *outcomes)
    assert even.rows == plain.rows
    assert not even.is_weighted


def test_unequal_weights_widen_what_is_known():
    outcomes = ["correct", "incorrect"] * 30
    assert width(weighed([1, 1, 1, 1, 9] * 12, *outcomes).rows[0].quality) > width(
        weighed([1] * 60, *outcomes).rows[0].quality
    )


def test_tasks_of_clusters_speak_for_new_clusters_where_every_task_names_its_own():
    names = [f"t{number}" for number in range(40)]
    records = [record(name, "correct" if number // 4 % 2 else "incorrect") for number, name in enumerate(names)]
    tasks = [task(name, cluster=f"c{number // 4}") for number, name in enumerate(names)]
    summary = summarise(manifest(names), records, tasks)
    (row,) = summary.rows
    assert (summary.population, summary.clusters, row.quality.population, row.quality.n) == (
        "clusters",
        10,
        "clusters",
        10,
    )
    half = summarise(manifest(names), records, [*tasks[1:], task("t0")])
    assert half.population == half.rows[0].quality.population == "tasks"


def drawn(*verdicts, tier="max", answered=None, dollars=1.0, most=4):
    """A max-mode run; of each task, the verdicts on its candidates as they came: `+` right, `-` wrong, `x` aborted."""
    names = [f"t{number}" for number in range(len(verdicts))]
    records = [
        record(
            name,
            "correct" if (letters[0] == "+" if answered is None else answered[at] == "+") else "incorrect",
            tier=tier,
            mode="max",
            passes=[
                structs.replace(
                    spent(outcome="aborted" if letter == "x" else "finished", dollars=dollars),
                    number=number,
                    started=float(number),
                    solved={"+": True, "-": False}.get(letter),
                )
                for number, letter in enumerate(letters)
            ],
        )
        for at, (name, letters) in enumerate(zip(names, verdicts, strict=True))
    ]
    return summarise(manifest(names, (tier, "max", most)), records)


def test_coverage_is_any_candidate_and_selected_the_one_that_was_answered():
    (selection,) = drawn("--+-", "----", "+---", "-+-+", answered="--++").selections
    assert (selection.coverage.value, selection.selected.value, selection.missed.value) == (0.75, 0.5, 0.25)
    assert selection.over_first.value == 0.25


def test_each_pass_is_worth_what_no_earlier_one_found_and_costs_its_share_of_the_bill():
    (selection,) = drawn("--+-", "----", "+---", "-+-+").selections
    assert [line.found.value for line in selection.lines] == [0.25, 0.25, 0.25, 0.0]
    assert [line.share for line in selection.lines] == [0.25] * 4
    assert sum(line.found.value for line in selection.lines) == pytest.approx(selection.coverage.value)


def test_aborted_passes_are_on_the_bill_and_no_candidates():
    (selection,) = drawn("+xxx", "-+xx").selections
    assert [line.actions for line in selection.lines] == [2, 1]
    assert (selection.other_dollars, selection.other_share) == (5.0, 0.625)


def test_candidates_of_a_policy_that_stops_early_are_not_exchangeable():
    assert drawn("+xxx", "--+x").selections[0].pass_at == []
    whole = drawn("+---", "----", "++--", "++++").selections[0].pass_at
    assert [one.value for one in whole] == pytest.approx(
        [(1 + 0 + 2 + 4) / 16, (0.5 + 0 + 5 / 6 + 1) / 4, 0.6875, 0.75]
    )


def test_an_action_whose_candidate_could_not_be_graded_is_in_no_coverage():
    (selection,) = drawn("+?--", "+---").selections
    assert (selection.actions, selection.unknown) == (1, 1)
    assert drawn("????").selections == []


def test_records_of_older_runs_know_no_candidates():
    summary = summarise(manifest(["a"], ("max", "max", 4)), [record("a", tier="max", mode="max")])
    assert (summary.selections, summary.oracle) == ([], None)


def test_a_perfect_choice_may_take_any_rows_candidate():
    rows = (("fast", "both", 1), ("max", "max", 2))
    wrong_but_held = [structs.replace(spent(), solved=False), structs.replace(spent(), solved=True)]
    records = [
        record("a", "correct"), record("a", "incorrect", tier="max", mode="max"),
        record("b", "incorrect"), record("b", "incorrect", tier="max", mode="max", passes=wrong_but_held),
        record("c", "incorrect"), record("c", "incorrect", tier="max", mode="max"),
        record("d", "correct"), record("d", "error", tier="max", mode="max", why="lost"),
    ]  # fmt: skip
    oracle = summarise(manifest(["a", "b", "c", "d"], *rows), records).oracle
    assert (oracle.actions, oracle.solved.value) == (3, pytest.approx(2 / 3))


def test_a_dollar_and_a_second_more_buy_so_many_points():
    gain = both_modes(*[("incorrect", "correct")] * 8, *[("correct", "correct")] * 12, spread=0.0001).gains[0]
    assert gain.per_dollar.value == pytest.approx(0.4 / gain.dollars.value)
    assert gain.per_dollar.interval.low > 0


def test_seconds_that_are_no_more_than_zero_buy_nothing_that_anybody_knows():
    gain = both_modes(*[("incorrect", "correct")] * 8, *[("correct", "correct")] * 12).gains[0]
    assert (gain.seconds.value, gain.per_second) == (0, None)


def test_every_tier_is_held_against_the_first_with_holms_p_values():
    names = [f"t{number}" for number in range(12)]
    tiers = {"fast": "------------", "mid": "++++++++----", "max": "++++++++++--"}
    records = [
        record(name, "correct" if letter == "+" else "incorrect", tier=tier)
        for tier, letters in tiers.items()
        for name, letter in zip(names, letters, strict=True)
    ]
    summary = summarise(manifest(names, *((tier, "both", 1) for tier in tiers)), records)
    mid, most = summary.against_first
    assert (mid.base, mid.row, most.row) == ("fast", "mid", "max")
    assert (mid.adjusted, most.adjusted) == (mid.p_value, 2 * most.p_value)


def test_kinds_of_tasks_are_scanned_with_benjamini_and_hochbergs_p_values():
    names = [f"t{number}" for number in range(20)]
    records = [
        record(
            name,
            "correct" if tier == "max" and number < 10 else "incorrect",
            tier=tier,
            tags=["ab"[number // 10], "cluster:x"],
        )
        for tier in ("fast", "max")
        for number, name in enumerate(names)
    ]
    kinds = {one.tag: one for one in summarise(manifest(names, ("fast", "both", 1), ("max", "both", 1)), records).kinds}
    assert kinds.keys() == {"a", "b"}
    assert (kinds["a"].verdict, kinds["b"].verdict) == ("better", "no difference shown")
    assert kinds["a"].adjusted == 2 * kinds["a"].p_value


def test_a_row_that_another_beats_in_everything_is_not_on_the_frontier():
    names = [f"t{number}" for number in range(20)]
    records = [record(name, tier="good", seconds=1.0, passes=[spent(dollars=0.1)]) for name in names]
    records += [record(name, "incorrect", tier="bad", seconds=2.0, passes=[spent(dollars=0.2)]) for name in names]
    good, bad = summarise(manifest(names, ("good", "both", 1), ("bad", "both", 1)), records).rows
    assert (good.on_frontier, bad.on_frontier) == (1.0, 0.0)
    few = summarise(manifest(names[:5], ("good", "both", 1), ("bad", "both", 1)), records[:5] + records[20:25]).rows
    assert few[0].on_frontier is None, "five tasks cannot be resampled"


def test_judges_are_paid_apart():
    judge = JudgeSpend(tier="max", actions=2, dollars=0.5, prompt_tokens=1, completion_tokens=1, seconds=0.1)
    row = row_of(record("a", judge=judge), record("b", judge=structs.replace(judge, dollars=None)))
    assert (row.judged, row.judge_dollars, row.dollars.value) == (4, None, pytest.approx(0.001))


def test_figures_that_were_taken_from_a_candidate_are_counted():
    row = row_of(record("a", taken="candidate"), record("b"))
    assert (row.from_candidate, row.counts.measured) == (1, 2)


def test_a_task_without_a_cluster_makes_all_tasks_stand_alone():
    tasks = [task("a", cluster="x"), task("b", cluster="y")]
    assert design_of(["a", "b"], tasks, []).population == "clusters"
    assert design_of(["a", "b", "c"], [*tasks, task("c")], []).population == "tasks"
    assert design_of(["a", "b"], [tasks[0], task("b", cluster="x")], []).population == "tasks", "one cluster is none"


def test_clusters_of_runs_from_elsewhere_stand_in_the_tags_of_their_records():
    records = [record("a", tags=["cluster:x"]), record("b", tags=["cluster:y"])]
    assert design_of(["a", "b"], [], records).population == "clusters"
