"""Files beside the workload are never run in place of the standard library's modules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripted_tiers import Answering, line
from tierwise.policies import Single

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
"""

NAMES = ("timeit", "random", "json", "asyncio", "statistics", "secrets", "numpy", "typer", "msgspec", "sitecustomize")
"""Modules of the standard library and of packages, some of which are imported late."""


@pytest.fixture
def folder(tmp_path, endpoint):
    """A folder with a config file, a workload, and a module of each name that leaves a mark when it is run."""
    for name in NAMES:
        mark = f"open({str(tmp_path / 'was-run')!r}, 'a').write({name!r})"
        (tmp_path / f"{name}.py").write_text(f"{mark}\nraise SystemExit(9)\n")
    url = endpoint(Answering({"2+2?": "4"}), fast=Single())
    (tmp_path / "tierwise.yaml").write_text(CONFIG.format(url=url))
    check = {"python_tests": {"tests": "assert double(2) == 4"}}
    tasks = [line("a"), line("b", check=check)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in tasks))
    return tmp_path


@pytest.mark.parametrize(
    "program",
    [[str(Path(sys.executable).with_name("tierwise"))], [sys.executable, "-m", "tierwise"]],
    ids=["tierwise", "python -m tierwise"],
)
def test_a_module_beside_the_workload_is_not_run(folder, program):
    def run(*arguments):
        return subprocess.run(
            [*program, *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )

    done = run("bench", "tierwise.yaml", "tasks.jsonl", "--out", "run")
    assert (done.returncode, (folder / "was-run").exists()) == (0, False), done.stdout + done.stderr
    assert "serving on" in (folder / "run" / "serve.log").read_text()
    for verb in (
        ("replay", "run"),
        ("compare", "run", "run"),
        ("power", "--tasks", "50"),
        ("doctor", "--against", "run"),
    ):
        done = run(*verb)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        assert not (folder / "was-run").exists(), verb
