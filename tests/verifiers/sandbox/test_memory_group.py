"""Memory cgroups of the kernel itself, of both versions. Each is tried where this user may create one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tierwise.verifiers.sandbox import memory_group
from tierwise.verifiers.sandbox.limits import MIB

FILES = {"v1": "memory.limit_in_bytes", "v2": "memory.max"}

HOLD = r"""
import os, signal, sys, time
sys.stdin.readline()  # until it is in the group
for _ in range({processes}):
    if os.fork() == 0:
        held = b"1" * ({mib} << 20)
        os.write(1, b"held\n")
        time.sleep(60)
while True:
    _, status = os.wait()
    if os.WIFSIGNALED(status):
        os.write(1, b"ended\n")
        os.kill(os.getpid(), os.WTERMSIG(status))
"""
"""Its own end is that of its first child that a signal ended; v1 ends one process, v2 with `memory.oom.group` all."""


def controllers(mount: str, path: str) -> str:
    try:
        return Path(mount, path.lstrip("/"), "cgroup.controllers").read_text().strip()
    except OSError as error:
        return f"unreadable: {error.strerror}"


def why_not() -> str:
    """What this machine has instead of a group: the controllers of each cgroup v2 hierarchy, and what mounts v1."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    rows = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for _, names, path in rows if not names), "/")
    said = [
        f"{mount[1]}{own} has the controllers {controllers(mount[1], own)!r}"
        for mount in mounts
        if mount[2] == "cgroup2"
    ]
    said += [f"{mount[1]} is a memory controller of v1" for mount in mounts if is_v1(mount)]
    return "; ".join(said) or "no cgroup hierarchy is mounted"


def is_v1(mount: list[str]) -> bool:
    return mount[2] == "cgroup" and "memory" in mount[3].split(",")


@pytest.fixture(params=["v1", "v2"])
def group(request):
    """A real group of one version with a limit of 32 MiB."""
    made = memory_group.create(32 * MIB - memory_group.OVERHEAD)
    if made is None:
        pytest.skip(f"this user can create no memory cgroup: {why_not()}")
    try:
        if not (made.place / FILES[request.param]).exists():
            pytest.skip(f"no memory cgroup {request.param} can be created here: {why_not()}")
        yield made
    finally:
        made.remove()
        assert not made.place.exists(), "a process of the test is still in it"


def held_in(group, *, processes: int, mib: int) -> tuple[subprocess.Popen[str], int]:
    """A process tree in a group, once each of its processes holds its memory or one was ended; and how many held it."""
    code = HOLD.format(processes=processes, mib=mib)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    group.add(process.pid)
    process.stdin.write("\n")
    process.stdin.flush()
    held = 0
    while held < processes and process.stdout.readline() == "held\n":
        held += 1
    return process, held


def end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.1)  # until the kernel has ended the children too


def test_the_limit_is_the_kernels_and_swap_does_not_add_to_it(group):
    for name, expected in {
        "memory.max": str(32 * MIB),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "memory.limit_in_bytes": str(32 * MIB),
        "memory.memsw.limit_in_bytes": str(32 * MIB),
    }.items():
        if (group.place / name).exists():  # some kernels do not count swap
            assert (group.place / name).read_text().strip() == expected, name


def test_processes_within_the_limit_run_and_are_counted_together(group):
    process, held = held_in(group, processes=2, mib=4)
    try:
        assert (held, process.poll(), group.has_killed) == (2, None, False)
        usage = next(
            group.place / name for name in ("memory.current", "memory.usage_in_bytes") if (group.place / name).exists()
        )
        assert 8 * MIB < int(usage.read_text()) <= 32 * MIB
    finally:
        end(process)


def test_the_kernel_ends_processes_that_are_too_large_together_though_none_is_alone(group):
    process, held = held_in(group, processes=6, mib=12)
    try:
        assert held < 6
        assert process.wait(20) == -signal.SIGKILL
        assert group.has_killed
    finally:
        end(process)
