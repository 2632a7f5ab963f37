"""Results of SWE-bench become runs, with classified outcomes and explicit denominators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.leaderboard import leaderboard
from tierwise.analysis.pairs import pair
from tierwise.cli import app
from tierwise.runs import importers
from tierwise.runs.importers.swebench import repository
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError

DATA = Path(__file__).parent / "data"
SONNET, GPT = DATA / "claude-45sonnet-10132025.json", DATA / "gpt-5-250-turns-10132025.json"


def write(tmp_path, value, name="run.json"):
    path = tmp_path / name
    path.write_text(json.dumps(value))
    return path


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ("instance_element-hq__element-web-b7fea97bb68c6628a644580076f840109132f074-vnan", "element-hq/element-web"),
        ("instance_flipt-io__flipt-56a620b8fc9ef7a0819b47709aa541cdfdbba00b", "flipt-io/flipt"),
        ("django__django-11099", "django/django"),
        ("scikit-learn__scikit-learn-10297", "scikit-learn/scikit-learn"),
        ("t0001", None),
    ],
)
def test_the_cluster_is_the_repository_of_the_instance(instance, name):
    assert repository(instance) == name


def test_outcomes_of_swe_bench_pro_are_read():
    (found,) = importers.read(SONNET)
    assert (found.suite, found.size, found.name) == ("SWE-bench Pro", 731, "claude-45sonnet-10132025")
    assert len(found.results) == 40
    assert sum(result.outcome == "correct" for result in found.results) == 11


def test_the_instances_of_a_report_are_classified(tmp_path):
    report = {
        "total_instances": 6,
        "resolved_ids": ["a__b-1"],
        "unresolved_ids": ["a__b-2"],
        "empty_patch_ids": ["a__b-3"],
        "error_ids": ["a__c-4"],
        "incomplete_ids": ["a__c-5", "a__c-6"],
    }
    (found,) = importers.read(write(tmp_path, report))
    assert [result.outcome for result in found.results] == ["correct", "incorrect", "no_answer", "error"]
    assert (found.absent, found.size, found.suite) == (("a__c-5", "a__c-6"), 6, "SWE-bench")


def test_failures_of_the_infrastructure_are_errors_with_their_reason(tmp_path):
    report = {
        "total_instances": 5,
        "schema_version": 2,
        "resolved_ids": ["a__b-1"],
        "unresolved_ids": ["a__b-2", "a__b-3"],
        "error_ids": ["a__c-4"],
        "infra_failure_ids": ["a__b-3", "a__c-4", "a__c-5"],
        "ambiguous_failure_ids": ["a__b-2"],
        "failure_reasons": {"a__b-3": "docker_pull_failed", "a__b-2": "timeout"},
    }
    (found,) = importers.read(write(tmp_path, report))
    assert {result.task: (result.outcome.value, result.why) for result in found.results} == {
        "a__b-1": ("correct", ""),
        "a__b-2": ("incorrect", "tests failed"),
        "a__b-3": ("error", "the evaluation's infrastructure failed: docker_pull_failed"),
        "a__c-4": ("error", "the evaluation's infrastructure failed"),
        "a__c-5": ("error", "the evaluation's infrastructure failed"),
    }
    assert len(found.results) == 5


def test_an_instance_cannot_be_resolved_and_a_failure_of_the_infrastructure(tmp_path):
    report = {"resolved_ids": ["a__b-1"], "infra_failure_ids": ["a__b-1"]}
    with pytest.raises(ConfigErrors, match="a__b-1 is also in 'resolved_ids'"):
        importers.read(write(tmp_path, report))


def test_failures_of_the_infrastructure_in_reports_by_instance_are_errors(tmp_path):
    value = {
        "django__django-1": {"resolved": False, "infra_failure": True, "infra_failure_reason": "no space on device"},
        "django__django-2": {"resolved": None, "infra_failure": True},
        "django__django-3": {"resolved": False, "infra_failure": False},
        "django__django-4": {"resolved": True, "infra_failure": False},
    }
    (found,) = importers.read(write(tmp_path, value))
    assert [result.outcome for result in found.results] == ["error", "error", "incorrect", "correct"]
    assert found.results[0].why.endswith("failed: no space on device")


def test_errors_stay_in_every_denominator_that_is_shown(tmp_path):
    value = {f"a__b-{n}": {"resolved": n < 4, "infra_failure": n >= 8} for n in range(10)}
    path = write(tmp_path, value)
    (score,) = leaderboard(importers.read(path)).scores
    assert (score.n, score.errors, score.score, score.score_of_suite) == (8, 2, 0.5, 0.4)
    done = CliRunner().invoke(app, ["import", str(path), "--table", "--out", str(tmp_path / "runs")])
    assert "4 of 10 solved, 2 infrastructure errors" in done.output
    assert "8 of 10" in done.output
    assert "0.400" in done.output


def test_reports_by_instance_are_read(tmp_path):
    value = {"django__django-1": {"resolved": True, "tests_status": {}}, "django__django-2": {"resolved": False}}
    (found,) = importers.read(write(tmp_path, value))
    assert [result.outcome for result in found.results] == ["correct", "incorrect"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], r"run.json is not a result file of a known tool.*It holds a list of 2 items"),
        ({}, "an empty object"),
        ({"accuracy": 0.3, "model": "x"}, "an object with 'accuracy', 'model'"),
        ({"django__django-1": "yes"}, r"run.json: django__django-1: must be true or false, not 'yes'"),
        ({"django__django-1": True, "model": True}, r"run.json: model: is not an instance id"),
        ({"resolved_ids": "all"}, r"run.json: resolved_ids: must be a list of instance ids"),
        ({"resolved_ids": ["a__b-1"], "unresolved_ids": ["a__b-1"]}, r"a__b-1 is also in 'resolved_ids'"),
        ({"resolved_ids": []}, "has no evaluated instance"),
    ],
)
def test_files_of_another_kind_are_rejected_with_the_location(tmp_path, value, message):
    with pytest.raises(SpecError, match=message):
        importers.read(write(tmp_path, value))


def test_a_file_that_is_not_json_is_rejected(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(SpecError, match=r"x\.json:1: not JSON"):
        importers.read(tmp_path / "x.json")


def test_the_line_of_a_json_error_is_named(tmp_path):
    (tmp_path / "x.json").write_text('{\n"a__b-1": true,\n"a__b-2": yes}')
    with pytest.raises(SpecError, match=r"x\.json:3: not JSON"):
        importers.read(tmp_path / "x.json")


def test_a_duplicate_instance_is_rejected(tmp_path):
    (tmp_path / "x.json").write_text('{"a__b-1": true, "a__b-1": false}')
    with pytest.raises(SpecError, match=r"x\.json:1: a__b-1: appears twice"):
        importers.read(tmp_path / "x.json")


def test_a_tierwise_run_needs_no_import(tmp_path):
    folder = importers.write(*importers.read(write(tmp_path, {"a__b-1": True})), tmp_path / "made")
    with pytest.raises(SpecError, match="is already a Tierwise run; compare and gate read it without an import"):
        importers.logs([folder.path])
    assert [record.seconds for record in folder.read_records()] == [None], "nobody knows how long it took"


def test_a_missing_path_is_an_error(tmp_path):
    with pytest.raises(NotFound, match=r"has no .eval or .json or .jsonl file of results"):
        importers.logs([tmp_path])
    with pytest.raises(NotFound, match="does not exist"):
        importers.logs([tmp_path / "none"])


def test_only_a_few_of_many_errors_are_shown(tmp_path):
    value = {f"django__django-{n}": None for n in range(50)}
    with pytest.raises(ConfigErrors) as caught:
        importers.read(write(tmp_path, value))
    assert len(caught.value.errors) == 5


def test_an_imported_run_can_be_compared(tmp_path):
    rows = []
    for path in (GPT, SONNET):
        (imported,) = importers.read(path)
        importers.write(imported, tmp_path / imported.name)
        rows += arms(tmp_path / imported.name)
    with pytest.raises(SpecError, match="3 of 40 tasks were not run"):
        pair(*rows)
    found = compare(pair(*rows, common=True))
    assert (found.both + found.only_base + found.only_other + found.neither, found.not_run_base) == (37, 3)
    assert (found.population, found.seconds, found.dollars) == ("clusters", None, None)
    assert "imported" in found.base


def test_the_table_has_naive_and_clustered_errors_and_every_denominator():
    found = leaderboard([run for path in (SONNET, GPT) for run in importers.read(path)])
    sonnet, gpt = found.scores
    assert (sonnet.n, sonnet.solved, sonnet.absent) == (40, 11, 691)
    assert sonnet.naive == pytest.approx((11 / 40 * 29 / 40 / 40) ** 0.5)
    assert sonnet.clustered > 0
    assert gpt.score_of_suite == pytest.approx(10 / 731)
    (tested,) = found.paired_tests
    assert (tested.n, tested.only_one) == (37, 3)


def test_errors_are_not_failures_in_the_table(tmp_path):
    report = {"resolved_ids": ["a__b-1"], "unresolved_ids": ["a__c-2"], "error_ids": ["a__c-4"], "total_instances": 4}
    (score,) = leaderboard(importers.read(write(tmp_path, report))).scores
    assert (score.n, score.errors, score.score, score.score_of_suite) == (2, 1, 0.5, 0.25)


NEVER_RAN = f"instance_ansible__ansible-{'a' * 40}-vba"


def pro_folder(tmp_path, results, infra):
    """A folder as `swe_bench_pro_eval.py` writes it."""
    (tmp_path / "infra_errors.json").write_text(json.dumps(infra, indent=2), encoding="utf-8")
    path = tmp_path / "eval_results.json"
    path.write_text(json.dumps(results), encoding="utf-8")
    return path


def test_instances_of_pro_that_never_ran_are_infrastructure_errors(tmp_path):
    solved = f"instance_ansible__ansible-{'b' * 40}-vba"
    path = pro_folder(tmp_path, {solved: True}, {NEVER_RAN: "Failed to pull or find image locally"})
    assert importers.logs([tmp_path]) == [path]
    (run,) = importers.read(path)
    assert {one.task: one.outcome.value for one in run.results} == {solved: "correct", NEVER_RAN: "error"}
    assert (run.name, run.tier) == (tmp_path.name, tmp_path.name)
    assert run.results[1].why == "the evaluation's infrastructure failed: Failed to pull or find image locally"


def test_an_instance_of_pro_in_both_files_is_refused(tmp_path):
    path = pro_folder(tmp_path, {NEVER_RAN: False}, {NEVER_RAN: "no image"})
    with pytest.raises(SpecError, match="is also in eval_results"):
        importers.read(path)


def test_the_file_of_instances_that_never_ran_is_not_a_result(tmp_path):
    path = pro_folder(tmp_path, {}, {NEVER_RAN: "no image"})
    with pytest.raises(SpecError, match=r"give eval_results\.json beside it"):
        importers.read(path.with_name("infra_errors.json"))
