"""Reports of guidellm become runs without verdicts, one for each benchmark."""

from __future__ import annotations

import json
import shutil

from logs_of_tools import DATA, refused

from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.runs import importers

FAST, MAX = DATA / "guidellm" / "fast.json", DATA / "guidellm" / "max.json"


def changed(tmp_path, change):
    """A copy of a report that a test changed."""
    value = json.loads(FAST.read_text(encoding="utf-8"))
    change(value)
    path = tmp_path / "fast.json"
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


def requests(value):
    return value["benchmarks"][0]["requests"]


def test_requests_have_seconds_and_tokens_and_no_verdict():
    for path, passes in ((FAST, {1}), (MAX, {2, 3})):  # a vote ends when two of three agree
        (run,) = importers.read(path)
        assert (run.tier, run.suite, run.name, run.has_checks) == (path.stem, "questions", path.stem, False)
        answered = [one for one in run.results if one.outcome == "unlabelled"]
        assert len(answered) == 6
        assert {(one.prompt_tokens, one.completion_tokens) for one in answered} == {(21 * one, one) for one in passes}
        assert all(0 < one.first_output <= one.seconds < 60 for one in answered)
        failed = [one for one in run.results if one.outcome == "error"]
        assert len(failed) == 2
        assert all("400 Bad Request" in one.why for one in failed)


def test_equal_questions_are_repeats_and_the_same_tasks_in_both_runs():
    (fast,), (most,) = importers.read(FAST), importers.read(MAX)
    of = [{one.task for one in run.results if one.outcome == "unlabelled"} for run in (fast, most)]
    assert of[0] == of[1]
    assert (len(of[0]), fast.repeats) == (3, 2)


def test_a_comparison_says_that_there_is_no_check(tmp_path):
    rows = []
    for path in (FAST, MAX):
        (run,) = importers.read(path)
        rows += arms(importers.write(run, tmp_path / run.name).path)
    found = compare(pair(*rows, common=True))
    assert (found.verdict, found.quality, found.unchecked) == ("no check", None, 6)
    assert found.seconds is not None
    assert 0 < found.first_output.base <= found.seconds.base
    assert found.without_first_output == 0


def test_a_failed_request_whose_question_is_known_is_a_repeat_of_it(tmp_path):
    def known(value):
        for one in requests(value)["errored"]:
            one["request_args"] = requests(value)["successful"][0]["request_args"]

    (run,) = importers.read(changed(tmp_path, known))
    failed = [one for one in run.results if one.outcome == "error"]
    same = [one for one in run.results if one.task == failed[0].task]
    assert len(failed) == 2
    assert sorted(one.repeat for one in same) == [0, 1, 2, 3]


def test_a_report_of_several_benchmarks_is_a_run_for_each(tmp_path):
    path = changed(tmp_path, lambda value: value["benchmarks"].append(value["benchmarks"][0]))
    assert [run.name for run in importers.read(path)] == ["fast_0_synchronous", "fast_1_synchronous"]


def test_a_request_that_is_there_twice_is_refused_with_both_places(tmp_path):
    def twice(value):
        found = requests(value)["successful"]
        found[1] = found[0]

    refused(changed(tmp_path, twice), r"successful\[1\]: request \S+ is already in \S+ \S+successful\[0\]")


def test_a_sample_of_the_requests_is_refused(tmp_path):
    path = changed(tmp_path, lambda value: requests(value)["successful"].pop())
    refused(path, r"requests.successful: has 5 requests, and guidellm made 6")


def test_a_report_without_a_benchmark_is_that_of_a_run_that_died(tmp_path):
    refused(changed(tmp_path, lambda value: value["benchmarks"].clear()), "has no benchmark, so the run did not end")


def test_another_version_is_refused(tmp_path):
    path = changed(tmp_path, lambda value: value["metadata"].update(version=1))
    refused(path, "has version 1, and 2 is read")


def test_half_a_file_is_refused_with_its_line(tmp_path):
    path = tmp_path / "fast.json"
    raw = FAST.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    refused(path, r"fast.json:\d+: not JSON")


def test_a_foreign_encoding_is_named(tmp_path):
    path = shutil.copy(FAST, tmp_path / "fast.json")
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    refused(path, r"line 1 is not UTF-8 \(it looks like UTF-16\)")


def test_counts_of_its_own_tokenizer_are_left_out(tmp_path):
    path = changed(tmp_path, lambda value: value["benchmarks"][0]["config"].update(prefer_response_metrics=False))
    (run,) = importers.read(path)
    assert {one.prompt_tokens for one in run.results} == {None}


def test_a_request_without_usage_has_no_tokens(tmp_path):
    path = changed(tmp_path, lambda value: [one.update(prompt_tokens=None) for one in requests(value)["successful"]])
    (run,) = importers.read(path)
    assert {one.prompt_tokens for one in run.results} == {None}
    assert {one.completion_tokens for one in run.results if one.outcome == "unlabelled"} == {1}
