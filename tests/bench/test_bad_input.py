"""Errors in a workload, a run or a result file are reported with their location, before anything is launched."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from scripted_tiers import Answering, line
from tierwise.cli import app
from tierwise.policies import Single
from tierwise.spec.errors import TierwiseError

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
"""

ASKED = [{"role": "user", "content": "2+2?"}]
PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "gone.png"}}]}]


@pytest.fixture
def url(endpoint):
    """An in-process endpoint that only adds numbers."""
    return endpoint(Answering({"2+2?": "4"}, otherwise="Hm."), fast=Single())


@pytest.fixture
def config(tmp_path, url):
    path = tmp_path / "one.yaml"
    path.write_text(CONFIG.format(url=url))
    return path


def tierwise(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (line("a"), "tasks.jsonl:2: id: 'a' is already the id of the task in line 1"),
        (line("b", check={"regex": {"pattern": "("}}), "tasks.jsonl:2: check.regex: pattern: '(' does not compile"),
        (
            line("b", check={"python_tests": {"tests": "def test(:"}}),
            "tasks.jsonl:2: check.python_tests: tests: do not compile",
        ),
        (
            line("b", messages=PICTURE),
            "tasks.jsonl:2: messages[0].content[0].image_url.url: image 'gone.png' does not exist",
        ),
        ('{"id": "b", "id": "c"}', "tasks.jsonl:2: id: appears twice"),
    ],
    ids=["one id twice", "a pattern", "tests", "no image", "a key twice"],
)
@pytest.mark.parametrize("verb", ["bench", "check"])
def test_an_invalid_workload_is_reported_with_its_line_and_leaves_no_files(
    config, write_tasks, tmp_path, verb, wrong, message
):
    path = write_tasks(line("a"), wrong)
    arguments = ("bench", config, path, "--out", tmp_path / "run") if verb == "bench" else ("workload", "check", path)
    done = tierwise(*arguments)
    assert isinstance(done.exception, TierwiseError)
    assert message in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_task_without_a_check_is_named_and_leaves_no_files(config, write_tasks, tmp_path):
    path = write_tasks(line("a"), {"id": "b", "messages": ASKED})
    done = tierwise("bench", config, path, "--out", tmp_path / "run")
    assert isinstance(done.exception, TierwiseError)
    assert "1 of 2 tasks have no `check` (b)" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_small_workload_is_measured_after_a_note_on_its_limits(config, url, write_tasks, tmp_path):
    done = tierwise("bench", config, write_tasks(*map(line, "abc")), "--url", url, "--out", tmp_path / "run")
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert said.index("3 tasks: a share is accurate to ±37 points at best") < said.index("measuring 3 tasks")


def test_an_unreadable_judgement_is_an_error_and_not_an_incorrect_answer(config, url, write_tasks, tmp_path):
    judged = line("a", check={"judge": {"tier": "fast"}})
    done = tierwise("bench", config, write_tasks(judged, line("b")), "--url", url, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "the judge gave no verdict: 'Hm.'" in " ".join(done.output.split())
    records = [json.loads(one) for one in (tmp_path / "run" / "records.jsonl").read_text().splitlines()]
    assert {one["task"]: one["outcome"] for one in records} == {"a": "error", "b": "correct"}


def test_a_run_whose_ledger_is_gone_can_be_compared_and_resumed(config, write_tasks, tmp_path):
    path, run = write_tasks(line("a", check={"judge": {"tier": "fast"}}), line("b")), tmp_path / "run"
    tierwise("bench", config, path, "--out", run)
    (run / "ledger.db").unlink()
    assert tierwise("compare", run, run).exit_code == 0
    gone = tierwise("ledger", "sum", "--ledger", run / "ledger.db")
    assert f"no ledger at {run / 'ledger.db'}" in str(gone.exception)
    said = " ".join(tierwise("bench", config, path, "--resume", run).output.split())
    assert "1 actions ended in infrastructure errors and are run again" in said
    assert "no longer exists: a new one is created, without the passes of earlier sessions" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"accuracy": 1}', "log.json is not a result file of a known tool"),
        ('{\n"a__b-1": true,\n"a__b-2": maybe}', "log.json:3: not JSON"),
        ('{"a__b-1": true, "a__b-1": false}', "log.json:1: a__b-1: appears twice"),
    ],
)
def test_a_result_file_of_the_wrong_kind_is_rejected_and_leaves_no_files(tmp_path, text, message):
    (tmp_path / "log.json").write_text(text)
    done = tierwise("import", tmp_path / "log.json", "--out", tmp_path / "runs")
    assert message in str(done.exception)
    assert not (tmp_path / "runs").exists()
