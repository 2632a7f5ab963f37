"""One engine process below its warden (guard.py): its words, its memory, its end.

Separate from the supervisor, which decides when one lives and how long. Linux only: sessions, /proc and parent-death
signals have no portable counterpart.
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
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tierwise.engines.process import guard
from tierwise.engines.process.memory_usage import Held, held_by, kills_for_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_LOGGER = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
"""Between two looks at what a process holds, see `held_by`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What only a living process shows."""

    held: Held
    kills: int | None
    """What the kernel had killed for want of memory until then."""


class Process:
    """An engine process below its warden: its words, its memory, its end."""

    MARK = "TIERWISE_ENGINE"
    """The environment variable by which the descendants of a killed warden are found."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        lifeline: int,
        output: Output,
        mark: str,
        kills: Callable[[], int | None],
    ) -> None:
        self._warden = process
        self._lifeline: int | None = lifeline
        self._output = output
        self._mark = mark
        self._count_kills = kills
        self._looks = deque([_Look(held=Held(), kills=kills())], maxlen=2)
        self._looked_at = -_LOOK_SECONDS

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stop_seconds: float,
        note: Callable[[str], None],
        kills: Callable[[], int | None] = kills_for_memory,
    ) -> Self:
        """Start the command below a warden.

        Args:
            command: program and arguments.
            environment: additions to our own.
            stop_seconds: from SIGTERM to SIGKILL.
            note: gets every line that it writes.
            kills: counts what the kernel killed for want of memory where we live.

        Raises:
            OSError: the machine has no room for another process.
        """
        mark = secrets.token_hex(8)
        # Without SPT_NOENV, setproctitle (vLLM uses it) overwrites the environment in /proc, and our mark with it.
        whole = {**os.environ, **environment, cls.MARK: mark, "SPT_NOENV": "1"}
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            hear, say = _pipe(ours, theirs)
            held, lifeline = _pipe(theirs, ours)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", guard.__file__, str(stop_seconds), "--", *command),
                stdin=held,
                stdout=say,
                stderr=say,
                env=whole,
                start_new_session=True,
            )
            ours.pop_all()
        return cls(process, lifeline, Output(hear, note), mark, kills)

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self._output.words)

    def engine_pid(self) -> int | None:
        """The warden's oldest child: orphans that it adopts are listed after it."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._warden.pid}/task/{self._warden.pid}/children").read_text(encoding="ascii")
            return int(children.split()[0]) if children else None
        return None

    def held(self) -> Held:
        """Memory of the engine, its descendants and its warden; none once it is gone."""
        return Held() if self._warden.returncode is not None else held_by(self._warden.pid)

    def look(self) -> None:
        """Remember what only a living process shows, for its obituary. To be called now and then."""
        if (now := asyncio.get_running_loop().time()) - self._looked_at >= _LOOK_SECONDS:
            self._looks.append(_Look(held=self.held(), kills=self._count_kills()))
            self._looked_at = now

    async def ends_within(self, seconds: float) -> bool:
        """Whether it is gone, after waiting so long for it at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._warden.wait()
        except TimeoutError:
            return False
        self._output.close()
        return True

    def manner_of_death(self) -> str:
        """How it ended, from the exit code that the warden passed on."""
        code = self._warden.returncode or 0
        if code < 0:
            return f"its warden was killed by {signal.Signals(-code).name}"
        if code - 128 == signal.SIGKILL and self._was_starved:
            held = max((look.held for look in self._looks), key=lambda held: held.resident)
            return f"out of memory, killed by the kernel; it last held {held}"
        if code - 128 in signal.valid_signals():
            manner = f"killed by {signal.Signals(code - 128).name}"
        else:
            manner = f"exit code {code}"
        return manner + ", just after the kernel killed a process for want of memory" * self._was_starved

    @property
    def _was_starved(self) -> bool:
        """Whether the kernel killed for want of memory in the last seconds.

        Since the last look but one: a large process takes seconds to die after it was counted.
        """
        before, now = self._looks[0].kills, self._count_kills()
        return before is not None and now is not None and now > before

    def kill(self) -> None:
        """Ask the warden to kill the tree at once, without the courtesy of a SIGTERM."""
        if self._lifeline is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._lifeline, b"k")

    async def end(self, seconds: float) -> None:
        """End what still runs, and wait until it is gone; the warden needs no more than about `seconds`."""
        self._let_go()  # from here on the warden finishes the job, whatever becomes of us
        try:
            if not await self.ends_within(seconds + 5):
                _LOGGER.error("process %d and its engine do not die; leaving them behind", self._warden.pid)
        finally:
            self._output.close()
        if (self._warden.returncode or 0) < 0:
            await _sweep(f"{self.MARK}={self._mark}".encode())

    def _let_go(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


class Output:
    """Reads what a process writes, line by line, as it comes."""

    LONGEST = 4000
    """Characters after which a line is cut."""

    def __init__(self, descriptor: int, note: Callable[[str], None]) -> None:
        self.words: deque[str] = deque(maxlen=200)
        self._descriptor: int | None = descriptor
        self._note = note
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._rest = ""
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def close(self) -> None:
        """Take in what the pipe still holds, which is all that a dead process said, and close it."""
        for _ in range(64):  # no more than any pipe holds, should somebody still write into it
            if self._descriptor is None or not self._read():
                break
        if self._descriptor is not None:
            self._hang_up(self._descriptor)

    def _read(self) -> bool:
        """Take in some of what is there; whether there may be more."""
        if self._descriptor is None:
            return False
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return False
        if not data:
            self._hang_up(self._descriptor)
        self._hear(self._decode(data))
        return bool(data)

    def _hang_up(self, descriptor: int) -> None:
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
        self._descriptor = None
        self._hear("\n")

    def _hear(self, text: str) -> None:
        *lines, rest = _LINE_END.split(self._rest + text)
        self._rest = rest[: self.LONGEST]
        for line in lines:
            if words := _COLOUR.sub("", line[: self.LONGEST]).rstrip():
                self.words.append(words)
                self._note(words)


_LINE_END = re.compile(r"[\r\n]")
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe, each end of which its owner closes."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


async def _sweep(mark: bytes) -> None:
    """Kill every process that carries the mark in its environment: those that a killed warden left behind."""
    for _ in range(100):
        if not (pids := _carriers(mark)):
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(0.02)


def _carriers(mark: bytes) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # not a process, not ours, or it ended while we looked
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                pids.append(int(entry.name))
    return pids
