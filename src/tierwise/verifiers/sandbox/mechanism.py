"""The mechanisms that isolate a program, which of them works on this machine, and how a sandbox is started in it."""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tierwise.verifiers.sandbox.limits import PREPARATION, Limits
from tierwise.verifiers.sandbox.view import Mount, interpreter, view

Mechanism = Literal["bubblewrap", "unshare"]
MECHANISMS: tuple[Mechanism, ...] = ("bubblewrap", "unshare")
"""In the order in which they are tried."""

START_SECONDS = 30.0  # set-up takes 20 ms, but the machine may be busy
PACKAGES = "/packages"
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""Sets have one order, so that an answer is graded twice in the same way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The sandbox mechanism of this machine, and the reason for it."""

    name: Mechanism | Literal["none"]
    reason: str


@functools.cache
def backend(using: Mechanism | None = None) -> Backend:
    """Test each mechanism once by running a probe in it, and keep the first that works; blocks for up to a second.

    Args:
        using: test only this one.
    """
    if sys.platform != "linux":
        return Backend(name="none", reason=f"the sandbox needs Linux namespaces; this is {sys.platform}")
    refusals: list[str] = []
    mechanisms: tuple[Mechanism, ...] = (using,) if using else MECHANISMS
    for mechanism in mechanisms:
        refusal = _probe(mechanism)
        if not refusal:
            reason = "; ".join(["a probe ran in it within its limits", *refusals])
            return Backend(name=mechanism, reason=reason)
        refusals.append(f"{mechanism}: {refusal}")
    return Backend(name="none", reason="; ".join(refusals))


PROBE = """
import os, time
alive = 1
while alive < 8:
    try:
        child = os.fork()
    except OSError:
        break
    if child == 0:
        time.sleep(60)
    alive += 1
print(alive)
"""
PROBE_PROCESSES = 4


def _probe(mechanism: Mechanism) -> str:
    """Why this mechanism cannot be used here; empty if it can."""
    if not Path("/proc/thread-self/children").exists():
        return "the kernel cannot list a process's children (CONFIG_PROC_CHILDREN)"
    if mechanism == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    try:
        ended = subprocess.run(
            command(mechanism, Limits(processes=PROBE_PROCESSES)),
            input=framed(PROBE.encode()),
            capture_output=True,
            check=False,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            timeout=START_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = ended.stdout.split()
    if ended.returncode or not said:
        return last_line(ended.stderr) or f"the probe ended with {ended.returncode}"
    if int(said[0]) > PROBE_PROCESSES:
        return "the kernel does not limit the number of processes of this user"
    return ""


def last_line(stderr: bytes) -> str:
    return next(reversed(stderr.decode(errors="replace").strip().splitlines()), "")


def command(
    mechanism: Mechanism,
    limits: Limits,
    packages: Sequence[Path] = (),
    *,
    stays: bool = False,
    shown: Sequence[Mount] = (),
) -> list[str]:
    """What starts a sandbox.

    Args:
        mechanism: that isolates it.
        limits: of the program.
        packages: files and folders to mount in `PACKAGES`.
        stays: the program is our own, and runs in the interpreter that sets up the sandbox.
        shown: what it sees of this machine besides `view()`.
    """
    as_root = is_root()
    given: list[Mount] = [("files", str(path), f"{PACKAGES}/{path.name}") for path in packages]
    mounts = list(dict.fromkeys([*view(), *shown, *given]))
    inside = [
        *(interpreter(), "-s", "-P", "-S", "-B", "-c", inside_text()),
        str(int(as_root)),
        str(int(stays)),
        str(math.ceil(limits.cpu_seconds + PREPARATION.cpu_seconds) + 1),  # per-process backstop; we enforce the sum
        str(limits.memory_bytes),
        str(limits.processes),
        str(limits.scratch_bytes),
        str(limits.open_files),
        str(int(limits.ipc)),
    ]
    if mechanism == "unshare":
        return [*inside, *(word for row in mounts for word in row)]
    rights = "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID" if as_root else "--unshare-user"
    line = [shutil.which("bwrap") or "bwrap", *rights.split(), "--die-with-parent", "--as-pid-1"]
    line += [
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--hostname",
        "sandbox",
    ]
    for kind, source, target in mounts:
        if kind != "empty":  # parent directories that bubblewrap creates are accessible only to its own user
            line += [word for parent in reversed(Path(target).parents[:-1]) for word in ("--dir", str(parent))]
        match kind:
            case "files":
                line += ["--ro-bind", source, target]
            case "device":
                line += ["--dev-bind", source, target]
            case "link":
                line += ["--symlink", source, target]
            case "processes":
                line += ["--proc", target]
            case "empty":
                line += ["--size", "4096", "--tmpfs", target, "--remount-ro", target]
    line += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", "/tmp", "--remount-ro", "/"]  # noqa: S108
    return [*line, "--", *inside]


def framed(source: bytes) -> bytes:
    """A program as `inside.py` reads it from stdin; what follows it is the program's own stdin."""
    return b"%d\n%b" % (len(source), source)


@functools.cache
def inside_text() -> str:
    """The text of `inside.py`."""
    return Path(__file__).with_name("inside.py").read_text(encoding="utf-8")


def is_root() -> bool:
    """Whether we can switch to another user; root as the only user of its namespace cannot."""
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return os.geteuid() == 0 and any(first <= 65534 < first + count for first, _, count in ranges)
