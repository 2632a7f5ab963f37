"""Which part of a suite a workload is: by its settings, its files' names and its header."""

from __future__ import annotations

import json

import pytest

from tierwise.spec.errors import ConfigErrors
from tierwise.spec.reading import Reading
from tierwise.workloads.files import load
from tierwise.workloads.suites import SuiteChoice

SUM = {"id": "a", "messages": [{"role": "user", "content": "1+1?"}], "check": {"number": {"equals": 2}}}


def part(suite, settings, tasks):
    found = Reading().read(SuiteChoice, {suite: settings}, "")
    return found.part(tasks).what


@pytest.mark.parametrize(
    ("suite", "settings", "tasks", "what"),
    [
        ("gsm8k", {"file": "test.jsonl"}, 1319, "gsm8k"),
        ("gsm8k", {"file": "test.jsonl", "count": 50}, 50, "gsm8k, first 50"),
        ("gsm8k", {"file": "test.jsonl"}, 600, "gsm8k, 600 tasks of 1319"),
        ("human_eval", {}, 164, "human-eval"),
        ("gpqa_diamond", {"file": "gpqa_diamond.csv"}, 198, "gpqa-diamond"),
        ("mbpp", {"file": "mbpp.jsonl"}, 500, "mbpp"),
        ("mbpp", {"file": "mbpp.jsonl", "split": "all"}, 974, "mbpp, 974 tasks of 500"),
        ("aime", {"file": "aime_2025.jsonl"}, 30, "aime 2025"),
        ("aime", {"file": ["data/aime_2025.jsonl", "aime24.csv"]}, 60, "aime 2024 2025"),
        ("aime", {"file": "hf:math-ai/aime25/test.jsonl@563bb84042"}, 30, "aime 2025"),
        ("aime", {"file": "problems.jsonl"}, 30, "aime"),
        ("livecodebench", {"file": [f"test{n}.jsonl" for n in ("", 2, 3, 4, 5, 6)]}, 1055, "livecodebench v6"),
        (
            "livecodebench",
            {"file": "test6.jsonl", "since": "2025-01-01"},
            90,
            "livecodebench, since 2025-01-01",
        ),
        (
            "livecodebench",
            {"file": "test6.jsonl", "since": "2025-01-01", "until": "2025-02-28"},
            40,
            "livecodebench, 2025-01-01 to 2025-02-28",
        ),
        ("reasoning_gym", {}, 120, "reasoning-gym, 120 puzzles of its own seed and settings"),
    ],
)
def test_the_settings_say_which_part(suite, settings, tasks, what):
    assert part(suite, settings, tasks) == what


@pytest.fixture
def written(tmp_path):
    def write(header, count=3):
        path = tmp_path / "tasks.jsonl"
        lines = [{"workload": header}, *({**SUM, "id": f"t{number}"} for number in range(count))]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


def test_a_header_may_say_it_of_tasks_of_ones_own(written):
    found = load(written({"suite": {"name": "gsm8k"}}))
    assert found.suite.what == "gsm8k"
    assert found.first(2).suite.what == "gsm8k, first 2"
    assert found.first(3).suite.what == "gsm8k"
    assert found.first(2).first(1).suite.what == "gsm8k, first 1"
    assert found.sampled_suite(2).what == "gsm8k, a random sample"
    assert found.sampled_suite(3).what == "gsm8k"


def test_tasks_without_a_suite_are_of_none(written):
    assert load(written({})).first(1).suite is None


def test_a_source_already_says_it(written):
    with pytest.raises(ConfigErrors, match="the source gsm8k says which suite it is"):
        load(written({"suite": {"name": "mbpp"}, "source": {"gsm8k": {"file": "test.jsonl"}}}))
