"""Mined tasks through `tierwise bench`: a scripted model answers each with one patch, and the commit's tests decide."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from mining.made_repositories import gold_of
from scripted_tiers import Answering, Tiers, served
from tierwise.cli import app
from tierwise.gateway.app import application
from tierwise.policies import Single
from tierwise.runs.directory import RunDirectory

pytestmark = pytest.mark.sandbox

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
"""


def answers(made, tasks):
    """Right as a diff, wrong, not to be applied, right as a whole file: one for each task."""
    right, wrong, lost, whole = (task.check.repository_tests for task in tasks)
    files = made.git("show", f"{whole.commit}:shapes.py")
    return [
        f"I add it:\n\n```diff\n{gold_of(made, right)}```\n",
        f"```diff\n{gold_of(made, wrong)}```".replace("return x *", "return x +"),
        f"```diff\n{gold_of(made, lost)}```".replace("shapes.py", "forms.py"),
        f"shapes.py\n```python\n{files}\n```\n",
    ]


def test_one_answer_per_task_is_applied_and_graded_by_the_commits_tests(shapes, tmp_path):
    made, found, _ = shapes
    said = dict(zip((task.messages[0]["content"] for task in found.tasks), answers(made, found.tasks), strict=True))
    config = tmp_path / "two.yaml"
    with served(application(Tiers(engine=Answering(said), policies={"fast": Single()}).service())) as url:
        config.write_text(CONFIG.format(url=url))
        done = CliRunner().invoke(app, ["bench", str(config), str(found.path), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "2 of 4" in done.output
    records = {record.task: record for record in RunDirectory(tmp_path / "run").read_records()}
    whys = [(records[task.id].outcome, records[task.id].why) for task in found.tasks]
    assert [outcome for outcome, _ in whys] == ["correct", "incorrect", "incorrect", "correct"]
    for (_, why), words in zip(
        whys, ["tests pass now", "tests still fail", "does not apply", "tests pass now"], strict=True
    ):
        assert words in why
