"""A sandbox that lives as long as an agent works in it: files and processes stay from one command to the next."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tierwise.environments.view import FILES, PATH, view
from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.sandbox import MIB, SandboxUnavailable
from tierwise.verifiers.sandbox.family import children, family, sacrifice, usage
from tierwise.verifiers.sandbox.mechanism import ENVIRONMENT, START_SECONDS, inside_text, is_root, last_line
from tierwise.verifiers.sandbox.memory_group import MemoryGroup, hold
from tierwise.verifiers.sandbox.view import interpreter

BOOTSTRAP = "import json,sys;program=json.load(sys.stdin);exec(program[0])"
POLICE_SECONDS = 0.1
TIMED_OUT = 124
DRAIN_SECONDS = 0.25
"""For what a command wrote last, if a process that it left running still holds its output."""


class SandboxEndedError(TierwiseError):
    """The sandbox is no longer there: a limit for all of it was reached, or it died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one sandbox, over all its commands.

    Args:
        cpu_seconds: CPU time of all processes together; the sandbox ends when it is spent.
        memory_bytes: memory of all processes together; what exceeds it is killed, and the sandbox goes on.
        storage_bytes: all files together, which are in memory, but do not count as the processes'.
        processes: concurrent processes and threads.
        cores: cores that may be used at once; 0 for all of this process.
    """

    cpu_seconds: float = 1800.0
    memory_bytes: int = 2048 * MIB
    storage_bytes: int = 1024 * MIB
    processes: int = 512
    cores: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that ended.

    Args:
        code: its exit code; 128 + the signal's number if a signal ended it, 124 if its time did.
        stdout: at most as many bytes as were asked for.
        stderr: the same.
        cut: bytes of both that were left out.
        timed_out: its time ended it.
    """

    code: int
    stdout: bytes
    stderr: bytes
    cut: int = 0
    timed_out: bool = False

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


class Sandbox:
    """One sandbox. Use it as an async context manager, or `start` and `stop` it: nothing stays of it.

    Its files are in memory, in namespaces of its own, so that they and all its processes go with it, also when this
    process is killed. Its user is root there, without any privilege outside, and no other user exists.

    Args:
        limits: of all that runs in it.
        network: it shares the network of this machine; otherwise it has a loopback of its own and nothing else.
        env: of every command.

    Raises:
        SandboxUnavailable: on `start`; the message says what this machine refused.
    """

    def __init__(
        self, limits: Limits | None = None, *, network: bool = False, env: Mapping[str, str] | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.network = network
        self.env = {"PATH": PATH, "HOME": "/root", "USER": "root", "LANG": "C.UTF-8", "TERM": "xterm", **(env or {})}
        self.workdir = "/"
        self.cpu_seconds = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._handle: int | None = None
        self._group: MemoryGroup | None = None
        self._first = 0
        self._number = 0
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._why = "it was not started"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Make the namespaces and wait until commands can run: about 50 ms."""
        if sys.platform != "linux":
            raise SandboxUnavailable(f"the sandbox needs Linux namespaces; this is {sys.platform}")
        ours, theirs = socket.socketpair()
        self._control = ours
        settings = {
            "control": theirs.fileno(),
            "as_root": is_root(),
            "network": self.network,
            "view": view(network=self.network),
            "files": FILES,
            "storage": self.limits.storage_bytes,
            "processes": self.limits.processes,
            "cores": sorted(os.sched_getaffinity(0))[: self.limits.cores],
        }
        program = json.dumps([_inside(), inside_text(), settings]).encode()
        line = [interpreter(), "-s", "-P", "-S", "-B", "-c", BOOTSTRAP]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *line,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        finally:
            theirs.close()
        try:
            await self._hold(self._process, program)
        except BaseException:
            await self.stop()
            raise
        self._why = ""
        self._watch(self._read_ends(self._process))
        self._watch(self._police())

    async def _hold(self, process: asyncio.subprocess.Process, program: bytes) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError
        process.stdin.write(program)
        process.stdin.close()
        try:
            async with asyncio.timeout(START_SECONDS):
                said = await process.stdout.readline()
            if said != b"ready\n":
                refused = last_line(await process.stderr.read()) or f"it ended with {await process.wait()}"
                raise OSError(refused)  # noqa: TRY301 -- as the system calls after it
            (self._first,) = children(process.pid)
            self._handle = os.pidfd_open(self._first)
        except (OSError, ValueError, TimeoutError) as error:
            why = str(error) or "it took too long"
            raise SandboxUnavailable(
                f"the sandbox did not start: {why}. It needs a Linux kernel of 5.14 or newer "
                "on which this user may create user namespaces, or root; `tierwise doctor` says more"
            ) from error
        sacrifice(self._first)
        memory = self.limits.memory_bytes + self.limits.storage_bytes
        self._group = hold(family(self._first), memory, whole=False)

    async def run(
        self,
        command: str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        seconds: float | None = None,
        most_bytes: int = 4 * MIB,
    ) -> Ended:
        """Run a command in bash and wait for its end; processes that it leaves running go on.

        Args:
            command: for `bash -c`.
            cwd: working directory; `workdir` if None.
            env: beside that of the sandbox.
            stdin: what it reads.
            seconds: it and the processes of its session are killed after these, and the code is 124.
            most_bytes: of stdout and of stderr that are kept.

        Raises:
            SandboxEndedError: the sandbox has ended, or ends meanwhile.
        """
        if self._control is None or self._why:
            raise SandboxEndedError(f"the sandbox has ended: {self._why}")
        self._number += 1
        number = self._number
        ended = self._waiting[number] = asyncio.get_running_loop().create_future()
        order = {
            "id": number,
            "argv": ["bash", "-c", command],
            "cwd": cwd or self.workdir,
            "env": {**self.env, **(env or {})},
        }
        pipes = [os.pipe() for _ in range(3)]
        inner = [pipes[0][0], pipes[1][1], pipes[2][1]]
        try:
            self._send(order, inner)
        finally:
            for descriptor in inner:
                os.close(descriptor)
        outputs = [_Output(most_bytes), _Output(most_bytes)]
        self._watch(_feed(pipes[0][1], stdin))
        readers = [self._watch(one.read(pipe[0])) for one, pipe in zip(outputs, pipes[1:], strict=True)]
        timed_out = False
        try:
            async with asyncio.timeout(seconds):
                code = await asyncio.shield(ended)
        except TimeoutError:
            self._send({"id": number, "kill": number}, [])
            await ended
            code, timed_out = TIMED_OUT, True
        except asyncio.CancelledError:
            with contextlib.suppress(OSError):
                self._send({"id": number, "kill": number}, [])
            raise
        finally:
            self._waiting.pop(number, None)
        await asyncio.wait(readers, timeout=DRAIN_SECONDS)
        out, err = (one.taken() for one in outputs)
        return Ended(code=code, stdout=out, stderr=err, cut=sum(one.cut for one in outputs), timed_out=timed_out)

    async def stop(self) -> None:
        """Kill all that runs in it; its files go with it. May be called twice."""
        self._why = self._why or "it was stopped"
        self._kill()
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            if self._handle is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
            await self._process.wait()
        for task in [*self._tasks]:
            task.cancel()
        if self._tasks:
            await asyncio.wait([*self._tasks])
        self._give_up_waiting()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self._group is not None:
            self._group.remove()
            self._group = None

    def _send(self, order: dict[str, object], descriptors: list[int]) -> None:
        if self._control is None:
            raise AssertionError
        body = json.dumps(order).encode()
        try:
            socket.send_fds(self._control, [struct.pack("I", len(body))], descriptors)
            self._control.sendall(body)
        except OSError as error:
            raise SandboxEndedError(f"the sandbox has ended: {self._why or error}") from error

    def _watch(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read_ends(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise AssertionError
        while line := await process.stdout.readline():
            said = json.loads(line)
            if (waiting := self._waiting.get(said["id"])) is not None and not waiting.done():
                waiting.set_result(said["code"])
        self._why = self._why or "its first process died"
        self._give_up_waiting()

    def _give_up_waiting(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(SandboxEndedError(f"the sandbox has ended: {self._why}"))
                waiting.exception()  # a command that was cancelled does not ask

    def _kill(self) -> None:
        if self._handle is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)

    async def _police(self) -> None:
        """Enforce what the kernel limits only per process, or only together with the files: CPU time and memory."""
        while True:
            await asyncio.sleep(POLICE_SECONDS)
            used = {pid: usage(pid) for pid in family(self._first)}
            self.cpu_seconds = max(self.cpu_seconds, sum(one.cpu for one in used.values()))
            memory = sum(one.memory for one in used.values())
            if self.cpu_seconds > self.limits.cpu_seconds:
                self._why = (
                    f"its processes used {self.cpu_seconds:.0f} s of CPU time, and the limit is "
                    f"{self.limits.cpu_seconds:.0f} s"
                )
                self._kill()
                return
            if memory > self.limits.memory_bytes:
                largest = max((pid for pid in used if pid != self._first), key=lambda pid: used[pid].memory, default=0)
                with contextlib.suppress(ProcessLookupError):
                    if largest:
                        os.kill(largest, signal.SIGKILL)


class _Output:
    """What a command writes: kept up to a limit, and read to its end, so that nothing that runs on is stopped by it."""

    def __init__(self, most: int) -> None:
        self._kept = bytearray()
        self._most = most
        self._over = False
        self.cut = 0

    async def read(self, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(descriptor, "rb", 0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while chunk := await reader.read(256 * 1024):
                if self._over:
                    continue
                room = self._most - len(self._kept)
                self._kept += chunk[:room]
                self.cut += max(0, len(chunk) - room)
        finally:
            transport.close()

    def taken(self) -> bytes:
        self._over = True
        return bytes(self._kept)


async def _feed(descriptor: int, data: bytes) -> None:
    """Write a command's stdin, as fast as it reads."""
    if not data:
        os.close(descriptor)
        return
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", 0)
    )
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    with contextlib.suppress(ConnectionError):
        writer.write(data)
        await writer.drain()
    writer.close()


@functools.cache
def _inside() -> str:
    return Path(__file__).with_name("inside.py").read_text(encoding="utf-8")
