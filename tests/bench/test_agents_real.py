"""Real harnesses on our terminal tasks: a scripted model that solves some, and a small model that may try."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripted_agent_models import KeystrokesModel, ScriptedAgentModel, ToolModel, calling
from scripted_tiers import line
from tierwise.cli import app
from tierwise.environments import TASKS
from tierwise.runs.directory import RunDirectory
from tierwise.testing.server import FakeServer, in_a_thread

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}", model: any}}
tiers:
  fast: {{deployment: far, policy: single}}
prices:
  far: {{prompt: 1.0, completion: 10.0}}
"""
NAMES = sorted(path.parent.name for path in TASKS.glob("*/task.toml"))
TWO = ["archive-selected", "log-errors"]
MINI = os.environ.get("TIERWISE_MINI_SWE_AGENT") or shutil.which("mini-swe-agent")
needs_mini = pytest.mark.skipif(
    MINI is None, reason="mini-swe-agent is not installed; TIERWISE_MINI_SWE_AGENT names its program"
)
HARBOR = os.environ.get("TIERWISE_HARBOR") or shutil.which("harbor")
needs_harbor = pytest.mark.skipif(
    HARBOR is None, reason="harbor is not installed: it needs Python 3.12; TIERWISE_HARBOR names its program"
)
INSPECT = os.environ.get("TIERWISE_INSPECT") or shutil.which("inspect")
needs_inspect = pytest.mark.skipif(
    INSPECT is None, reason="inspect is not installed; TIERWISE_INSPECT names its program"
)
CODER = os.environ.get("TIERWISE_CODER")
needs_coder = pytest.mark.skipif(CODER is None, reason="TIERWISE_CODER names no GGUF file of a small coder")
REAL = """
checkpoints:
  coder: {{source: "file:{file}"}}
deployments:
  small: {{engine: llama.cpp, checkpoint: coder, context: 8192, slots: 1, threads: 2}}
tiers:
  fast: {{deployment: small, policy: single, sampling: {{temperature: 0.7, max_tokens: 400}}}}
prices:
  small: {{prompt: 0.1, cached: 0.01, completion: 0.4}}
"""


EACH = pytest.mark.parametrize(
    ("runner", "scripted"),
    [
        pytest.param('{"mini-swe-agent": {"turns": TURNS}}', ScriptedAgentModel, marks=needs_mini, id="mini-swe-agent"),
        pytest.param(
            '{"harbor": {"options": {"max_turns": TURNS}}}', KeystrokesModel, marks=needs_harbor, id="terminus-2"
        ),
        pytest.param('{"inspect": {"turns": TURNS}}', ToolModel, marks=needs_inspect, id="inspect"),
    ],
)
"""Each harness, and a scripted model that speaks its language."""


def bench(tmp_path, config, tasks, *options):
    (tmp_path / "one.yaml").write_text(config)
    arguments = ["bench", tmp_path / "one.yaml", tasks, "--out", tmp_path / "run", *options]
    return CliRunner().invoke(app, [str(one) for one in arguments]), RunDirectory(tmp_path / "run")


def copied(tmp_path, names):
    for name in names:
        shutil.copytree(TASKS / name, tmp_path / "tasks" / name)
    return tmp_path / "tasks"


def assert_joined(records, model, knows):
    """Each task's outcome is as the model knows, and the sum of tokens is what it sent."""
    assert {record.task: str(record.outcome) for record in records} == {
        record.task: "correct" if record.task in knows else "incorrect" for record in records
    }, [record.why for record in records]
    assert {record.task: len(record.agent.actions) for record in records} == model.turns
    assert sum(record.prompt_tokens for record in records) == model.produced.prompt
    assert sum(record.completion_tokens for record in records) == model.produced.completion
    assert all(record.dollars > 0 for record in records)


@needs_mini
@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("names", [TWO, NAMES], ids=["two", "all"])
def test_mini_swe_agent_works_on_terminal_tasks(tmp_path, names):
    knows = names[::2]
    with in_a_thread(ScriptedAgentModel(TASKS, knows)) as model:
        done, directory = bench(
            tmp_path, CONFIG.format(url=model.url), copied(tmp_path, names), "--runner", "mini-swe-agent"
        )
        assert done.exit_code == 0, done.output
        assert_joined(directory.read_records(), model, knows)
    assert "3.0 turns per task" in done.output
    assert (Path(directory.path) / "agents").exists()


DONE = "```bash\necho COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT\n```"
CHANGED = {
    "agent": {"system_template": "One command in a block.", "instance_template": "{{task}}"},
    "model": {"action_regex": "```bash\\n(.*?)\\n```", "model_kwargs": {"max_tokens": 77}},
}


@needs_mini
@pytest.mark.sandbox
@pytest.mark.slow
def test_parts_of_mini_s_configuration_are_replaced(tmp_path):
    runner = json.dumps({"mini-swe-agent": {"turns": 2, "config": CHANGED}})
    with in_a_thread(FakeServer(DONE)) as model:
        done, directory = bench(tmp_path, CONFIG.format(url=model.url), copied(tmp_path, TWO[:1]), "--runner", runner)
        assert done.exit_code == 0, (done.output, [record.why for record in directory.read_records()])
        (request,) = model.requests  # the block was understood
        (record,) = directory.read_records()
    first, second = request.body["messages"]
    assert first["content"] == "One command in a block."
    assert second["content"] == (TASKS / TWO[0] / "instruction.md").read_text()
    assert request.body["max_tokens"] == 77
    (log,) = (directory.path / "agents").glob("*.log")
    assert log.read_text().splitlines() == ["mini-swe-agent: Submitted after 1 requests"]
    assert str(record.outcome) == "incorrect"


@needs_mini
@pytest.mark.sandbox
@pytest.mark.slow
def test_a_setting_that_mini_does_not_have_is_named(tmp_path):
    runner = json.dumps({"mini-swe-agent": {"config": {"agent": {"sytem_template": "One."}}}})
    with in_a_thread(FakeServer(DONE)) as model:
        _, directory = bench(tmp_path, CONFIG.format(url=model.url), copied(tmp_path, TWO[:1]), "--runner", runner)
        assert not model.requests
    (record,) = directory.read_records()
    assert str(record.outcome) == "error"
    assert "mini-swe-agent has no setting agent.sytem_template; allowed: system_template" in record.why


@needs_harbor
@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("names", [TWO, NAMES], ids=["two", "all"])
def test_terminus_2_works_on_terminal_tasks_in_our_sandbox(tmp_path, names):
    knows = [name for name in names[::2] if name != "fix-makefile"]  # a tab that is typed completes a word
    runner = '{"harbor": {"options": {"max_turns": 8}}}'
    with in_a_thread(KeystrokesModel(TASKS, knows)) as model:
        done, directory = bench(
            tmp_path, CONFIG.format(url=model.url), copied(tmp_path, names), "--runner", runner, "--concurrency", "1"
        )
        assert done.exit_code == 0, (done.output, [record.why for record in directory.read_records()])
        assert_joined(directory.read_records(), model, knows)


@needs_inspect
@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("names", [TWO, NAMES], ids=["two", "all"])
def test_inspect_works_on_terminal_tasks_in_our_sandbox(tmp_path, names):
    knows = names[::2]
    with in_a_thread(ToolModel(TASKS, knows)) as model:
        done, directory = bench(
            tmp_path, CONFIG.format(url=model.url), copied(tmp_path, names), "--runner", "inspect", "--concurrency", "1"
        )
        assert done.exit_code == 0, (done.output, [record.why for record in directory.read_records()])
        assert_joined(directory.read_records(), model, knows)
    assert len(list((directory.path / "agents").glob("*.inspect/*.eval"))) == len(names)


@pytest.mark.sandbox
@pytest.mark.slow
@EACH
def test_average_mode_is_one_pass_of_every_turn(tmp_path, runner, scripted):
    config = CONFIG.replace("policy: single", "policy: {{majority: {{n: 3}}}}")
    with in_a_thread(scripted(TASKS, TWO[:1])) as model:
        options = ("--runner", runner.replace("TURNS", "8"), "--concurrency", "1", "--mode", "average")
        done, directory = bench(tmp_path, config.format(url=model.url), copied(tmp_path, TWO), *options)
        records = directory.read_records()
        assert done.exit_code == 0, (done.output, [record.why for record in records])
        assert_joined(records, model, TWO[:1])
    assert {record.mode for record in records} == {"average"}
    assert {action.passes for record in records for action in record.agent.actions} == {1}
    assert directory.read_manifest().harness


@pytest.mark.sandbox
@pytest.mark.slow
@EACH
def test_an_agent_makes_the_turns_that_it_may_and_no_more(tmp_path, runner, scripted):
    with in_a_thread(scripted(TASKS, TWO)) as model:
        options = ("--runner", runner.replace("TURNS", "2"), "--concurrency", "1")
        done, directory = bench(tmp_path, CONFIG.format(url=model.url), copied(tmp_path, TWO), *options)
        records = directory.read_records()
        assert done.exit_code == 0, (done.output, [record.why for record in records])
        assert_joined(records, model, TWO)  # the command of the second turn is the solution
    assert {record.agent.turns for record in records} == {2}


@needs_inspect
@pytest.mark.slow
def test_what_is_submitted_in_inspect_is_the_answer_that_the_check_grades(tmp_path, write_tasks):
    tasks = write_tasks(line("sum"), line("hard", "17*3?", 51))
    with in_a_thread(FakeServer(calling("submit", {"answer": "It is 4"}))) as model:
        done, directory = bench(tmp_path, CONFIG.format(url=model.url), tasks, "--runner", "inspect")
    assert done.exit_code == 0, (done.output, [record.why for record in directory.read_records()])
    assert {record.task: str(record.outcome) for record in directory.read_records()} == {
        "sum": "correct",
        "hard": "incorrect",
    }


@needs_coder
@pytest.mark.model
@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize(
    "runner",
    [
        pytest.param('{"mini-swe-agent": {"turns": 8}}', marks=needs_mini, id="mini-swe-agent"),
        pytest.param('{"harbor": {"options": {"max_turns": 8}}}', marks=needs_harbor, id="terminus-2"),
        pytest.param('{"inspect": {"turns": 8}}', marks=needs_inspect, id="inspect"),
    ],
)
def test_a_small_coder_tries_three_tasks_in_at_most_eight_turns(tmp_path, runner):
    names = ["count-errors", "make-folders", "log-errors"]
    options = ("--runner", runner, "--concurrency", "1")  # a task ends after 300 s, and is graded as it is then
    done, directory = bench(tmp_path, REAL.format(file=CODER), copied(tmp_path, names), *options)
    records = directory.read_records()
    assert done.exit_code == 0, (done.output, [record.why for record in records])
    assert sorted(record.task for record in records) == sorted(names)
    most = 16 if "harbor" in runner else 8  # terminus-2 asks again in a turn whose answer is cut off at its length
    assert all(record.is_graded and record.agent.actions and record.agent.turns <= most for record in records)
    assert all(record.completion_tokens > 0 and record.dollars > 0 for record in records)
    assert "turns per task" in done.output.replace("\n", " ")
