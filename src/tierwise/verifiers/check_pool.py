"""A small pool of processes for checks that may take longer than the server may pause.

A thread runs C code such as a pattern's search, `compile` or `json.loads` without giving way to others, so only another
process keeps the server responsive, and only a process can be ended in the middle.

The pool starts with the first job and ends when idle. A job has limits of CPU time and memory, and is killed when the
task that waits for it is cancelled: the client disconnected, or the action's deadline passed.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tierwise.spec.errors import TierwiseError
from tierwise.spec.json import Json
from tierwise.spec.limits import CHECK_CPU_SECONDS, CHECK_MEMORY_BYTES, MIB
from tierwise.verifiers.check_worker import LENGTH, Reply

WORKERS = min(4, max(2, (os.cpu_count() or 2) // 2))
"""Processes at most. They run at low priority."""
IDLE_SECONDS = 60.0
"""An idle process ends after this time."""

owner: ContextVar[str] = ContextVar("owner", default="")
"""The action for which a job runs. Owners take turns, so that one with many jobs does not delay the others."""


class CheckLimitExceeded(Exception):
    """A job exceeded its CPU time or memory; the message says which."""


@dataclass(slots=True, eq=False)
class _Job:
    function: Callable[..., Json]
    arguments: tuple[Any, ...]
    seconds: float
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Json]
    is_cancelled: bool = False
    process: subprocess.Popen[bytes] | None = None
    """Where it runs."""
    is_last: bool = False
    """Whether its process ends after it."""

    def settle(self, value: Json = None, error: Exception | None = None) -> None:
        """Report the result; called from a thread of the pool."""

        def report() -> None:
            if not self.future.done():
                if error is None:
                    self.future.set_result(value)
                else:
                    self.future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(report)


@dataclass(slots=True)
class _Queue:
    """Waiting jobs. The owners take turns."""

    _of_owner: dict[str, deque[_Job]] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self._of_owner.values()))

    def put(self, owned_by: str, job: _Job) -> None:
        self._of_owner.setdefault(owned_by, deque()).append(job)

    def get(self) -> _Job | None:
        """The next job of the owner that has waited longest since its last one; None if there is no job."""
        while self._of_owner:
            name, jobs = next(iter(self._of_owner.items()))
            del self._of_owner[name]
            job = jobs.popleft()
            if jobs:
                self._of_owner[name] = jobs
            if not job.is_cancelled:
                return job
        return None


class CheckPool:
    """Runs functions in other processes. It belongs to no event loop; one pool serves all of them.

    Args:
        workers: processes at most.
        memory_bytes: memory of a job, beyond what an idle process uses.
        idle_seconds: an idle process ends after this time.
    """

    def __init__(
        self,
        *,
        workers: int = WORKERS,
        memory_bytes: int = CHECK_MEMORY_BYTES,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._most = workers
        self._memory_bytes = memory_bytes
        self._idle_seconds = idle_seconds
        self._condition = threading.Condition()
        self._queue = _Queue()
        self._threads = 0
        self._idle = 0
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._is_closed = False

    @property
    def processes(self) -> list[int]:
        """The ids of the running processes."""
        with self._condition:
            return [process.pid for process in self._processes]

    async def call(self, function: Callable[..., Json], *arguments: Any, seconds: float = CHECK_CPU_SECONDS) -> Json:
        """Run a function in a process of the pool.

        Args:
            function: a function of a module, by which it is found there; it returns JSON types.
            arguments: its arguments, which are pickled.
            seconds: limit of CPU time.

        Raises:
            CheckLimitExceeded: it used too much CPU time or memory.
            ValueError: the function raised one.
            TierwiseError: it raised something else, or no process can be started.
        """
        loop = asyncio.get_running_loop()
        job = _Job(function, arguments, seconds, loop, loop.create_future())
        with self._condition:
            self._queue.put(owner.get() or str(id(asyncio.current_task())), job)
            if len(self._queue) > self._idle and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name="check pool", daemon=True).start()
            self._condition.notify()
        try:
            return await job.future
        except asyncio.CancelledError:
            self._cancel(job)
            raise

    def close(self) -> None:
        """End all processes. Jobs that run or wait fail."""
        with self._condition:
            self._is_closed = True
            for process in self._processes:
                process.kill()
            self._condition.notify_all()

    def _cancel(self, job: _Job) -> None:
        with self._condition:
            job.is_cancelled = True
            if job.process is not None:
                job.process.kill()

    def _work(self) -> None:
        """The thread of one process: it waits for jobs, and starts a process when it has none."""
        process: subprocess.Popen[bytes] | None = None
        while (job := self._next()) is not None:
            try:
                if process is None or process.poll() is not None:
                    self._forget(process)
                    process = None
                    process = self._start()
                if self._give(job, process):
                    job.settle(_run(job, process))
            except Exception as error:  # noqa: BLE001 - the task that waits for the job gets it
                job.settle(error=error)
            if self._is_spent(job, process):
                self._forget(process)
                process = None
        self._forget(process)

    def _next(self) -> _Job | None:
        """Wait for a job; None if there was none for a while."""
        with self._condition:
            while not self._is_closed:
                if (job := self._queue.get()) is not None:
                    return job
                self._idle += 1
                is_notified = self._condition.wait(self._idle_seconds)
                self._idle -= 1
                if not is_notified and not len(self._queue):
                    break
            self._threads -= 1
            return None

    def _is_spent(self, job: _Job, process: subprocess.Popen[bytes] | None) -> bool:
        """Whether a process cannot run another job: it has ended, or is about to."""
        with self._condition:
            job.process = None
            return job.is_last or job.is_cancelled or process is None or process.poll() is not None

    def _give(self, job: _Job, process: subprocess.Popen[bytes]) -> bool:
        """Note where a job runs; false if nobody waits for it any more."""
        with self._condition:
            if job.is_cancelled:
                return False
            job.process = process
            return True

    def _start(self) -> subprocess.Popen[bytes]:
        kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        command = [sys.executable, "-P", "-W", "ignore", "-c", _PROGRAM, str(self._memory_bytes)]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # a library's last words, one line per attack
                env=kept,
                start_new_session=True,
            )
        except OSError as error:
            raise TierwiseError(f"no process can be started for checks: {error}") from error
        with self._condition:
            self._processes.add(process)
            if self._is_closed:
                process.kill()
        return process

    def _forget(self, process: subprocess.Popen[bytes] | None) -> None:
        """End a process and wait for it."""
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with self._condition:
            self._processes.discard(process)


_PROGRAM = """\
from tierwise.spec.priority import run_in_background
run_in_background()
from tierwise.verifiers.check_worker import main
main()
"""
"""Its imports take time, too, so they run at low priority."""

_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TIERWISE_DISABLE_PLUGINS")
"""What a process of the pool gets of our environment, which may hold secrets."""


def _run(job: _Job, process: subprocess.Popen[bytes]) -> Json:
    """Run one job and wait for its reply."""
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    data = pickle.dumps((job.seconds, job.function, job.arguments))
    reply = b""
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(LENGTH.pack(len(data)) + data)
        process.stdin.flush()
        head = process.stdout.read(LENGTH.size)
        if len(head) == LENGTH.size:
            reply = process.stdout.read(LENGTH.unpack(head)[0])
    if not reply:
        raise _why_it_died(job, process.wait())
    said = msgspec.msgpack.decode(reply, type=Reply)
    job.is_last = said.is_last
    if said.is_out_of_memory:
        raise _out_of_memory()
    if said.error:
        raise ValueError(said.error)
    if said.failure:
        raise TierwiseError(f"a check failed: {said.failure}")
    value: Json = said.value
    return value


def _why_it_died(job: _Job, code: int) -> Exception:
    if code == -signal.SIGPROF:
        return CheckLimitExceeded(f"it takes more than {job.seconds:g} s of CPU time")
    if code < 0:
        return _out_of_memory()
    return TierwiseError(f"a process for checks ended with exit code {code}")


def _out_of_memory() -> CheckLimitExceeded:
    return CheckLimitExceeded(f"it needs more than {CHECK_MEMORY_BYTES // MIB} MiB of memory")


pool = CheckPool()
"""The pool of this process."""
atexit.register(pool.close)
