"""The priority of processes whose work can wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tierwise.spec.priority import BACKGROUND

PROGRAM = """
import os
from pathlib import Path
from tierwise.spec.priority import run_in_background
run_in_background()
group = Path("/proc/self/autogroup")
print(os.getpriority(os.PRIO_PROCESS, 0), group.read_text() if group.exists() else "")
"""


def run(*, leads: bool) -> str:
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=leads).stdout


def test_a_process_in_the_background_yields_to_others():
    assert run(leads=False).split()[0] == str(max(BACKGROUND, os.getpriority(os.PRIO_PROCESS, 0)))


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")
def test_a_session_in_the_background_yields_to_other_sessions():
    assert run(leads=True).rstrip().endswith(f"nice {max(BACKGROUND, os.getpriority(os.PRIO_PROCESS, 0))}")


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the kernel has no autogroups")
def test_a_process_that_shares_its_session_leaves_the_sessions_priority_as_it_is():
    before = Path("/proc/self/autogroup").read_text()
    run(leads=False)
    assert Path("/proc/self/autogroup").read_text() == before
