"""Exported runs, imported again: the same outcomes, tokens, dollars and seconds, and no difference in a comparison."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from fake_runs import manifest, record, task
from tierwise.cli import app
from tierwise.runs.directory import RunDirectory
from tierwise.runs.exporters import EXPORTERS
from tierwise.runs.importers import logs, read
from tierwise.runs.importers.log import ImportOptions
from tierwise.runs.records import tags_of
from tierwise.spec.errors import NotFound, SpecError

FIXTURE = Path(__file__).with_name("fixtures") / "promptfoo" / "results.json"
KEPT = ("outcome", "answer", "prompt_tokens", "cached_tokens", "completion_tokens", "dollars", "seconds")


def run(path, records, *, rows=(), repeats=1, names=()):
    """A run with tasks; each has its own cluster and a tag."""
    directory = RunDirectory.create(path)
    names = names or list(dict.fromkeys(one.task for one in records))
    made = manifest(names, *rows, path="suite.jsonl")
    settings = msgspec.structs.replace(made.settings, repeats=repeats)
    directory.write_manifest(msgspec.structs.replace(made, settings=settings))
    directory.write_tasks([task(name, f"what is {name}?") for name in names])
    directory.write_records(records)
    return directory


def answered(name, outcome="correct", **more):
    """A record as the bench writes them."""
    values = {"answer": f"the answer to {name}", "finish": "stop", "tags": tags_of(["sums"], f"c-{name}"), **more}
    return record(name, outcome, began=1_780_000_000.25, **values)


def tierwise(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def exported(directory, tool, out):
    done = tierwise("export", directory.path, "--as", tool, "--out", out)
    assert done.exit_code == 0, done.output
    return logs([out])


def refused(directory, tool, out):
    done = tierwise("export", directory.path, "--as", tool, "--out", out)
    assert isinstance(done.exception, SpecError | NotFound), done.output
    assert not out.exists()
    assert not list(out.parent.glob(".exporting-*"))
    return str(done.exception)


def results(path):
    (found,) = read(path, options=ImportOptions(cluster="cluster"))
    return {(one.task, one.repeat): one for one in found.results}


@pytest.fixture
def whole(tmp_path):
    """Every outcome, repeats, cached tokens, a cut answer, ids that are no file names, and unknown spend."""
    records = [
        answered("a", cached_tokens=4, repeat=0),
        answered("a", "incorrect", repeat=1, finish="length", why="not 4"),
        answered("b/../ü x", "no_answer", answer="", finish="", repeat=0),
        answered("b/../ü x", "error", answer="", finish="", why="connection lost", repeat=1, passes=[], dollars=None),
        answered("c", dollars=None, prompt_tokens=None, completion_tokens=None, cached_tokens=None, passes=[]),
        answered("c", repeat=1, answer="42"),
    ]
    return run(tmp_path / "run", records, repeats=2)


def test_a_log_of_inspect_has_all_that_counts(whole, tmp_path):
    (path,) = exported(whole, "inspect", tmp_path / "logs")
    found = results(path)
    for one in whole.read_records():
        back = found[one.task, one.repeat]
        for name in KEPT:
            if name != "cached_tokens" or one.prompt_tokens is not None:
                assert getattr(back, name) == getattr(one, name), (name, one.task, one.repeat)
        assert (back.cluster, back.tags, back.finish) == (one.cluster, ("sums",), one.finish)
        assert back.began == one.began
    assert found["b/../ü x", 1].why == "connection lost"


def test_results_of_promptfoo_have_all_that_its_format_carries(whole, tmp_path):
    (path,) = exported(whole, "promptfoo", tmp_path / "logs")
    found = results(path)
    assert len(found) == 6
    for one in whole.read_records():
        back = found[one.task, one.repeat]
        for name in ("answer", "prompt_tokens", "completion_tokens", "dollars"):
            assert getattr(back, name) == getattr(one, name), (name, one.task, one.repeat)
        assert (back.cluster, back.tags, back.finish) == (one.cluster, ("sums",), one.finish)
        assert back.outcome == one.outcome
        assert back.seconds == (None if one.outcome == "error" else pytest.approx(one.seconds))
    assert found["b/../ü x", 1].why == "connection lost"


@pytest.mark.parametrize("tool", ["evalscope", "nemo"])
def test_files_of_other_harnesses_have_all_that_counts(whole, tmp_path, tool):
    (path,) = exported(whole, tool, tmp_path / "logs")
    found = results(path)
    assert len(found) == 6
    for one in whole.read_records():
        back = found[one.task, one.repeat]
        assert (back.outcome, back.answer, back.why, back.finish) == (one.outcome, one.answer, one.why, one.finish)
        assert (back.cluster, back.tags, back.dollars) == (one.cluster, ("sums",), one.dollars)
        if one.is_graded:
            assert back.seconds == pytest.approx(one.seconds)
            assert (back.prompt_tokens, back.completion_tokens) == (one.prompt_tokens, one.completion_tokens)
            assert back.cached_tokens == (one.cached_tokens if one.prompt_tokens is not None else None)
            assert back.first_output == (one.first_output if tool == "evalscope" else None)
        else:
            assert (back.seconds, back.prompt_tokens, back.completion_tokens) == (None, None, None)


@pytest.mark.parametrize("tool", ["evalscope", "nemo"])
@pytest.mark.parametrize("outcome", ["no_answer", "lost_to_thinking"])
def test_an_answer_that_is_missing_stays_one(tmp_path, tool, outcome):
    records = [answered("a"), answered("b", outcome, answer="", finish="length", why="nothing but thinking")]
    (path,) = exported(run(tmp_path / "run", records), tool, tmp_path / "logs")
    back = results(path)["b", 0]
    assert (back.outcome, back.why, back.seconds) == (outcome, "nothing but thinking", 1.0)


@pytest.mark.parametrize("tool", ["evalscope", "nemo"])
def test_an_unknown_time_or_count_is_not_zero(tmp_path, tool):
    records = [
        answered("a", seconds=None, first_output=None),
        answered("b", prompt_tokens=None, completion_tokens=None, cached_tokens=None, passes=[], dollars=None),
    ]
    (path,) = exported(run(tmp_path / "run", records), tool, tmp_path / "logs")
    found = results(path)
    assert (found["a", 0].seconds, found["a", 0].prompt_tokens) == (None, 10)
    assert (found["b", 0].seconds, found["b", 0].prompt_tokens, found["b", 0].cached_tokens) == (1.0, None, None)


@pytest.mark.parametrize("tool", ["evalscope", "nemo"])
def test_an_answer_in_the_question_is_no_answer(tmp_path, tool):
    directory = run(tmp_path / "run", [answered("a")])
    said = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    directory.write_tasks([task("a", messages=said)])
    (path,) = exported(directory, tool, tmp_path / "logs")
    back = results(path)["a", 0]
    assert (back.answer, back.seconds, back.completion_tokens) == ("the answer to a", 1.0, 10)


def test_reviews_of_several_rows_lie_in_one_folder_of_evalscope(tmp_path):
    rows = (("max", "average", 3), ("max", "max", 3))
    records = [answered(name, tier=tier, mode=mode) for tier, mode, _ in rows for name in "ab"]
    paths = exported(run(tmp_path / "run", records, rows=rows), "evalscope", tmp_path / "logs")
    names = [path.relative_to(tmp_path / "logs") for path in paths]
    assert [name.parts[1:] for name in names] == [
        ("reviews", "max_average", "suite_default.jsonl"),
        ("reviews", "max_max", "suite_default.jsonl"),
    ]
    assert {name.parts[0] for name in names} == {"20261122_100000"}
    done = tierwise("import", tmp_path / "logs", "--out", tmp_path / "back")
    assert done.exit_code == 0, done.output
    assert [path.name for path in sorted((tmp_path / "back").iterdir())] == [
        "max_average_suite_default",
        "max_max_suite_default",
    ]


def test_a_report_of_evalscope_counts_what_was_graded(whole, tmp_path):
    exported(whole, "evalscope", tmp_path / "logs")
    (path,) = (tmp_path / "logs").rglob("reports/*/*.json")
    report = msgspec.json.decode(path.read_bytes())
    (metric,) = report["metrics"]
    assert (metric["num"], metric["score"]) == (5, 0.6)
    summary = report["execution_summary"]
    assert (summary["requested"], summary["succeeded"], summary["errored"]) == (6, 5, 1)
    performance = report["perf_metrics"]
    assert performance["coverage"] == {"requests_with_metrics": 4, "total_requests": 6}
    assert performance["summary"]["latency"]["50%"] == 1.0
    assert performance["summary"]["usage"]["total_input_tokens"] == 40


def test_a_run_of_errors_only_is_no_report_of_evalscope(tmp_path):
    directory = run(tmp_path / "run", [answered("a", "error", why="connection lost")])
    assert "no action was graded" in refused(directory, "evalscope", tmp_path / "logs")


def test_a_bundle_of_nemo_has_its_own_figures(whole, tmp_path):
    (path,) = exported(whole, "nemo", tmp_path / "logs")
    assert path.relative_to(tmp_path / "logs").as_posix() == "fast/suite/eval-20261122T100000Z-suite.json"
    scores = msgspec.json.decode(path.read_bytes())["benchmark"]["scores"]
    assert scores["pass@1"]["value"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert scores["pass@2"]["value"] == pytest.approx(2 / 3)
    assert scores["failures"]["categories"]["infra_error"]["count"] == 1
    assert scores["runtime"]["total_tokens"] == 80


def test_bundles_of_nemo_have_the_same_number_for_the_same_task(tmp_path):
    found = []
    for names in ("ab", "cb"):
        directory = run(tmp_path / names, [answered(name) for name in names])
        (path,) = exported(directory, "nemo", tmp_path / f"logs-{names}")
        lines = path.with_name("results.jsonl").read_bytes().splitlines()
        found.append([msgspec.json.decode(line)["problem_idx"] for line in lines])
    (a, b), (c, again) = found
    assert b == again
    assert len({a, b, c}) == 3


def test_spend_of_nothing_is_known_in_results_of_promptfoo(tmp_path):
    records = [answered("a", dollars=0.0), answered("b", dollars=None)]
    (path,) = exported(run(tmp_path / "run", records), "promptfoo", tmp_path / "logs")
    assert {name: one.dollars for (name, _), one in results(path).items()} == {"a": 0.0, "b": None}


def test_results_of_promptfoo_become_the_same_results_again(tmp_path):
    logs, back = tmp_path / "logs", tmp_path / "back"
    assert tierwise("import", FIXTURE, "--out", back, "--cluster", "group").exit_code == 0
    for path in sorted(back.iterdir()):
        (again,) = exported(RunDirectory(path), "promptfoo", logs / path.name)
        (twice,) = read(again, options=ImportOptions(cluster="cluster"))
        (once,) = (one for one in read(FIXTURE, options=ImportOptions(cluster="group")) if one.tier == twice.tier)
        kept = (
            "task",
            "repeat",
            "outcome",
            "answer",
            "finish",
            "cluster",
            "prompt_tokens",
            "completion_tokens",
            "dollars",
        )
        one, other = ({name: [getattr(row, name) for row in run.results] for name in kept} for run in (once, twice))
        assert one == other
        assert [row.seconds for row in twice.results] == pytest.approx([row.seconds for row in once.results])


@pytest.mark.parametrize("tool", EXPORTERS)
def test_import_of_export_compares_equal(tmp_path, tool):
    records = [answered(f"t{n:03}", "correct" if n % 3 else "incorrect") for n in range(60)]
    directory = run(tmp_path / "run", records)
    (path,) = exported(directory, tool, tmp_path / "logs")
    done = tierwise("import", path, "--out", tmp_path / "back")
    assert done.exit_code == 0, done.output
    (back,) = (tmp_path / "back").iterdir()
    said = tierwise("compare", directory.path, back).output
    assert "no difference shown (+0.0 points" in said
    assert "both solved 40, only the first 0, only the second 0, neither 20" in said
    again = {one.task: one for one in RunDirectory(back).read_records()}
    for one in directory.read_records():
        assert again[one.task].outcome == one.outcome
        if tool != "lm-eval":
            assert again[one.task].completion_tokens == one.completion_tokens


@pytest.mark.parametrize("tool", ["inspect", "promptfoo", "evalscope", "nemo"])
def test_repeats_and_errors_of_an_export_compare_equal(tmp_path, tool):
    records = [
        answered(
            f"t{task:03}", "error" if task == 7 else "correct" if (task + repeat) % 3 else "incorrect", repeat=repeat
        )
        for task in range(60)
        for repeat in range(2)
    ]
    directory = run(tmp_path / "run", records, repeats=2)
    (path,) = exported(directory, tool, tmp_path / "logs")
    assert tierwise("import", path, "--out", tmp_path / "back").exit_code == 0
    (back,) = (tmp_path / "back").iterdir()
    done = tierwise("compare", directory.path, back, "--json")
    assert done.exit_code == 0, done.output
    (found,) = msgspec.json.decode(done.stdout)
    assert (found["both"], found["only_base"], found["only_other"], found["neither"]) == (78, 0, 0, 40)
    assert (found["errors_base"], found["errors_other"]) == (2, 2)
    assert (found["seconds"]["ratio"]["value"], found["dollars"]["ratio"]["value"]) == (1, 1)


@pytest.mark.parametrize("tool", ["inspect", "evalscope", "nemo"])
def test_an_export_of_an_import_is_the_same_log_again(whole, tmp_path, tool):
    (path,) = exported(whole, tool, tmp_path / "logs")
    assert tierwise("import", path, "--out", tmp_path / "back", "--cluster", "cluster").exit_code == 0
    (back,) = (tmp_path / "back").iterdir()
    (again,) = exported(RunDirectory(back), tool, tmp_path / "again")
    assert results(again) == results(path)


def test_each_row_is_a_log_of_its_own(tmp_path):
    rows = (("max", "average", 3), ("max", "max", 3), ("fast", "both", 1))
    records = [answered(name, tier=tier, mode=mode) for tier, mode, _ in rows for name in "ab"]
    paths = exported(run(tmp_path / "run", records, rows=rows), "inspect", tmp_path / "logs")
    assert [path.name for path in paths] == ["fast_both.eval", "max_average.eval", "max_max.eval"]


@pytest.mark.parametrize("tool", ["inspect", "promptfoo", "evalscope", "nemo"])
def test_the_same_run_makes_the_same_bytes(whole, tmp_path, tool):
    for name in "ab":
        exported(whole, tool, tmp_path / name)
    one, other = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in "ab"
    )
    assert one == other


def test_entries_of_a_log_stay_in_it_whatever_ids_there_are(whole, tmp_path):
    (path,) = exported(whole, "inspect", tmp_path / "logs")
    names = zipfile.ZipFile(path).namelist()
    assert len(set(names)) == len(names)
    assert not any(".." in name.split("/") or name.count("/") > 2 for name in names)


def test_what_lm_eval_has_no_place_for_is_refused(whole, tmp_path):
    assert "each task was asked 2 times" in refused(whole, "lm-eval", tmp_path / "logs")
    broken = run(tmp_path / "broken", [answered("a"), answered("b", "error", why="connection lost")])
    assert "1 actions ended in infrastructure errors (b, …)" in refused(broken, "lm-eval", tmp_path / "logs")


def test_a_run_that_is_not_whole_is_refused(tmp_path):
    part = run(tmp_path / "part", [answered("a")], names=["a", "b"])
    assert "lacks 1 of its actions (b, …)" in refused(part, "inspect", tmp_path / "logs")
    blank = run(tmp_path / "blank", [answered("a", "unlabelled")])
    assert "1 answers without a grade" in refused(blank, "inspect", tmp_path / "logs")
    (tmp_path / "none").mkdir()
    assert "manifest.json" in refused(RunDirectory(tmp_path / "none"), "inspect", tmp_path / "logs")


def test_nothing_is_overwritten(whole, tmp_path):
    (tmp_path / "logs").mkdir()
    done = tierwise("export", whole.path, "--as", "inspect", "--out", tmp_path / "logs")
    assert "already exists" in str(done.exception)


def test_every_tool_of_the_table_is_a_choice(tmp_path):
    done = tierwise("export", tmp_path, "--as", "no-tool", "--out", tmp_path / "logs")
    assert done.exit_code == 2
    assert all(name in done.output for name in EXPORTERS)
