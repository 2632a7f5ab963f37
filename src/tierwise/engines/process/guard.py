"""Stands between Tierwise and one engine process, so that no engine outlives its parent, not even after `kill -9`.

A program of its own, because only a living process can notice that another one died, and as small as Python gets.
Started as `python -I -S guard.py GRACE_SECONDS -- COMMAND…` with a pipe as its standard input:

    the pipe closes    the parent died or is done: SIGTERM to the tree, GRACE_SECONDS, SIGKILL to what is left
    a byte arrives     SIGKILL at once
    SIGTERM, SIGINT    as if the pipe had closed
    the engine ends    SIGKILL to what it left behind; its exit code becomes ours (128 + n after signal n)

Orphans come back to us (subreaper), so that neither a double fork nor a session of its own hides anybody. When we are
killed ourselves, the kernel kills the engine (parent-death signal) and the supervisor sweeps up its descendants.
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

_LIFELINE = 0
"""The file descriptor, our standard input, that says whether the parent lives."""

_KILLED = 128 + signal.SIGKILL

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_GLANCE_SECONDS = 1.0
"""How often we look whether our parent changed: a process that it forked may hold the pipe open after its death."""


def main() -> int:
    """Run the command below us to its end, and leave nothing of it alive."""
    grace, command = float(sys.argv[1]), sys.argv[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signals = _hear_signals()
    warden = os.getpid()
    engine = os.fork()
    if engine == 0:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != warden:  # died before the kernel knew that its death matters
            os._exit(_KILLED)
        _become(command)
    code = _guard(engine, signals, grace)
    _kill_everyone()
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


def _hear_signals() -> int:
    """A file descriptor on which the numbers of arriving signals can be read."""
    hear, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    return hear


def _become(command: list[str]) -> None:
    """Turn into the engine and never return. In its own session no terminal's Ctrl-C reaches it."""
    os.setsid()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two, and an ignored signal survives exec
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), _LIFELINE)
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, never a shell
    except OSError as error:
        os.write(2, f"error: cannot run {command[0]!r}: {error.strerror}\n".encode())
    os._exit(127)


def _guard(engine: int, signals: int, grace: float) -> int:
    """Wait for the engine's end and return its code; after a request to stop, wait no longer than `grace`."""
    parent = os.getppid()
    watched = [_LIFELINE, signals]
    deadline = math.inf
    while (code := _bury(engine)) is None:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return _KILLED
        ready, _, _ = select.select(watched, [], [], min(_GLANCE_SECONDS, remaining))
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


def _bury(engine: int) -> int | None:
    """Wait for whoever has ended; the engine's exit code when it is among them."""
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
    """Kill what is below us until we have no child left; orphans become our children, so nobody is missed."""
    pause = 0.005
    while True:
        _signal_everyone(signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(pause)
        pause = min(2 * pause, 1.0)  # a process deep in a driver may take long to die


if __name__ == "__main__":
    sys.exit(main())
