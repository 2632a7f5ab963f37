"""The priority of processes whose work can wait, relative to the server that answers requests."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

BACKGROUND = 10
"""Niceness: about a tenth of a processor that another process wants, and all of one that none wants."""


def run_in_background(niceness: int = BACKGROUND) -> None:
    """Lower the priority of this process, which never raises it.

    Linux schedules each session as a group of its own if autogroups are on, and niceness then counts only within a
    group (sched(7)). So the group's niceness is set too, if this process leads its session.
    """
    niceness = max(niceness, os.getpriority(os.PRIO_PROCESS, 0))
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
