"""One engine process under a process guard (guard.py): its log tail, its memory, its exit.

The supervisor decides when a process is started and ended; this module does it. Linux only: sessions, /proc and
parent-death signals have no portable counterpart.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import os
import re
import secrets
import signal
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tierwise.engines.process import guard
from tierwise.engines.process.listener import Listener, find_listener
from tierwise.engines.process.memory_usage import MemoryUsage, memory_usage_of, oom_kills

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOGGER = logging.getLogger(__name__)

_SAMPLE_SECONDS = 2.0
"""Interval between two samples of a process's memory; see `memory_usage_of` for the cost of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """Measurements that are only possible while a process is alive."""

    memory: MemoryUsage
    oom_kills: int | None
    """Number of processes that the OOM killer had killed by then."""


class GuardedProcess:
    """An engine process under its guard."""

    MARK = "TIERWISE_ENGINE"
    """The environment variable by which the descendants of a killed guard are found."""

    def __init__(
        self,
        guard: asyncio.subprocess.Process,
        lifeline: int,
        output: Output,
        mark: str,
        oom_kills: Callable[[], int | None],
    ) -> None:
        self._guard = guard
        self._lifeline: int | None = lifeline
        self._output = output
        self._mark = mark
        self._count_oom_kills = oom_kills
        self._samples = deque([_Sample(memory=MemoryUsage(), oom_kills=oom_kills())], maxlen=2)
        self._sampled_at = -_SAMPLE_SECONDS

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stop_seconds: float,
        log: Callable[[str], None],
        oom_kills: Callable[[], int | None] = oom_kills,
        scratch: Path | None = None,
    ) -> Self:
        """Start the command under a guard.

        Args:
            command: program and arguments.
            environment: its environment.
            stop_seconds: from SIGTERM to SIGKILL.
            log: called with each line of its output.
            oom_kills: returns the number of processes that the OOM killer has killed.
            scratch: a folder without folders in it, which the guard removes at the end.

        Raises:
            OSError: the system cannot start another process.
        """
        mark = secrets.token_hex(8)
        # Without SPT_NOENV, setproctitle (vLLM uses it) overwrites the environment in /proc, including our mark.
        # PYTHONSAFEPATH: a module of the standard library's name in the current folder is not run in its place.
        whole = {**environment, cls.MARK: mark, "SPT_NOENV": "1", "PYTHONSAFEPATH": "1"}
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            output, writer = _pipe(ours, theirs)
            reader, lifeline = _pipe(theirs, ours)
            process = await asyncio.create_subprocess_exec(
                *guard.command(command, stop_seconds, str(scratch or "")),
                stdin=reader,
                stdout=writer,
                stderr=writer,
                env=whole,
                start_new_session=True,
            )
            ours.pop_all()
        return cls(process, lifeline, Output(output, log), mark, oom_kills)

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last lines of its output."""
        return tuple(self._output.tail)

    def engine_pid(self) -> int | None:
        """The guard's oldest child: orphans that it adopts are listed after it."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._guard.pid}/task/{self._guard.pid}/children").read_text(encoding="ascii")
            return int(children.split()[0]) if children else None
        return None

    def listener(self, port: int) -> Listener | None:
        """The listener on a port, if it belongs to the engine or its descendants, and to nobody else."""
        return find_listener(port, guard.descendants(self._guard.pid))

    def memory_usage(self) -> MemoryUsage:
        """Memory of the engine, its descendants and its guard; zero once it has exited."""
        return MemoryUsage() if self._guard.returncode is not None else memory_usage_of(self._guard.pid)

    def sample(self) -> None:
        """Take the measurements for the exit report that need a live process. Call it periodically."""
        if (now := asyncio.get_running_loop().time()) - self._sampled_at >= _SAMPLE_SECONDS:
            self._samples.append(_Sample(memory=self.memory_usage(), oom_kills=self._count_oom_kills()))
            self._sampled_at = now

    async def ends_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for it to end. Returns whether it has ended."""
        try:
            async with asyncio.timeout(seconds):
                await self._guard.wait()
        except TimeoutError:
            return False
        self._output.close()
        return True

    def exit_report(self) -> str:
        """How it ended, from the exit code that the guard forwarded."""
        code = self._guard.returncode or 0
        if code < 0:
            return f"its process guard was killed by {signal.Signals(-code).name}"
        if code - 128 == signal.SIGKILL and self._was_out_of_memory:
            memory = max((sample.memory for sample in self._samples), key=lambda memory: memory.resident)
            return f"out of memory, killed by the kernel; it last held {memory}"
        if code - 128 in signal.valid_signals():
            how = f"killed by {signal.Signals(code - 128).name}"
        else:
            how = f"exit code {code}"
        return how + ", just after the kernel killed a process for lack of memory" * self._was_out_of_memory

    @property
    def _was_out_of_memory(self) -> bool:
        """Whether the OOM killer killed a process in the last seconds.

        Compares with the sample before the last, because a large process takes seconds to die after it was counted.
        """
        before, now = self._samples[0].oom_kills, self._count_oom_kills()
        return before is not None and now is not None and now > before

    def kill(self) -> None:
        """Ask the guard to kill the tree at once, without SIGTERM before it."""
        if self._lifeline is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._lifeline, b"k")

    async def end(self, seconds: float) -> None:
        """End all processes that still run and wait until they have exited, which takes about `seconds` at most."""
        self._release()  # from here on the guard finishes the job, even if we are killed
        try:
            if not await self.ends_within(seconds + 5):
                _LOGGER.error("process guard %d and its engine cannot be killed and are left running", self._guard.pid)
        finally:
            self._output.close()
        if (self._guard.returncode or 0) < 0:
            await _kill_marked(f"{self.MARK}={self._mark}".encode())

    def _release(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


class Output:
    """Reads the output of a process line by line as it arrives."""

    LONGEST = 4000
    """Lines are split after this many characters."""

    def __init__(self, descriptor: int, log: Callable[[str], None]) -> None:
        self.tail: deque[str] = deque(maxlen=200)
        """The last lines."""
        self._descriptor: int | None = descriptor
        self._log = log
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def close(self) -> None:
        """Read the rest of the pipe, which is everything that a dead process wrote, and close it."""
        for _ in range(64):  # no more than a pipe's capacity, in case another process still writes to it
            if self._descriptor is None or not self._read():
                break
        if self._descriptor is not None:
            self._close(self._descriptor)

    def _read(self) -> bool:
        """Read available output. Returns whether there may be more."""
        if self._descriptor is None:
            return False
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._close(self._descriptor)
        self._add(self._decode(data))
        return bool(data)

    def _close(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._descriptor = None
        self._add("\n")

    def _add(self, text: str) -> None:
        *lines, rest = _LINE_END.split(self._rest + text)
        self._rest = rest[: self.LONGEST]
        for line in lines:
            if shown := _COLOUR.sub("", line[: self.LONGEST]).rstrip():
                self.tail.append(shown)
                self._log(shown)


_LINE_END = re.compile(r"[\r\n]")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe; each end is closed by its exit stack."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


async def _kill_marked(mark: bytes) -> None:
    """Kill all processes with the mark in their environment: those that a killed guard left running."""
    for _ in range(100):
        if not (pids := _marked(mark)):
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


def _marked(mark: bytes) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # not a process, not ours, or it has just ended
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                pids.append(int(entry.name))
    return pids
