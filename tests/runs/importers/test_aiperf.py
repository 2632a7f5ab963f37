"""Records of AIPerf become runs without verdicts: seconds and tokens are compared, and quality is "no check"."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
from logs_of_tools import DATA, refused
from typer.testing import CliRunner

from tierwise.analysis import gate
from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.cli import app
from tierwise.runs import importers
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError

RUNS = DATA / "aiperf"
FILE = "profile_export.jsonl"
SUMMARY = "profile_export_aiperf.json"


def copied(tmp_path):
    return shutil.copytree(RUNS / "fast", tmp_path / "copy") / FILE


def edited(path, edit):
    path.write_text("\n".join(edit(path.read_text(encoding="utf-8").splitlines())) + "\n", encoding="utf-8")
    return path


def test_requests_have_seconds_and_tokens_and_no_verdict():
    for tier, passes in (("fast", 1), ("max", 3)):
        (run,) = importers.read(RUNS / tier / FILE)
        assert (run.tier, run.suite, run.repeats, run.has_checks) == (tier, "questions", 2, False)
        answered = [one for one in run.results if one.outcome == "unlabelled"]
        assert len(answered) == 6
        assert {(one.prompt_tokens, one.completion_tokens) for one in answered} == {(21 * passes, passes)}
        assert all(0 < one.first_output <= one.seconds < 60 for one in answered)
        failed = [one for one in run.results if one.outcome == "error"]
        assert {one.why for one in failed} == {"the question is longer than the context"}
        assert len({one.task for one in failed}) == 1


def test_equal_questions_are_the_same_task_in_both_runs():
    (fast,), (most,) = (importers.read(RUNS / tier / FILE) for tier in ("fast", "max"))
    assert {one.task for one in fast.results} == {one.task for one in most.results}
    assert len({one.task for one in fast.results}) == 4


def test_a_comparison_says_that_there_is_no_check(tmp_path):
    done = CliRunner().invoke(app, ["import", str(RUNS), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "questions: 8 requests, no check" in done.stdout
    words = ["compare", str(tmp_path / "fast"), str(tmp_path / "max"), "--base-tier", "fast", "--tier", "max"]
    done = CliRunner().invoke(app, [*words, "--common"])
    assert done.exit_code == 0, done.output
    assert "quality: no check; latency:" in done.stdout
    assert "6 answers have no check in one of the two, of 8 planned" in done.stdout
    (found,) = json.loads(CliRunner().invoke(app, [*words, "--common", "--json"]).stdout)
    assert (found["verdict"], found["quality"], found["p_value"]) == ("no check", None, None)
    assert found["seconds"] is not None
    assert 0 < found["first_output"]["base"] < found["seconds"]["base"] + 0.001
    assert found["without_first_output"] == 0


def test_a_gate_is_refused(tmp_path):
    (tmp_path / "gate.yaml").write_text("quality: {margin: 0.5}\nlatency: {ratio: 1000}\n")
    rows = []
    for tier in ("fast", "max"):
        (run,) = importers.read(RUNS / tier / FILE)
        served = tuple(one for one in run.results if one.outcome == "unlabelled")
        rows += arms(importers.write(replace(run, results=served), tmp_path / tier).path)
    pairs = pair(*rows)
    assert compare(pairs).verdict == "no check"
    with pytest.raises(SpecError, match="6 of 6 answers have no check"):
        gate.gate(pairs, gate.load(tmp_path / "gate.yaml"))


def test_a_report_names_the_answers_without_a_check(tmp_path):
    assert CliRunner().invoke(app, ["import", str(RUNS), "--out", str(tmp_path)]).exit_code == 0
    done = CliRunner().invoke(app, ["replay", str(tmp_path / "fast")])
    assert done.exit_code == 0, done.output
    page = RunDirectory(tmp_path / "fast").report_path.read_text(encoding="utf-8")
    assert "Answers to tasks without a check" in page
    assert "<span>no check" in page
    assert "solved if failures" not in page
    assert "0 of 8" not in page
    first = re.search(r'data-title="p50 first output"><span>([^<]+)', page)
    assert first is not None
    assert re.fullmatch(r"[\d.]+ m?s", first[1]) or first[1] == "–"


def test_a_table_of_scores_is_refused():
    done = CliRunner().invoke(app, ["import", str(RUNS / "fast"), "--table"])
    assert isinstance(done.exception, SpecError)
    assert "a table compares scores, and fast has none" in str(done.exception)


def test_summary_and_inputs_are_read_with_the_records():
    assert importers.logs([RUNS]) == [RUNS / "fast" / FILE, RUNS / "max" / FILE]


def test_other_exports_belong_to_the_run(tmp_path):
    path = copied(tmp_path)
    for name in ("gpu_telemetry_export.jsonl", "profile_export_raw.jsonl", "profile_export_aiperf_timeslices.json"):
        path.with_name(name).write_text('{"a": 1}\n', encoding="utf-8")
    assert importers.logs([path.parent]) == [path]


def test_records_may_have_a_name_of_the_users(tmp_path):
    path = copied(tmp_path)
    path.with_name(SUMMARY).rename(path.with_name("mine.json"))
    path = path.rename(path.with_name("mine.jsonl"))
    assert importers.logs([path.parent]) == [path]
    (run,) = importers.read(path)
    assert len(run.results) == 8


def test_records_without_a_summary_are_those_of_a_tool_that_died(tmp_path):
    path = copied(tmp_path)
    path.with_name(SUMMARY).unlink()
    refused(path, f"has no {SUMMARY} beside it, so the run did not end")


def test_a_run_that_was_cancelled_is_refused(tmp_path):
    path = copied(tmp_path)
    summary = path.with_name(SUMMARY)
    value = json.loads(summary.read_text(encoding="utf-8"))
    summary.write_text(json.dumps(value | {"was_cancelled": True}), encoding="utf-8")
    refused(path, "is not complete")


def test_records_that_are_missing_are_counted(tmp_path):
    refused(edited(copied(tmp_path), lambda lines: lines[1:]), f"has 7 requests, and {SUMMARY} says 8")


def test_a_record_that_is_there_twice_is_refused_with_both_lines(tmp_path):
    path = edited(copied(tmp_path), lambda lines: [*lines[:-1], lines[0]])
    refused(path, rf"{FILE}:8: request \S+ is already in \S+{FILE}:1|{FILE}:1: request \S+ is already in \S+{FILE}:8")


def test_half_a_file_is_refused_with_its_line(tmp_path):
    path = copied(tmp_path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * 0.4)])
    refused(path, rf"{FILE}:\d+.*not JSON")


def test_a_foreign_encoding_is_named(tmp_path):
    path = copied(tmp_path)
    path.write_bytes(path.read_text(encoding="utf-8").encode("utf-16"))
    refused(path, r"line 1 is not UTF-8 \(it looks like UTF-16\)")


def test_a_request_without_usage_has_no_tokens(tmp_path):
    path = edited(copied(tmp_path), lambda lines: [line.replace("usage_prompt_tokens", "other") for line in lines])
    (run,) = importers.read(path)
    assert {one.prompt_tokens for one in run.results} == {None}
    assert {one.completion_tokens for one in run.results if one.outcome == "unlabelled"} == {1}


def test_without_the_inputs_a_task_is_a_conversation(tmp_path):
    path = copied(tmp_path)
    path.with_name("inputs.json").unlink()
    (run,) = importers.read(path)
    assert all(one.task.endswith("-0") for one in run.results)


def test_warm_up_is_left_out(tmp_path):
    path = copied(tmp_path)
    warm = (
        path.read_text(encoding="utf-8")
        .splitlines()[0]
        .replace('benchmark_phase":"profiling', 'benchmark_phase":"warmup')
    )
    (run,) = importers.read(edited(path, lambda lines: [warm, *lines]))
    assert len(run.results) == 8
