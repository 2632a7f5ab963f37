"""`tierwise compare`, `gate` and `import` as a script meets them: what is printed and written, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tierwise.cli import compare, gate, importing
from tierwise.spec.errors import SpecError
from written_runs import outcomes, run

DATA = Path(__file__).parents[1] / "runs" / "importers" / "data"

app = typer.Typer()
app.command()(compare.compare)
app.command()(gate.gate)
app.command("import")(importing.import_)


def tierwise(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(done.exception, Exception):
        raise done.exception
    return done


def whole(*arguments):
    """The command in a process of its own, with the exit codes of errors."""
    command = [sys.executable, "-m", "tierwise", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def runs(tmp_path):
    return run(tmp_path / "a", outcomes("+" * 300)), run(tmp_path / "b", outcomes("-" * 30 + "+" * 270))


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("quality: {margin: 0.05}\n")
    return path


def test_a_comparison_shows_changes_flips_verdict_and_population(runs):
    shown = tierwise("compare", *runs).output
    for words in ("-10.0 points", "quality: worse", "lost (30): t0000", "always 1 pass", "describes tasks like those"):
        assert words in " ".join(shown.split()), words


def test_a_comparison_is_printed_as_json(runs):
    (found,) = json.loads(tierwise("compare", *runs, "--json").stdout)
    assert (found["verdict"], found["only_base"], found["population"]) == ("worse", 30, "tasks")
    assert found["quality"]["tasks"]["interval"]["high"] < 0


def test_a_comparison_is_printed_as_markdown(runs):
    assert tierwise("compare", *runs, "--format", "markdown").stdout.startswith("**quality: worse")


def test_two_modes_of_one_run_can_be_compared(tmp_path):
    path = run(
        tmp_path / "a", [*outcomes("+-+-", tier="max", mode="average"), *outcomes("++++", tier="max", mode="max")]
    )
    done = tierwise("compare", path, path, "--tier", "max", "--base-mode", "average", "--mode", "max", "--json")
    (found,) = json.loads(done.stdout)
    assert (found["base"], found["other"]) == ("a · max (average: 1 pass)", "a · max (max: ≤ 4 passes)")


@pytest.mark.parametrize(("candidate", "code", "verdict"), [(0, 0, "PASS"), (1, 1, "FAIL")])
def test_the_verdict_is_the_exit_code(runs, policy, candidate, code, verdict):
    done = tierwise("gate", runs[candidate], "--against", runs[0], "--policy", policy)
    assert done.exit_code == code
    assert done.output.startswith(verdict)


def test_what_is_inconclusive_ends_with_2_and_the_tasks_that_are_needed(tmp_path, policy):
    a, b = run(tmp_path / "a", outcomes("+" * 20 + "-" * 5)), run(tmp_path / "b", outcomes("+" * 19 + "-" * 6))
    done = tierwise("gate", b, "--against", a, "--policy", policy, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["needed"] > 0


def test_a_gate_leaves_junit_and_markdown(runs, policy, tmp_path):
    junit, markdown = tmp_path / "gate.xml", tmp_path / "gate.md"
    tierwise("gate", runs[1], "--against", runs[0], "--policy", policy, "--junit", junit, "--markdown", markdown)
    assert '<failure type="FAIL"' in junit.read_text()
    assert markdown.read_text().startswith("### ❌ FAIL")


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
@pytest.mark.parametrize("name", ["no/such/folder/gate", "file/gate", "folder"])
def test_a_gate_file_that_cannot_be_written_is_no_verdict(runs, policy, tmp_path, option, name):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    done = whole("gate", runs[0], "--against", runs[0], "--policy", policy, option, tmp_path / name)
    assert (done.returncode, done.stdout) == (2, ""), "1 would be FAIL"
    assert done.stderr.startswith(f"tierwise: cannot write {tmp_path / name}: ")
    assert not list(tmp_path.rglob("*.new"))


def test_a_sequential_gate_says_how_few_tasks_it_took(runs, policy):
    done = tierwise("gate", runs[0], "--against", runs[0], "--policy", policy, "--sequential", "--json")
    found = json.loads(done.stdout)
    assert (found["verdict"], found["is_sequential"]) == ("PASS", True)
    assert found["tasks"] < 150


def test_a_gate_over_several_rows_asks_for_one(tmp_path, policy):
    path = run(tmp_path / "a", [*outcomes("+", tier="x"), *outcomes("+", tier="y")])
    with pytest.raises(SpecError, match=r"these runs have x, y in common: select one"):
        tierwise("gate", path, "--against", path, "--policy", policy)


def test_a_gate_with_a_wrong_policy_writes_nothing(runs, policy, tmp_path):
    policy.write_text("quality: {margn: 0.05}\n")
    with pytest.raises(SpecError, match="margn"):
        tierwise("gate", *runs[:1], "--against", runs[0], "--policy", policy, "--junit", tmp_path / "x.xml")
    assert not (tmp_path / "x.xml").exists()


def test_an_import_leaves_a_run_for_each_file_and_tells_the_denominators(tmp_path):
    done = tierwise("import", DATA, "--out", tmp_path / "runs")
    assert "11 of 40 solved; the suite has 731: 691 missing" in done.output
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "claude-45sonnet-10132025",
        "gpt-5-250-turns-10132025",
    ]


def test_imported_runs_are_compared_on_the_tasks_in_common(tmp_path):
    tierwise("import", DATA, "--out", tmp_path)
    done = tierwise("compare", tmp_path / "gpt-5-250-turns-10132025", tmp_path / "claude-45sonnet-10132025", "--common")
    assert "describes new clusters" in " ".join(done.output.split())


def test_the_table_is_printed_without_writing_anything(tmp_path):
    done = tierwise("import", DATA, "--table")
    for words in ("clustered SE", "fail of 731", "Of 1 pairs"):
        assert words in done.output
    found = json.loads(tierwise("import", DATA, "--table", "--json").stdout)
    assert found["scores"][0]["n"] == 40
    assert found["significant"].keys() == {"unpaired", "mcnemar", "clustered"}


def test_a_file_of_another_kind_leaves_nothing_half_written(tmp_path):
    (tmp_path / "x.json").write_text('{"accuracy": 1}')
    with pytest.raises(SpecError, match="is not a result file"):
        tierwise("import", DATA, tmp_path / "x.json", "--out", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_there_is_not_written_over(tmp_path):
    tierwise("import", DATA, "--out", tmp_path)
    with pytest.raises(SpecError, match="already exists"):
        tierwise("import", DATA, "--out", tmp_path)


def test_an_import_must_lead_somewhere():
    with pytest.raises(SpecError, match="--out DIR to write runs, --table"):
        tierwise("import", DATA)


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "gpt-5-250-turns-10132025.json").write_text('{"django__django-1": true}')
    with pytest.raises(SpecError, match="several files are named gpt-5"):
        tierwise("import", DATA, tmp_path, "--out", tmp_path / "runs")
