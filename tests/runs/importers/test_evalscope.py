"""Reviews of EvalScope become runs: repeats are draws, with seconds and tokens of the answers."""

from __future__ import annotations

import json
import shutil

import pytest
from logs_of_tools import DATA, refused
from typer.testing import CliRunner

from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.cli import app
from tierwise.runs import importers
from tierwise.runs.importers import ImportOptions

RUNS = DATA / "evalscope"
FILE = "gsm8k_default.jsonl"


def reviews(folder, tier="fast"):
    return folder / "reviews" / tier / FILE


def copied(tmp_path):
    """The reviews in a copy of a run that a test may damage."""
    return reviews(shutil.copytree(RUNS / "fast", tmp_path / "copy"))


def changed(path, line, change):
    lines = path.read_text(encoding="utf-8").splitlines()
    value = json.loads(lines[line])
    change(value)
    lines[line] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_repeats_are_draws_with_seconds_and_tokens():
    for tier, passes in (("fast", 1), ("max", 3)):
        (run,) = importers.read(reviews(RUNS / tier, tier))
        assert (run.tier, run.suite, run.repeats) == (tier, "gsm8k_default", 2)
        assert {(one.prompt_tokens, one.completion_tokens) for one in run.results} == {(21 * passes, passes)}
        assert all(one.seconds is not None and 0 < one.seconds < 60 for one in run.results)
        assert {one.finish for one in run.results} == {"stop"}
    assert {one.cached_tokens for one in run.results} == {0}


def test_tasks_are_named_by_what_they_ask():
    (fast,), (most,) = (importers.read(reviews(RUNS / tier, tier)) for tier in ("fast", "max"))
    found = {(one.task.partition("-")[0], one.repeat): (one.outcome.value, one.answer) for one in fast.results}
    assert found == {
        ("0", 0): ("correct", "17"),
        ("0", 1): ("incorrect", "18"),
        ("1", 0): ("incorrect", "41"),
        ("1", 1): ("incorrect", "41"),
        ("2", 0): ("correct", "2"),
        ("2", 1): ("correct", "2"),
    }
    assert {one.task for one in fast.results} == {one.task for one in most.results}


def test_a_key_of_the_data_is_the_cluster():
    (run,) = importers.read(reviews(RUNS / "fast"), "", ImportOptions(cluster="reasoning"))
    assert {one.cluster for one in run.results} == {"sums", "products", "words"}


def test_predictions_and_reports_are_read_with_the_reviews(tmp_path):
    assert [path.name for path in importers.logs([RUNS])] == [FILE, FILE]
    done = CliRunner().invoke(app, ["import", str(RUNS), "--out", str(tmp_path / "runs"), "--json"])
    assert done.exit_code == 0, done.output
    assert next(one["solved"] for one in json.loads(done.stdout)["runs"]) == 3


def test_runs_can_be_compared(tmp_path):
    rows = []
    for tier in ("fast", "max"):
        (run,) = importers.read(reviews(RUNS / tier, tier))
        rows += arms(importers.write(run, tmp_path / tier).path)
    found = compare(pair(*rows))
    assert found.both + found.only_base + found.only_other + found.neither == 6
    assert found.seconds is not None


def test_an_evaluation_without_a_report_did_not_end(tmp_path):
    path = copied(tmp_path)
    shutil.rmtree(path.parents[2] / "reports")
    refused(path, r"has no report in \S+, so the evaluation did not end.*--use-cache")


def test_reviews_that_are_missing_are_counted(tmp_path):
    path = copied(tmp_path)
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[1:]), encoding="utf-8")
    refused(path, "has 5 reviews with a score, and the report counts 6")


def test_half_a_file_is_refused_with_its_line(tmp_path):
    path = copied(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * 0.4)])
    refused(path, rf"{FILE}:3")


def test_a_review_that_is_there_twice_is_refused_with_both_lines(tmp_path):
    path = copied(tmp_path)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], *lines[:1], *lines[2:]]), encoding="utf-8")
    refused(path, rf"{FILE}:2: task '0-\w+' is already in .*{FILE}:1")


def test_a_foreign_encoding_is_named(tmp_path):
    path = copied(tmp_path)
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    refused(path, r"line 1 is not UTF-8 \(it looks like UTF-16\)")


def test_a_prediction_without_a_review_is_named(tmp_path):
    path = copied(tmp_path)
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:5]), encoding="utf-8")
    report = path.parents[2] / "reports" / "fast" / "gsm8k.json"
    report.write_text(report.read_text(encoding="utf-8").replace('"num": 6', '"num": 5'), encoding="utf-8")
    refused(path, rf"has no review of the prediction in \S+predictions/fast/{FILE}:6")


def test_a_part_of_a_score_is_refused_with_its_line(tmp_path):
    path = copied(tmp_path)
    changed(path, 3, lambda value: value["sample_score"]["score"]["value"].update(accuracy=0.5))
    refused(path, rf"{FILE}:4: 'accuracy' is 0.5; allowed are 0 and 1")


def test_a_score_that_failed_is_an_error_without_seconds(tmp_path):
    path = copied(tmp_path)
    changed(path, 0, lambda value: value["sample_score"]["score"].update(status="judge_error", explanation="no judge"))
    (run,) = importers.read(path)
    one = run.results[0]
    assert (one.outcome, one.why) == ("error", "the score's status is 'judge_error': no judge")
    assert (one.seconds, one.prompt_tokens) == (None, None)


@pytest.mark.parametrize("status", ["fallback", "degraded"])
def test_a_score_that_evalscope_counts_although_a_judge_failed_is_an_outcome(tmp_path, status):
    path = copied(tmp_path)
    changed(path, 0, lambda value: value["sample_score"]["score"].update(status=status))
    (run,), (before,) = importers.read(path), importers.read(reviews(RUNS / "fast"))
    assert run.results == before.results
    changed(path, 0, lambda value: value["sample_score"]["score"].update(value={"other": 1}, explanation="no judge"))
    (run,) = importers.read(path, options=ImportOptions(metric="accuracy"))
    assert (run.results[0].outcome, run.results[0].why) == ("error", f"the score's status is '{status}': no judge")


def test_a_review_without_a_score_is_not_counted_by_the_report(tmp_path):
    path = copied(tmp_path)
    changed(path, 0, lambda value: value["sample_score"]["score"].update(status="parse_error", value={}))
    report = path.parents[2] / "reports" / "fast" / "gsm8k.json"
    report.write_text(report.read_text(encoding="utf-8").replace('"num": 6', '"num": 5'), encoding="utf-8")
    (run,) = importers.read(path)
    assert [one.outcome.value for one in run.results].count("error") == 1


def test_an_answer_that_was_given_is_asked(tmp_path):
    given = {"role": "assistant", "content": "How can I help?", "source": "input"}
    path = copied(tmp_path)
    changed(path, 0, lambda value: value["messages"].insert(0, given))
    (run,), (other,) = importers.read(path), importers.read(reviews(RUNS / "fast"))
    assert (run.results[0].answer, run.results[0].seconds) == (other.results[0].answer, other.results[0].seconds)
    assert run.results[0].task != other.results[0].task


def test_an_answer_without_usage_has_no_tokens(tmp_path):
    path = copied(tmp_path)
    changed(path, 0, lambda value: value["messages"][-1].update(perf_metrics=None))
    (run,) = importers.read(path)
    assert (run.results[0].prompt_tokens, run.results[0].seconds, run.results[0].outcome) == (None, None, "correct")


def test_reviews_alone_have_the_name_of_their_folder(tmp_path):
    path = shutil.copy(reviews(RUNS / "fast"), tmp_path / FILE)
    (run,) = importers.read(path)
    assert (run.tier, len(run.results)) == (tmp_path.name, 6)
