"""A program in a sandbox: started, watched and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.sandbox.family import Clock, children, family, sacrifice, socket_bytes, usage
from tierwise.verifiers.sandbox.limits import (
    DEFAULT_LIMITS,
    PREPARATION,
    Limits,
    SandboxResult,
    SandboxUnavailable,
    Stop,
)
from tierwise.verifiers.sandbox.mechanism import (
    ENVIRONMENT,
    START_SECONDS,
    Mechanism,
    backend,
    command,
    framed,
    last_line,
)
from tierwise.verifiers.sandbox.memory_group import MemoryGroup, hold
from tierwise.verifiers.sandbox.slots import slots
from tierwise.verifiers.sandbox.view import Mount

POLICE_SECONDS = 0.05


async def run_python(
    source: str,
    *,
    limits: Limits = DEFAULT_LIMITS,
    using: Mechanism | None = None,
    packages: Sequence[Path] = (),
    shown: Sequence[Mount] = (),
    stdin: bytes = b"",
    prepares: bool = False,
    alone: bool = False,
) -> SandboxResult:
    """Run a program as `__main__`, in an empty temporary working directory.

    It sees the standard library and nothing else of this machine. When this returns or is cancelled, all processes that
    the program started are dead. About as many programs run at once as there are cores; the others wait, and their
    time has not begun.

    Args:
        source: the program's text.
        limits: its resource limits.
        using: require this mechanism.
        packages: files and folders of installed packages to mount read-only in `PACKAGES`.
        shown: what else of this machine it sees, where it sees it.
        stdin: what it reads from stdin.
        prepares: it is a program of ours that runs foreign code once it has prepared itself. Its time begins when it
            writes its first byte to stdout, which is not kept; until then the limits of `PREPARATION` apply. It runs in
            the interpreter that sets up the sandbox.
        alone: no other program runs meanwhile.

    Raises:
        SandboxUnavailable: the message says what was tried and what to install.
    """
    found = await asyncio.to_thread(backend, using)
    if found.name == "none":
        raise SandboxUnavailable(
            f"No sandbox is available here ({found.reason}), and model-written code is never run outside of one. "
            "Install bubblewrap 0.8 or newer, or let this user create user namespaces; `tierwise doctor` tries again."
        )
    async with slots().taken(alone=alone):
        sandbox = _Sandbox(limits, prepares=prepares)
        given = framed(source.encode(errors="surrogatepass")) + stdin
        # A separate task: asyncio may wait forever if it is cancelled while it starts a process.
        living = asyncio.ensure_future(
            sandbox.live(command(found.name, limits, packages, stays=prepares, shown=shown), given)
        )
        try:
            return await asyncio.shield(living)
        except asyncio.CancelledError:
            sandbox.give_up()
            await asyncio.wait([living])
            raise


async def run_for_grade(
    source: str,
    *,
    limits: Limits,
    packages: Sequence[Path] = (),
    shown: Sequence[Mount] = (),
    stdin: bytes = b"",
    prepares: bool = False,
) -> SandboxResult:
    """`run_python`, with a result that does not depend on the load of the machine.

    A program that other programs kept from running until the end of its wall time is run once more, alone.

    Raises:
        TierwiseError: it was kept from running alone, too: nothing is known about it.
        SandboxUnavailable: there is no sandbox.
    """
    for alone in (False, True):
        done = await run_python(
            source, limits=limits, packages=packages, shown=shown, stdin=stdin, prepares=prepares, alone=alone
        )
        if done.stopped != "load":
            return done
    raise TierwiseError(
        f"the machine is overloaded: in {done.seconds:.0f} s, a program in the sandbox got {done.cpu_seconds:.1f} s of "
        "a processor, twice; run fewer programs beside it, and grade again"
    )


class _Sandbox:
    """One sandbox for one program. Only our own code runs in it until we hold its pid 1; killing that kills all in
    it.
    """

    _process: asyncio.subprocess.Process
    _stdin: asyncio.StreamWriter
    _stdout: asyncio.StreamReader
    _stderr: asyncio.StreamReader

    def __init__(self, limits: Limits, *, prepares: bool) -> None:
        self._limits = limits
        self._has_begun = not prepares
        self._clock = Clock()
        self._room = limits.output_bytes
        self._stopped: Stop = ""
        self._unwanted = False
        self._first = 0
        self._first_handle: int | None = None
        self._group: MemoryGroup | None = None
        self._rest: asyncio.Future[tuple[bytes, bytes, int]] | None = None

    async def live(self, line: list[str], given: bytes) -> SandboxResult:
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *line, stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT, cwd="/", start_new_session=True
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        try:
            await self._start()
            if self._unwanted:
                raise asyncio.CancelledError
            return await self._run(given)
        finally:
            await self._end()

    def give_up(self) -> None:
        self._unwanted = True
        if self._first_handle is not None:
            self._kill()

    async def _start(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._stdout.readexactly(1)
            (self._first,) = children(self._process.pid)
            self._first_handle = os.pidfd_open(self._first)
        except (asyncio.IncompleteReadError, OSError, ValueError) as error:
            self._kill()
            why = last_line(await self._stderr.read()) or repr(error)
            raise SandboxUnavailable(f"the sandbox did not start, so the program was not run: {why}") from error
        sacrifice(self._first)
        # None of them runs foreign code yet.
        self._group = hold(family(self._first), self._limits.memory_bytes + self._limits.scratch_bytes)

    async def _run(self, given: bytes) -> SandboxResult:
        self._clock = Clock()
        self._stdin.write(given)
        self._stdin.close()
        self._rest = asyncio.gather(self._read_stdout(), self._read(self._stderr), self._process.wait())
        police = asyncio.create_task(self._police())
        try:
            stdout, stderr, code = await self._rest
        finally:
            police.cancel()
        if not self._stopped and self._group is not None and self._group.has_killed:
            self._stopped = "memory"
        return SandboxResult(
            exit_code=None if self._stopped else code,
            stdout=stdout.decode(errors="replace"),
            stderr=stderr.decode(errors="replace"),
            seconds=self._clock.elapsed,
            cpu_seconds=self._clock.cpu,
            stopped=self._stopped,
        )

    async def _end(self) -> None:
        """Kill everything and wait for it: a few milliseconds, or the rest of the start.

        A sandbox that is still starting is not killed: a process that bubblewrap has just cloned would wait forever for
        its dead parent. It exits by itself because it receives no program.
        """
        self._stdin.close()
        if self._first_handle is not None:
            self._kill()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._over()
        except TimeoutError:
            self._kill()
            await self._over()
        finally:
            if self._first_handle is not None:
                os.close(self._first_handle)
                self._first_handle = None
            if self._group is not None:
                self._group.remove()

    async def _over(self) -> None:
        if self._rest is not None:
            await asyncio.wait([self._rest])
        await self._process.wait()

    def _stop(self, why: Stop) -> None:
        self._stopped = self._stopped or why
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._first_handle is not None:
                signal.pidfd_send_signal(self._first_handle, signal.SIGKILL)
                return
            for pid in reversed(family(self._process.pid)[1:]):
                os.kill(pid, signal.SIGKILL)
            self._process.kill()

    async def _read_stdout(self) -> bytes:
        if not self._has_begun:
            if not await self._stdout.read(1):
                return b""
            self._look()
            self._has_begun = True
            self._clock.restart()
        return await self._read(self._stdout)

    async def _read(self, stream: asyncio.StreamReader) -> bytes:
        kept = bytearray()
        while chunk := await stream.read(64 * 1024):
            kept += chunk[: self._room]
            if len(chunk) > self._room:
                self._stop("output")
            self._room -= min(len(chunk), self._room)
        return bytes(kept)

    async def _police(self) -> None:
        """Enforce totals where the kernel limits only single processes, and time without the load of the machine."""
        while True:
            await asyncio.sleep(min(POLICE_SECONDS, self._limits.seconds))
            memory = self._look()
            limits = self._limits if self._has_begun else PREPARATION
            if memory > self._limits.memory_bytes or (self._group is not None and self._group.has_killed):
                self._stop("memory")
            if self._clock.cpu > limits.cpu_seconds:
                self._stop("cpu")
            if self._clock.own > limits.seconds:
                self._stop("time")
            if self._clock.elapsed > limits.wall_seconds:
                self._stop("load")
            with contextlib.suppress(OSError):
                scratch = os.statvfs(f"/proc/{self._first}/root/tmp")
                if scratch.f_files - scratch.f_ffree > self._limits.files:
                    self._stop("files")

    def _look(self) -> int:
        """Advance the clock, and return the bytes of memory in use."""
        used = {pid: usage(pid) for pid in family(self._first)}
        self._clock.tick(used)
        return sum(one.memory for one in used.values()) + socket_bytes(self._first)
