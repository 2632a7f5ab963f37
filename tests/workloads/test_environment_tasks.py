"""Folders of tasks in Harbor's format as workloads, and tasks of a file that name such a folder."""

from __future__ import annotations

import json
import shutil

import pytest

from tierwise.environments import TASKS
from tierwise.spec.errors import ConfigErrors
from tierwise.workloads.content import PARTS, different_parts, task_hashes
from tierwise.workloads.files import load


@pytest.fixture
def folder(tmp_path):
    for name in ("log-errors", "git-rescue"):
        shutil.copytree(TASKS / name, tmp_path / "tasks" / name)
    return tmp_path / "tasks"


def test_a_folder_of_tasks_is_a_workload(folder):
    found = load(folder)
    assert [task.id for task in found.tasks] == ["git-rescue", "log-errors"]
    assert all(task.is_graded and task.check is None for task in found.tasks)
    assert found.tasks[1].messages[0]["content"] == (folder / "log-errors" / "instruction.md").read_text()
    assert found.tasks[1].tags == ["text"]
    assert (found.base, found.unlabelled, found.needs_sandbox) == (folder, (), True)


def test_any_change_of_a_task_is_another_workload(folder, tmp_path):
    before = load(folder)
    with (folder / "log-errors" / "tests" / "check.py").open("a") as file:
        file.write("# stricter\n")
    after = load(folder)
    assert before.sha256 != after.sha256
    for name, found in (("before", before), ("after", after)):
        from tierwise.runs.directory import RunDirectory  # noqa: PLC0415

        directory = RunDirectory.create(tmp_path / name)
        directory.write_tasks(found.tasks)
    then, now = (task_hashes(tmp_path / name / "workload.jsonl") for name in ("before", "after"))
    assert different_parts(then["log-errors"], now["log-errors"]) == ["environment_sha256"]
    assert different_parts(then["git-rescue"], now["git-rescue"]) == []
    assert "environment_sha256" in PARTS


def test_a_header_beside_them_holds_for_all(folder):
    (folder / "workload.yaml").write_text("name: terminal\nconcurrency: 2\nrunner: mini-swe-agent\n")
    found = load(folder)
    assert (found.name, found.header.concurrency, found.header.runner.kind) == ("terminal", 2, "mini_swe_agent")
    assert len(found.tasks) == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"environment": "none"}, "no folder with a task.toml"),
        ({"environment": "log-errors", "check": {"number": {"equals": 1}}}, "leave one of them out"),
        ({"environment": "log-errors", "environment_sha256": "0" * 64}, "have changed"),
    ],
)
def test_a_task_of_a_file_names_a_folder_that_is_there(folder, more, words):
    path = folder / "tasks.jsonl"
    task = {"id": "a", "messages": [{"role": "user", "content": "Do it."}], "environment": "log-errors"}
    path.write_text(json.dumps(task) + "\n")
    assert load(path).tasks[0].environment_sha256 == load(folder).tasks[1].environment_sha256
    path.write_text(json.dumps(task | more) + "\n")
    with pytest.raises(ConfigErrors, match=words):
        load(path)
