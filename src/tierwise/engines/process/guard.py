"""The process guard: runs between Tierwise and one engine process, so that no engine outlives its parent.

It is a separate program, because only another process can notice that Tierwise was killed with `kill -9`. It imports as
little as possible.
Started as `python -I -S guard.py GRACE_SECONDS SCRATCH -- COMMAND…` with a pipe as its standard input; SCRATCH is a
folder that is removed when all processes have ended, or empty:

    the pipe closes    the parent died or is done: SIGTERM to the tree, SIGKILL after GRACE_SECONDS
    a byte arrives     SIGKILL at once
    SIGTERM, SIGINT    as if the pipe had closed
    the engine ends    SIGKILL to its descendants; we exit with its code (128 + n after signal n)

Orphans are re-parented to us (subreaper), so neither a double fork nor a new session hides a process. If we are killed,
the kernel kills the engine (parent-death signal), and the supervisor kills its descendants.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False  # the module `typing` would double what we import
if TYPE_CHECKING:
    from collections.abc import Sequence

_LIFELINE = 0
"""File descriptor of the pipe (standard input) that closes when the parent dies."""

_KILLED = 128 + signal.SIGKILL

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_POLL_SECONDS = 1.0
"""Interval of checks whether our parent changed: a process that it forked may hold the pipe open after its death."""


def command(program: Sequence[str], grace: float, scratch: str = "") -> tuple[str, ...]:
    """The command line that runs a program under a guard.

    Args:
        program: its path and arguments.
        grace: seconds from SIGTERM to SIGKILL.
        scratch: a folder without folders in it, which is removed when all processes have ended; empty for none.
    """
    return (sys.executable, "-I", "-S", __file__, str(grace), scratch, "--", *program)


def main() -> int:
    """Run the command as a child process until it ends, and leave none of its processes alive."""
    grace, scratch, command = float(sys.argv[1]), sys.argv[2], sys.argv[4:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signals = _watch_signals()
    guard = os.getpid()
    engine = os.fork()
    if engine == 0:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != guard:  # the guard died before the kernel was told to end us with it
            os._exit(_KILLED)
        _become(command)
    code = _wait(engine, signals, grace)
    _kill_everyone()
    if scratch:
        _remove(scratch)
    return code


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, parents before their children."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib would double what we import
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(name))
    tree = [pid]
    for member in tree:
        tree += children.get(member, ())
    return tree[1:]


def _watch_signals() -> int:
    """Return a file descriptor from which the numbers of incoming signals can be read."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    return read


def _become(command: list[str]) -> None:
    """Exec the engine; never returns. It gets its own session, so that Ctrl-C in the terminal does not reach it."""
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two, and an ignored signal survives exec
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), _LIFELINE)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, never a shell
    except OSError as error:
        os.write(2, f"error: cannot run {command[0]!r}: {error.strerror}\n".encode())
    os._exit(127)


def _wait(engine: int, signals: int, grace: float) -> int:
    """Wait until the engine ends and return its exit code; after a request to stop, wait at most `grace` seconds."""
    parent = os.getppid()
    watched = [_LIFELINE, signals]
    deadline = math.inf
    while (code := _reap(engine)) is None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return _KILLED
        ready, _, _ = select.select(watched, [], [], min(_POLL_SECONDS, remaining))
        stop = os.getppid() != parent
        if signals in ready:
            stop |= any(number != signal.SIGCHLD for number in os.read(signals, 4096))
        if _LIFELINE in ready:
            if os.read(_LIFELINE, 1):
                return _KILLED
            watched.remove(_LIFELINE)
            stop = True
        if stop and deadline == math.inf:
            deadline = time.monotonic() + grace
            _signal_everyone(signal.SIGTERM)
    return code


def _reap(engine: int) -> int | None:
    """Reap all children that have ended. Returns the engine's exit code if it is one of them."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            if ended[0] == engine:
                code = os.waitstatus_to_exitcode(ended[1])
                return code if code >= 0 else 128 - code
    return None


def _signal_everyone(number: signal.Signals) -> None:
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _kill_everyone() -> None:
    """Kill our descendants until no child is left; orphans become our children, so none is missed."""
    pause = 0.005
    while True:
        _signal_everyone(signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(pause)
        pause = min(2 * pause, 1.0)  # a process inside a driver call may take a long time to die


def _remove(folder: str) -> None:
    """Remove a folder and its files."""
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - as above
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{name}")  # noqa: PTH108
        os.rmdir(folder)  # noqa: PTH106


if __name__ == "__main__":
    sys.exit(main())
