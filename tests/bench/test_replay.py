"""`tierwise replay`: a run directory is enough to regrade the run and rebuild its report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripted_tiers import Answering, line
from tierwise.cli import app
from tierwise.policies import Single
from tierwise.spec.errors import NotFound, SpecError

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
"""


@pytest.fixture
def measured(tmp_path, endpoint, write_tasks):
    """A run of three sums; the tier solves two."""
    file = tmp_path / "one.yaml"
    file.write_text(CONFIG.format(url=endpoint(Answering({"0+1?": "1", "1+1?": "2", "2+1?": "4"}), fast=Single())))
    tasks = write_tasks(*(line(f"t{number}", f"{number}+1?", number + 1) for number in range(3)))
    out = tmp_path / "run"
    assert invoke("bench", file, tasks, "--out", out).exit_code == 0
    return out


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_replayed_report_is_identical(measured):
    before = (measured / "report.html").read_bytes()
    done = invoke("replay", measured)
    assert (done.exit_code, (measured / "report.html").read_bytes()) == (0, before)
    assert "3 answers graded again, 0 grades changed" in done.stdout
    assert "identical to the previous one" in done.stdout


def test_a_corrected_check_names_the_tasks_whose_outcome_changed_and_keeps_the_records(measured, tmp_path):
    tasks, records = measured / "workload.jsonl", (measured / "records.jsonl").read_bytes()
    tasks.write_text(tasks.read_text().replace('"equals":3', '"equals":4').replace('"equals": 3', '"equals": 4'))
    done = invoke("replay", measured, "--json", "--out", tmp_path / "new.html")
    facts = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(flip["task"], flip["was"], flip["is"]) for flip in facts["changed"]] == [("t2", "incorrect", "correct")]
    assert (measured / "records.jsonl").read_bytes() == records


def test_a_run_of_format_1_keeps_every_grade(tmp_path):
    old = Path(__file__).parents[1] / "runs" / "data" / "format_1"
    done = invoke("replay", old, "--out", tmp_path / "new.html")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, "9 answers graded again, 0 grades changed")
    compared = json.loads(invoke("compare", old, old, "--tier", "fast", "--json").stdout)
    assert (compared[0]["both"], compared[0]["neither"]) == (1, 2)


def test_a_directory_without_a_run_is_named(tmp_path):
    assert isinstance(invoke("replay", tmp_path).exception, NotFound)


def test_a_record_of_an_unknown_task_is_named(measured):
    tasks = measured / "workload.jsonl"
    tasks.write_text("".join(tasks.read_text().splitlines(keepends=True)[:-1]))
    error = invoke("replay", measured).exception
    assert isinstance(error, SpecError)
    assert "'t2'" in str(error)
