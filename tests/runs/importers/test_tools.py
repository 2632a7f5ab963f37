"""Logs that real tools wrote become runs: draws, times, tokens, dollars, errors and clusters as the log has them."""

from __future__ import annotations

import json
import re

import pytest
from logs_of_tools import DATA, PROMPTFOO, inspect_log, lm_eval_samples, nemo_bundle, outcomes
from typer.testing import CliRunner

from tierwise.analysis import gate
from tierwise.analysis.arms import arms
from tierwise.analysis.compare import compare
from tierwise.analysis.pairs import pair
from tierwise.cli import app
from tierwise.runs import importers
from tierwise.runs.directory import RunDirectory
from tierwise.runs.importers import ImportOptions
from tierwise.spec.errors import SpecError

STRICT = ImportOptions(metric="exact_match,strict", cluster="group")
TOOLS = {
    "inspect": [inspect_log("fast"), inspect_log("max")],
    "nemo": [nemo_bundle("fast"), nemo_bundle("max")],
    "promptfoo": [PROMPTFOO],
    "lm-eval": [lm_eval_samples("fast"), lm_eval_samples("max")],
}


def options(tool):
    return STRICT if tool == "lm-eval" else ImportOptions(cluster="group")


def runs(tool):
    return [run for path in TOOLS[tool] for run in importers.read(path, "", options(tool))]


def test_every_tool_is_a_kind():
    done = CliRunner().invoke(app, ["import", str(PROMPTFOO), "--kind", "no-tool", "--table"])
    assert done.exit_code == 2
    assert all(name in done.output for name in importers.IMPORTERS)


@pytest.mark.parametrize("tool", ["inspect", "nemo", "promptfoo"])
def test_repeats_are_draws_and_refused_requests_are_errors(tool):
    run, _ = runs(tool)
    found = outcomes(run)
    first, second = found.pop(("sum-2", 0)), found.pop(("sum-2", 1))
    assert (first, second) == ("correct", "incorrect") or tool == "promptfoo", "it asks both tiers in turn"
    assert found == {
        ("product-1", 0): "incorrect",
        ("product-1", 1): "incorrect",
        ("word-1", 0): "correct",
        ("word-1", 1): "correct",
        ("word-2", 0): "error",
        ("word-2", 1): "error",
    }
    assert run.repeats == 2
    assert {result.cluster for result in run.results} == {"sums", "products", "words"}


@pytest.mark.parametrize("tool", ["inspect", "nemo", "promptfoo"])
def test_tokens_are_those_that_the_server_counted(tool):
    fast, most = runs(tool)
    for run, passes in ((fast, 1), (most, 3)):
        graded = [result for result in run.results if result.is_graded]
        assert {(one.prompt_tokens, one.completion_tokens) for one in graded} == {(21 * passes, passes)}
        assert all(one.seconds is not None and 0 < one.seconds < 60 for one in graded)


@pytest.mark.parametrize(("tool", "dollars"), [("inspect", 25e-6), ("promptfoo", 25e-6), ("nemo", None)])
def test_dollars_are_those_of_the_log(tool, dollars):
    run, _ = runs(tool)
    found = [result.dollars for result in run.results if result.is_graded]
    assert found == [dollars] * 6 if dollars is None else found == pytest.approx([dollars] * 6)


def test_lm_eval_has_answers_without_times():
    run, _ = runs("lm-eval")
    assert (run.tier, run.suite, run.size, run.repeats) == ("fast", "questions", 3, 1)
    assert [result.outcome.value for result in run.results] == ["correct", "incorrect", "correct"]
    assert [result.answer for result in run.results] == ["17", "41", "2"]
    assert {result.seconds for result in run.results} == {None}


def test_tasks_of_lm_eval_are_named_by_what_they_ask():
    run, other = runs("lm-eval")
    assert all(re.fullmatch(r"\d-[0-9a-f]{8}", result.task) for result in run.results)
    assert {result.task for result in run.results} == {result.task for result in other.results}


@pytest.mark.parametrize("metric", ["", "acc", "exact_match"])
def test_one_of_several_scores_must_be_named(metric):
    with pytest.raises(SpecError, match=r"name one with --metric: exact_match,strict, exact_match,number"):
        importers.read(lm_eval_samples("fast"), "", ImportOptions(metric=metric))


def test_a_file_of_promptfoo_is_a_run_for_each_provider():
    assert [(run.tier, run.name) for run in runs("promptfoo")] == [("fast", "results_fast"), ("max", "results_max")]


@pytest.mark.parametrize("tool", TOOLS)
def test_imported_runs_can_be_compared(tool, tmp_path):
    rows = []
    for run in runs(tool):
        rows += arms(importers.write(run, tmp_path / run.name).path)
    found = compare(pair(*rows, common=True))
    assert found.both + found.only_base + found.only_other + found.neither == (3 if tool == "lm-eval" else 6)
    assert found.population == "clusters"
    assert (found.seconds is not None) == (tool != "lm-eval")
    assert (found.dollars is not None) == (tool in ("inspect", "promptfoo"))


def test_a_gate_bounds_the_latency_of_an_imported_run(tmp_path):
    (tmp_path / "gate.yaml").write_text("quality: {margin: 0.5}\nlatency: {ratio: 1000}\n")
    policy = gate.load(tmp_path / "gate.yaml")
    for tool in ("inspect", "lm-eval"):
        rows = [arms(importers.write(run, tmp_path / run.name).path)[0] for run in runs(tool)]
        pairs = pair(*rows, common=True)
        if tool == "lm-eval":
            with pytest.raises(SpecError, match="was imported and has no times"):
                gate.gate(pairs, policy)
        else:
            assert [one.axis for one in gate.gate(pairs, policy).checks] == ["quality", "latency"]


@pytest.mark.parametrize(
    ("folder", "count"), [("inspect", 2), ("nemo/fast", 1), ("nemo", 2), ("promptfoo", 1), ("lm_eval", 2)]
)
def test_the_folder_of_a_tool_has_its_logs_only(folder, count):
    assert len(importers.logs([DATA / folder])) == count


def test_the_command_writes_runs_of_which_replay_makes_a_report(tmp_path):
    done = CliRunner().invoke(app, ["import", str(DATA / "nemo"), "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    first = json.loads(done.stdout)["runs"][0]
    assert (first["tier"], first["results"], first["repeats"], first["solved"]) == ("fast", 8, 2, 3)
    done = CliRunner().invoke(app, ["replay", first["folder"]])
    assert done.exit_code == 0, done.output
    assert "0 answers graded again" in done.output
    page = RunDirectory(tmp_path / first["name"]).report_path.read_text(encoding="utf-8")
    assert "imported" in page
    assert "in a random order" not in page


def test_a_table_needs_one_result_of_each_task():
    done = CliRunner().invoke(app, ["import", str(DATA / "nemo"), "--table"])
    assert isinstance(done.exception, SpecError)
    assert "covers one result of each task" in str(done.exception)
