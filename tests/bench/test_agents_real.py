"""Real harnesses on our terminal tasks: a scripted model that solves some, and a small model that may try."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripted_agent_models import KeystrokesModel, ScriptedAgentModel
from tierwise.cli import app
from tierwise.environments import TASKS
from tierwise.runs.directory import RunDirectory
from tierwise.testing.server import in_a_thread

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}", model: any}}
tiers:
  fast: {{deployment: far, policy: single}}
prices:
  far: {{prompt: 1.0, completion: 10.0}}
"""
NAMES = sorted(path.parent.name for path in TASKS.glob("*/task.toml"))
MINI = os.environ.get("TIERWISE_MINI_SWE_AGENT") or shutil.which("mini-swe-agent")
needs_mini = pytest.mark.skipif(
    MINI is None, reason="mini-swe-agent is not installed; TIERWISE_MINI_SWE_AGENT names its program"
)
HARBOR = os.environ.get("TIERWISE_HARBOR") or shutil.which("harbor")
needs_harbor = pytest.mark.skipif(
    HARBOR is None, reason="harbor is not installed: it needs Python 3.12; TIERWISE_HARBOR names its program"
)


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
@pytest.mark.parametrize("names", [NAMES[:2], NAMES], ids=["two", "all"])
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


@needs_harbor
@pytest.mark.sandbox
@pytest.mark.slow
def test_terminus_2_works_on_terminal_tasks_in_our_sandbox(tmp_path):
    names = ["archive-selected", "log-errors"]
    runner = '{"harbor": {"options": {"max_turns": 8}}}'
    with in_a_thread(KeystrokesModel(TASKS, names[:1])) as model:
        done, directory = bench(
            tmp_path, CONFIG.format(url=model.url), copied(tmp_path, names), "--runner", runner, "--concurrency", "1"
        )
        assert done.exit_code == 0, (done.output, [record.why for record in directory.read_records()])
        assert_joined(directory.read_records(), model, names[:1])
