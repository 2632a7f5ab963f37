"""A small process without threads and event loop that forks the workers, so that a worker starts in milliseconds and
shares the memory of what was imported.

    supervisor ── nursery ─┬─ worker 0
                           └─ worker 1

The supervisor has an event loop, so it must not fork. It sends the nursery the number of a worker and the worker's end
of a channel; the nursery says which process it became, and later how that ended. When the supervisor is gone, however
that happened, the workers stop, and the nursery ends those that do not.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from tierwise.spec.errors import TierwiseError

_REPORT = struct.Struct("!iii")
"""Number of a worker, id of its process, and how it ended as `os.waitstatus_to_exitcode` says; `_STARTED` if it did
not end.
"""
_ORDER = struct.Struct("!i")
_STARTED = 1 << 20
_LAST_SECONDS = 5.0
"""How long workers may take to stop once the supervisor is gone."""

Work = Callable[[int, socket.socket], None]
"""The work of a worker, given its number and its end of the channel."""


class Nursery:
    """The supervisor's side."""

    def __init__(self, work: Work) -> None:
        self._control, theirs = socket.socketpair()
        gc.collect()
        gc.freeze()  # a collection in a child would copy the pages of what was imported
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._control.close()
            try:
                with theirs:
                    _tend(theirs, work)
            finally:
                os._exit(0)
        theirs.close()
        self._control.setblocking(False)
        self._rest = b""

    @property
    def control(self) -> socket.socket:
        """Readable when there are reports, or when the nursery is gone."""
        return self._control

    def fork(self, number: int, channel: socket.socket) -> None:
        """Have a worker forked; `channel` is its end, which is closed here."""
        socket.send_fds(self._control, [_ORDER.pack(number)], [channel.fileno()])
        channel.close()

    def reports(self) -> list[tuple[int, int, int | None]] | None:
        """Number, process and exit code (None: it has started) of workers; None if the nursery is gone."""
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        data = self._rest + data
        whole = len(data) - len(data) % _REPORT.size
        self._rest = data[whole:]
        found = _REPORT.iter_unpack(data[:whole])
        return [(number, pid, None if code == _STARTED else code) for number, pid, code in found]

    def close(self) -> None:
        """Let it end, once it has no workers."""
        self._control.close()
        os.waitpid(self.pid, 0)


def _tend(control: socket.socket, work: Work) -> None:
    """Fork workers and report their ends until the supervisor is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    awake, wake = socket.socketpair()
    with awake, wake:
        awake.setblocking(False)
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        workers: dict[int, int] = {}
        _fork_until_gone(control, awake, wake, workers, work)
        signal.set_wakeup_fd(-1)
    _bury(workers)


def _fork_until_gone(
    control: socket.socket, awake: socket.socket, wake: socket.socket, workers: dict[int, int], work: Work
) -> None:
    while True:
        readable, _, _ = select.select([control, awake], [], [])
        if awake in readable:
            awake.recv(4096)
        for pid, code in _ended(workers):
            _report(control, workers.pop(pid), pid, code)
        if control in readable:
            data, descriptors, _, _ = socket.recv_fds(control, _ORDER.size, 1)
            if not data:
                return
            (number,) = _ORDER.unpack(data)
            sys.stdout.flush()
            sys.stderr.flush()
            if (pid := os.fork()) == 0:
                for one in (control, awake, wake):
                    one.close()
                _become(number, socket.socket(fileno=descriptors[0]), work)
            os.close(descriptors[0])
            workers[pid] = number
            _report(control, number, pid, _STARTED)


def _report(control: socket.socket, number: int, pid: int, code: int) -> None:
    with suppress(OSError):  # the supervisor is gone, which the next turn notices
        control.sendall(_REPORT.pack(number, pid, code))


def _ended(workers: dict[int, int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while workers.keys() - dict(found).keys():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        if pid in workers:
            found.append((pid, os.waitstatus_to_exitcode(status)))
    return found


def _bury(workers: dict[int, int]) -> None:
    """The supervisor is gone: workers notice that themselves. Those that do not end are killed."""
    until = time.monotonic() + _LAST_SECONDS
    while workers and time.monotonic() < until:
        for pid, _ in _ended(workers):
            del workers[pid]
        time.sleep(0.02)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)


def _become(number: int, channel: socket.socket, work: Work) -> None:
    """The rest of a worker's life."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        work(number, channel)
        code = 0
    except TierwiseError as error:
        print(f"tierwise: worker {number}: {error}", file=sys.stderr)  # noqa: T201 - as the command line does
    except BaseException:  # noqa: BLE001 - nothing above it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
