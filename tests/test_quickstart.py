"""What `make quickstart` asks and measures: a question that the model answers rightly, and tasks drawn by a rule."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tierwise.workloads.files import load
from tierwise.workloads.files.sample import sample
from tried import tierwise

ROOT = Path(__file__).parents[1]
TARGET = re.search(r"^quickstart:.*?\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)
LINES = re.findall(r"^\t\$\(BIN\)/tierwise (.*)$", TARGET[0] if TARGET else "", re.MULTILINE)
COMMANDS = [shlex.split(line) for line in LINES]


def command(verb: str) -> list[str]:
    return next(words for words in COMMANDS if words[0] == verb)


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@pytest.mark.model
def test_its_first_answer_is_right(smollm2, tmp_path):
    words = command("ask")
    words[words.index("--ledger") + 1] = str(tmp_path / "ledger.db")
    done = tierwise(*words, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"\d+", done.stdout) == ["3", "4", "7"]
    assert words[1] == "What is 3 plus 4?"


def test_its_first_question_is_of_a_kind_that_it_measures():
    tasks = load(ROOT / "examples" / "quickstart.jsonl").tasks
    asked = [message["content"] for task in tasks if "number" in task.tags for message in task.messages]
    assert command("ask")[1] in asked


def test_it_draws_its_tasks_by_a_seed_and_from_every_kind():
    words = command("workload")
    tasks = load(ROOT / words[2]).tasks
    count = int(option(words, "--count"))
    drawn = sample(tasks, count, seed=int(option(words, "--seed"))).tasks
    assert (words[:2], count, option(words, "--seed")) == (["workload", "sample"], 20, "0")
    assert len(drawn) == 20
    assert {tag for task in drawn for tag in task.tags} == {tag for task in tasks for tag in task.tags}
    assert option(words, "--out") == command("bench")[2]


def test_its_table_comes_in_time_on_a_slow_machine_too():
    assert float(option(command("bench"), "--budget-minutes")) <= 2.25
