"""LiveCodeBench: the evaluation file of its runner, on three problems of our own in its format, with two samples each.

Its loader reads one data set of the hub, so `datasets` is a module of ours that reads the problems from a file.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from harnesses.answers import PROGRAMS
from harnesses.tier import TIERS, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

RUNNER = "nvidia-livecodebench==26.3"
PACKAGES = ("numpy", "tqdm", "tenacity", "requests", "pebble", "attrs", "anthropic==0.42.0")
"""What generation and evaluation import of all that the runner names."""
DATASETS = """
import json


def load_dataset(*args, **settings):
    with open("problems.json", encoding="utf-8") as file:
        return Rows(json.load(file))


class Rows(list):
    def filter(self, keep):
        return Rows(row for row in self if keep(row))


Dataset = Rows
"""
CASES = {"double": [("3\n", "6\n"), ("-1\n", "-2\n")], "greet": [("", "Öl\n")], "wrong": [("1 2\n", "2\n")]}


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    home = environment(place.home / "livecodebench", *PACKAGES, python=place.python)
    pip = (home / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    subprocess.run([*pip, RUNNER], check=True)
    (place.folder / "datasets.py").write_text(DATASETS, encoding="utf-8")
    (place.folder / "problems.json").write_text(json.dumps(problems()), encoding="utf-8")
    keys = {"PYTHONPATH": str(place.folder), "API_KEY": "none"}
    for tier in TIERS:
        command: list[str | Path] = [home / "python", "-m", "livecodebench.runner.main", "--model", tier]
        command += ["--url", f"{place.url}/chat/completions", "--n", "2", "--evaluate", "--num_process_evaluate", "1"]
        said = run([*command, "--out_dir", place.folder / tier], place.folder, keys)
        found = sorted(path for path in (place.folder / tier).glob("*.json"))
        if not any(path.name.endswith("_eval_all.json") for path in found):
            raise SystemExit(f"LiveCodeBench wrote no evaluation:\n{said[-3000:]}")
        yield from ((path, f"livecodebench/{path.name}") for path in found)


def problems() -> list[dict[str, str]]:
    """The problems as rows of `code_generation_lite`."""

    def cases(rows: list[tuple[str, str]]) -> str:
        return json.dumps([{"input": given, "output": wanted, "testtype": "stdin"} for given, wanted in rows])

    return [
        {
            "question_title": one.id,
            "question_content": one.text,
            "platform": "atcoder",
            "question_id": one.id,
            "contest_id": "made",
            "contest_date": f"2026-0{number}-01T00:00:00",
            "starter_code": "",
            "difficulty": one.group,
            "public_test_cases": cases(CASES[one.id][:1]),
            "private_test_cases": cases(CASES[one.id][1:]),
            "metadata": "{}",
        }
        for number, one in enumerate(PROGRAMS, 1)
    ]
