"""A recording on a real llama.cpp, as `tierwise pool record` and `tierwise tune` make it, killed and run again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tierwise.runs.directory import RunDirectory

CONFIG = """
checkpoints: {{small: {{source: "file:{model}"}}}}
deployments: {{small: {{engine: llama.cpp, checkpoint: small, context: 256, slots: 1, threads: 1}}}}
tiers:
  fast: {{deployment: small, policy: single, sampling: {{temperature: 0.7}}}}
  best: {{deployment: small, policy: single, sampling: {{temperature: 0}}}}
prices: {{small: {{prompt: 1, completion: 1}}}}
"""
TASKS = 8


@pytest.fixture
def record(tmp_path: Path, smollm2: Path, write_tasks: Callable[..., Path]) -> Callable[[str], subprocess.Popen[str]]:
    """Starts the command with results in a folder of this name."""
    file = tmp_path / "tierwise.yaml"
    file.write_text(CONFIG.format(model=smollm2))
    lines = (
        {
            "id": f"t{number}",
            "messages": [{"role": "user", "content": f"Say a number like {number}."}],
            "check": {"regex": {"pattern": "[0-4]"}},
            "max_tokens": 3,
        }
        for number in range(TASKS)
    )
    tasks = write_tasks(*lines)

    def start(name: str) -> subprocess.Popen[str]:
        command = ["pool", "record", str(file), str(tasks), "--draws", "2", "--concurrency", "1"]
        return subprocess.Popen(
            [sys.executable, "-m", "tierwise", *command, "--out", str(tmp_path / name / "pool")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )

    return start


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def drawn(folder: Path) -> dict[tuple[object, ...], tuple[object, ...]]:
    """What every draw is, by task, tier and repeat; times differ."""
    return {
        (one.task, one.tier, one.mode, one.repeat): (one.seed, one.answer, one.outcome, one.completion_tokens)
        for one in RunDirectory(folder / "pool").read_records()
    }


def test_a_recording_that_is_killed_and_resumed_is_the_same_pool(record, tmp_path):
    whole = record("whole")
    said, _ = whole.communicate(timeout=600)
    assert drawn(tmp_path / "whole"), said
    killed = record("killed")
    began = time.monotonic()
    while lines_of(tmp_path / "killed" / "pool" / "records.jsonl") < TASKS:
        assert killed.poll() is None, killed.communicate()[0]
        assert time.monotonic() - began < 600
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert 0 < len(drawn(tmp_path / "killed")) < len(drawn(tmp_path / "whole"))
    again = record("killed")
    said, _ = again.communicate(timeout=600)
    assert again.returncode == whole.returncode, said
    assert drawn(tmp_path / "killed") == drawn(tmp_path / "whole")
