"""Evaluations of LiveCodeBench's runner become runs: each sample of a problem is a draw."""

from __future__ import annotations

import json
import shutil

import pytest
from logs_of_tools import DATA, outcomes, refused

from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.runs import importers
from tierwise.runs.importers import ImportOptions

FOLDER = DATA / "livecodebench"


def evaluation(tier, folder=FOLDER):
    (found,) = folder.glob(f"{tier}_*_eval_all.json")
    return found


def copied(tmp_path):
    return evaluation("fast", shutil.copytree(FOLDER, tmp_path / "copy"))


def edited(path, change):
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value, indent=4), encoding="utf-8")
    return path


def test_samples_are_draws_with_the_reason_of_each():
    (run,) = importers.read(evaluation("fast"))
    assert (run.tier, run.suite, run.repeats) == ("fast", "LiveCodeBench codegeneration", 2)
    assert outcomes(run) == {
        ("double", 0): "correct",
        ("double", 1): "incorrect",
        ("greet", 0): "correct",
        ("greet", 1): "correct",
        ("wrong", 0): "incorrect",
        ("wrong", 1): "incorrect",
    }
    why = {(one.task, one.repeat): one.why for one in run.results}
    assert why["double", 1] == "Wrong answer at output_line_idx=0: 3 != 6"
    assert {one.task: one.tags for one in run.results}["greet"] == ("medium", "atcoder")
    assert run.results[2].answer == "```python\nprint('Öl')\n```"


def test_answers_and_figures_are_not_evaluations():
    assert importers.logs([FOLDER]) == [evaluation("fast"), evaluation("max")]


def test_the_folder_names_the_model_where_the_file_does_not(tmp_path):
    (tmp_path / "My-Model").mkdir()
    path = tmp_path / "My-Model" / "Scenario.codegeneration_10_0.2_eval_all.json"
    shutil.copy(evaluation("fast"), path)
    (run,) = importers.read(path)
    assert (run.tier, run.name) == ("My-Model", "My-Model_codegeneration_10_0.2")


def test_a_key_of_a_problem_is_the_cluster():
    (run,) = importers.read(evaluation("fast"), "", ImportOptions(cluster="contest_id"))
    assert {one.cluster for one in run.results} == {"made"}


def test_evaluations_can_be_compared(tmp_path):
    rows = []
    for tier in ("fast", "max"):
        (run,) = importers.read(evaluation(tier))
        rows += arms(importers.write(run, tmp_path / tier).path)
    found = compare(pair(*rows))
    assert found.both + found.only_base + found.only_other + found.neither == 6
    assert (found.seconds, found.dollars) == (None, None)


def test_the_other_scenarios_have_parts_of_a_question(tmp_path):
    path = edited(copied(tmp_path), lambda value: [row.update(test_id=number) for number, row in enumerate(value)])
    (run,) = importers.read(path)
    assert {one.task for one in run.results} == {"double-0", "greet-1", "wrong-2"}


def test_a_problem_that_is_there_twice_is_refused_with_both_places(tmp_path):
    path = edited(copied(tmp_path), lambda value: value.append(value[0]))
    refused(path, r"_eval_all.json: \[3\] double: task 'double' is already in .*\[0\] double")


def test_answers_without_verdicts_are_those_of_a_runner_that_did_not_evaluate(tmp_path):
    path = copied(tmp_path)
    refused(path.with_name(path.name.replace("_eval_all", "")), "has answers to LiveCodeBench without verdicts")


def test_a_verdict_without_its_answer_is_refused(tmp_path):
    path = edited(copied(tmp_path), lambda value: value[1]["output_list"].pop())
    refused(path, r"\[1\] greet: has 1 answers and 2 verdicts")


@pytest.mark.parametrize("verdict", [0.5, None, "yes"])
def test_a_verdict_is_true_or_false(verdict, tmp_path):
    path = edited(copied(tmp_path), lambda value: value[1].update(graded_list=[True, verdict]))
    refused(path, r"\[1\] greet: `graded_list` has .*; allowed are true and false")


def test_half_a_file_is_refused_with_its_line(tmp_path):
    path = copied(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refused(path, r"_eval_all.json:\d+: not JSON")


def test_a_foreign_encoding_is_named(tmp_path):
    path = copied(tmp_path)
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    refused(path, r"line 1 is not UTF-8 \(it looks like UTF-16\)")


def test_an_evaluation_without_answers_or_metadata_has_verdicts_only(tmp_path):
    path = edited(copied(tmp_path), lambda value: [(row.pop("output_list"), row.pop("metadata")) for row in value])
    (run,) = importers.read(path)
    assert {one.answer for one in run.results} == {""}
    assert {one.why for one in run.results} == {"", "a test failed"}


@pytest.mark.parametrize(
    ("error", "outcome", "why"),
    [
        ("EOFError()", "error", "TestRunnerError: EOFError()"),
        ("OSError(12, 'Cannot allocate memory')", "error", "TestRunnerError: OSError(12, 'Cannot allocate memory')"),
        ("IndexError('list index out of range')", "incorrect", "the program died, or did not end within the limit"),
    ],
)
def test_an_error_of_the_runner_s_own_process_is_no_wrong_answer(error, outcome, why, tmp_path):
    said = json.dumps({"error": error, "error_code": -5, "error_message": "TestRunnerError"})

    def broken(value):
        (row,) = (row for row in value if row["question_id"] == "double")
        row["metadata"][1] = said

    (run,) = importers.read(edited(copied(tmp_path), broken))
    (found,) = (one for one in run.results if (one.task, one.repeat) == ("double", 1))
    assert found.outcome == outcome
    assert found.why.startswith(why)
