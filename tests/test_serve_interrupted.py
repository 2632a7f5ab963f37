"""`tierwise serve`, interrupted while engines load: nothing of them stays behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOADS_FOR_EVER = f"""#!{sys.executable} -ISs
import os, time
if os.fork() == 0:
    os.setsid()  # a worker that no terminal's signal reaches
print("loading", flush=True)
while True:
    time.sleep(1)
"""

FILE = """
checkpoints: {small: {source: "file:small.gguf"}}
deployments:
  one: {engine: llama.cpp, checkpoint: small, binary: ./engine-of-this-test}
  two: {engine: llama.cpp, checkpoint: small, binary: ./engine-of-this-test, context: 2048}
tiers:
  fast: {deployment: one, policy: single}
  slow: {deployment: two, policy: single}
"""


def alive_in(folder: Path) -> list[str]:
    """Command lines of processes that name this folder, process guards among them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
            continue
        if str(folder) in line:
            found.append(line)
    return found


def until_there_are(count: int, folder: Path, seconds: float) -> None:
    began = time.monotonic()
    while len(alive_in(folder)) != count and time.monotonic() - began < seconds:
        time.sleep(0.1)  # a look takes milliseconds of everybody's processor
    assert len(alive_in(folder)) == count, (alive_in(folder), (folder / "log").read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_nothing_is_left_of_engines_that_were_loading(tmp_path, smollm2, number, code):
    program = tmp_path / "engine-of-this-test"
    program.write_text(LOADS_FOR_EVER)
    program.chmod(0o755)
    (tmp_path / "small.gguf").symlink_to(smollm2)
    (tmp_path / "tierwise.yaml").write_text(FILE)
    command = [sys.executable, "-m", "tierwise", "serve", str(tmp_path / "tierwise.yaml"), "--port", "0"]
    command += ["--ledger", str(tmp_path / "ledger.db")]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            until_there_are(7, tmp_path, 30)  # tierwise, and for each engine its guard and two processes
            began = time.monotonic()
            process.send_signal(number)
            assert process.wait(20) == code, (tmp_path / "log").read_text()
            until_there_are(0, tmp_path, 5)
            assert time.monotonic() - began < 8
        finally:
            process.kill()
