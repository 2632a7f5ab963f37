"""Two runs on the same tasks: denominators, the population that the intervals describe, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from fake_runs import record, spent
from tierwise.analysis import compare
from tierwise.analysis.arms import arms, choose, matched
from tierwise.analysis.pairs import pair
from tierwise.report import comparing
from tierwise.spec.errors import NotFound, SpecError
from tierwise.stats import paired_effects
from written_runs import names, outcomes, run


@pytest.fixture
def compared(tmp_path):
    """Compares two lists of records, or two strings of outcomes."""

    def of(base, other, *, common=False, population=None, tasks=(), repeats=1):
        made = [outcomes(records) if isinstance(records, str) else records for records in (base, other)]
        paths = [
            run(tmp_path / name, records, tasks=tasks, repeats=repeats)
            for name, records in zip("ab", made, strict=True)
        ]
        (a,), (b,) = (arms(path) for path in paths)
        return compare.compare(pair(a, b, common=common), population)

    return of


def test_a_change_is_the_second_run_minus_the_first(compared):
    found = compared("+" * 10 + "-" * 10, "+" * 9 + "-" * 2 + "+" * 9)
    assert (found.both, found.only_base, found.only_other, found.neither) == (9, 1, 9, 1)
    assert found.quality.tasks.value == pytest.approx(0.4)
    assert found.verdict == "better"


def test_tasks_that_changed_sides_are_named(compared):
    found = compared("++--", "+-+-")
    assert (found.gained, found.lost) == (["t0002"], ["t0001"])


def test_a_lead_that_luck_explains_is_no_difference(compared):
    assert compared("+" * 10 + "-" * 10, "+" * 11 + "-" * 9).verdict == "no difference shown"


def test_infrastructure_errors_are_left_out_and_counted_as_failures(compared):
    found = compared("++++", "+++!")
    assert (found.quality.tasks.value, found.quality.tasks.n, found.errors_other) == (0.0, 3, 1)
    assert found.quality_errors_failed.value == -0.25


def test_answers_without_a_check_are_in_no_figure_of_quality(compared):
    found = compared("++??!", "+-??+")
    assert (found.both, found.only_base, found.only_other, found.neither, found.unchecked) == (1, 1, 0, 0, 2)
    assert (found.base_quality.value, found.other_quality.value, found.base_quality.n) == (1.0, 0.5, 2)
    assert found.quality_errors_failed.n == 3
    assert found.lost == ["t0001"]


def test_an_answer_with_a_check_in_one_run_only_is_not_compared(compared):
    assert compared("++", "+?").unchecked == 1


def test_runs_without_any_check_have_no_verdict(compared):
    found = compared("???", "???")
    assert (found.verdict, found.quality, found.base_quality, found.p_value) == ("no check", None, None, None)
    assert (found.unchecked, found.gained, found.lost) == (3, [], [])


def test_more_than_two_percent_not_run_is_refused(compared):
    with pytest.raises(SpecError, match=r"3 of 100 tasks were not run in both .*3 not in b.*--common"):
        compared("+" * 100, "+" * 97 + "...", tasks=names(100))


def test_two_percent_not_run_is_borne_and_told(compared):
    found = compared("+" * 100, "+" * 98 + "..", tasks=names(100))
    assert (found.not_run_base, found.not_run_other, found.planned) == (0, 2, 100)


def test_tasks_in_common_are_compared_on_request(compared):
    assert compared("+" * 100, "+" * 50, common=True).both == 50


def test_runs_without_a_common_task_are_refused(compared):
    with pytest.raises(SpecError, match="no task in common: t0000, … and x"):
        compared("+", [record("x")])


def test_runs_that_ended_in_nothing_but_errors_are_refused(compared):
    with pytest.raises(SpecError, match="all ended in errors"):
        compared("++", "!!")


def test_first_outputs_are_compared_where_both_runs_know_them(compared):
    base = [record(name, first_output=0.2 + n % 3 / 10) for n, name in enumerate(names(40))]
    other = [record(name, first_output=None if n % 4 == 0 else 0.5 + n % 3 / 10) for n, name in enumerate(names(40))]
    found = compared(base, other)
    assert found.first_output.difference.tasks.value == pytest.approx(0.3)
    assert found.first_output.difference.tasks.n == 30
    assert found.without_first_output == 10
    assert ("first output, mean", "300 ms", "600 ms", "+300 ms") in [row[:4] for row in comparing.changes(found).rows]
    assert "not known for 10 pairs that have seconds" in " ".join(comparing.notes(found))


def test_runs_that_do_not_know_first_outputs_are_not_compared_in_them(compared):
    found = compared(*([record(name, first_output=first) for name in names(40)] for first in (0.2, None)))
    assert (found.first_output, found.without_first_output) == (None, 40)
    assert "first output" not in str(comparing.changes(found).rows) + " ".join(comparing.notes(found))


def test_seconds_and_dollars_are_compared_on_the_same_actions(compared):
    base = [record(name, seconds=1.0 + n % 3, passes=[spent(dollars=0.001)]) for n, name in enumerate(names(40))]
    other = [record(name, seconds=2.0 + n % 3, passes=[spent(dollars=0.003)]) for n, name in enumerate(names(40))]
    found = compared(base, other)
    assert found.seconds.difference.tasks.value == pytest.approx(1.0)
    assert found.seconds.ratio.value == pytest.approx(1.5, rel=0.02)
    assert (found.p50.value, found.p95.value, found.p95.interval) == (1.0, 1.0, None)
    assert found.dollars.ratio.value == pytest.approx(3.0)


def test_costs_that_nobody_told_are_in_no_figure(compared):
    found = compared([record("a"), record("b", dollars=None)], [record("a"), record("b")])
    assert found.unreported == 1
    assert found.dollars.difference.tasks.n == 1


def clustered(letters, size):
    return [
        record(one.task, one.outcome, tags=[f"cluster:c{number // size}"])
        for number, one in enumerate(outcomes(letters))
    ]


def test_tasks_that_come_in_clusters_are_judged_by_clusters(compared):
    base = clustered("-" * 60, 10)
    other = clustered("+" * 20 + "-" * 40, 10)
    found = compared(base, other)
    assert (found.population, found.clusters) == ("clusters", 6)
    narrow, wide = found.quality.tasks.interval, found.quality.clusters.interval
    assert wide.low < 0 < narrow.low
    assert found.verdict == "no difference shown"


def test_the_population_of_tasks_can_be_requested_despite_clusters(compared):
    found = compared(clustered("-" * 60, 10), clustered("+" * 20 + "-" * 40, 10), population="tasks")
    assert (found.population, found.verdict) == ("tasks", "better")


def test_clusters_cannot_be_requested_where_tasks_have_none(compared):
    with pytest.raises(SpecError, match="has no clusters to estimate for"):
        compared("++", "+-", population="clusters")


def test_clusters_are_read_from_the_workload_beside_the_run(tmp_path):
    path = run(tmp_path / "a", outcomes("+-+-"))
    lines = [json.dumps({"id": name, "cluster": f"book {number % 2}"}) for number, name in enumerate(names(4))]
    (path / "workload.jsonl").write_text("\n".join(lines) + "\n")
    (side,) = arms(path)
    assert compare.compare(pair(side, side)).clusters == 2


def test_repeats_of_a_task_are_no_tasks_of_their_own(compared):
    def asked(*letters):
        return [record(one.task, one.outcome, repeat=n) for n, row in enumerate(letters) for one in outcomes(row)]

    base, other = asked("-" * 20, "-" * 20), asked("+" * 6 + "-" * 14, "+" * 6 + "-" * 14)
    found = compared(base, other, repeats=2)
    assert (found.planned, found.population, found.quality.tasks.n) == (40, "tasks", 20)
    assert found.gained == names(6)


def test_a_folder_without_a_run_is_told_what_is_wanted(tmp_path):
    with pytest.raises(NotFound, match=r"is not a run: it has no manifest.json; give a folder that"):
        arms(tmp_path)


def test_a_run_without_records_is_refused(tmp_path):
    with pytest.raises(SpecError, match="has no records"):
        arms(run(tmp_path / "a", [], tasks=["t"], rows=(("fast", "both", 1),)))


def test_a_record_that_cannot_be_read_is_named_by_its_line(tmp_path):
    path = run(tmp_path / "a", outcomes("++"))
    with (path / "records.jsonl").open("a") as file:
        file.write('{"task": 3}\n')
    with pytest.raises(SpecError, match=r"records.jsonl:3"):
        arms(path)


def both_modes(path):
    return run(path, [*outcomes("+-", tier="max", mode="average"), *outcomes("++", tier="max", mode="max")])


def test_a_tier_that_is_not_there_is_met_with_those_that_are(tmp_path):
    with pytest.raises(SpecError, match=r"no tier or route 'mx'; did you mean 'max'"):
        choose(arms(both_modes(tmp_path / "a")), "mx")


def test_a_mode_that_was_not_measured_is_met_with_the_rows_that_were(tmp_path):
    with pytest.raises(SpecError, match=r"not measured in mode 'max'; its rows: fast · average"):
        choose(arms(run(tmp_path / "a", outcomes("+", mode="average"))), mode="max")


def test_rows_are_matched_by_tier_and_mode_and_always_named_with_both(tmp_path):
    rows = arms(both_modes(tmp_path / "a")), arms(both_modes(tmp_path / "b"))
    found = matched(*rows)
    assert [(one.name, two.name) for one, two in found] == [
        ("a · max (average: 1 pass)", "b · max (average: 1 pass)"),
        ("a · max (max: ≤ 4 passes)", "b · max (max: ≤ 4 passes)"),
    ]


def test_rows_that_do_not_match_must_be_named(tmp_path):
    other = run(tmp_path / "b", [*outcomes("+", tier="x"), *outcomes("+", tier="y")])
    with pytest.raises(SpecError, match="Name one row of each"):
        matched(arms(both_modes(tmp_path / "a")), arms(other))


def test_the_ratio_has_fiellers_interval():
    chance = np.random.default_rng(1)
    under = chance.lognormal(size=50)
    over = 1.3 * under * chance.lognormal(sigma=0.2, size=50)
    found = paired_effects.ratio(over, under, None)
    for end in (found.interval.low, found.interval.high):
        assert abs(stats.ttest_1samp(over - end * under, 0).pvalue - 0.05) < 1e-9


def test_the_difference_of_quantiles_holds_the_truth():
    chance = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        task = chance.lognormal(size=200)
        seen = np.array(
            [task * chance.lognormal(sigma=0.3, size=200), 1.2 * task * chance.lognormal(sigma=0.3, size=200)]
        )
        interval = paired_effects.quantile_changes(seen, [0.5])[0].interval
        truth = 0.2
        held += interval.low <= truth <= interval.high
    assert held >= 90


def test_the_clustered_error_is_that_of_the_cluster_means_where_all_are_of_one_size():
    values = np.arange(12.0)
    groups = np.repeat(np.arange(4), 3)
    means = values.reshape(4, 3).mean(axis=1)
    assert math.sqrt(paired_effects.covariance(values, values, groups)) == pytest.approx(means.std(ddof=1) / 2)


def test_a_thousand_tasks_take_less_than_a_second(tmp_path):
    letters = "+-+" * 333 + "+"
    chance = np.random.default_rng(3)
    paths = [
        run(tmp_path / name, [record(one.task, one.outcome, seconds=chance.lognormal()) for one in outcomes(letters)])
        for name in "ab"
    ]
    began = time.process_time()
    (a,), (b,) = (arms(path) for path in paths)
    compare.compare(pair(a, b))
    assert time.process_time() - began < 1


def test_comparing_two_runs_loads_neither_the_slow_part_of_scipy_nor_an_http_client_nor_the_catalog():
    modules = "tierwise.analysis.compare, tierwise.analysis.arms, tierwise.report.comparing"
    unwanted = "{'scipy.stats', 'scipy.optimize', 'aiohttp', 'jsonschema', 'tierwise.catalog', 'tierwise.engines'}"
    code = f"import sys, {modules}; print(*sorted(sys.modules.keys() & {unwanted}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
