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
from tierwise.runs.importers import read
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
    suffix = {"inspect": ".eval", "lm-eval": ".jsonl", "promptfoo": ".json"}[tool]
    return sorted(path for path in out.rglob("*") if path.suffix == suffix)


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
        assert back.outcome == ("incorrect" if one.outcome == "no_answer" else one.outcome)
        assert back.seconds == (None if one.outcome == "error" else pytest.approx(one.seconds))
    assert found["b/../ü x", 1].why == "connection lost"


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


@pytest.mark.parametrize("tool", ["inspect", "lm-eval", "promptfoo"])
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


def test_an_export_of_an_import_is_the_same_log_again(whole, tmp_path):
    (path,) = exported(whole, "inspect", tmp_path / "logs")
    assert tierwise("import", path, "--out", tmp_path / "back", "--cluster", "cluster").exit_code == 0
    (again,) = exported(RunDirectory(tmp_path / "back" / "fast"), "inspect", tmp_path / "again")
    assert results(again) == results(path)


def test_each_row_is_a_log_of_its_own(tmp_path):
    rows = (("max", "average", 3), ("max", "max", 3), ("fast", "both", 1))
    records = [answered(name, tier=tier, mode=mode) for tier, mode, _ in rows for name in "ab"]
    paths = exported(run(tmp_path / "run", records, rows=rows), "inspect", tmp_path / "logs")
    assert [path.name for path in paths] == ["fast_both.eval", "max_average.eval", "max_max.eval"]


def test_the_same_run_makes_the_same_bytes(whole, tmp_path):
    (one,), (other,) = (exported(whole, "inspect", tmp_path / name) for name in "ab")
    assert one.read_bytes() == other.read_bytes()


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
