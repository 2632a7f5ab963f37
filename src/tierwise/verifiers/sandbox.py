"""Runs untrusted Python code in isolation, with limited resources.

Isolation is by Linux namespaces, created by bubblewrap or by our own code; without either, code is not run.
`sandbox_inside.py` is the part that runs inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tierwise.spec.errors import SpecError
from tierwise.verifiers.sandbox_view import interpreter, view

Mechanism = Literal["bubblewrap", "unshare"]
Stop = Literal["", "time", "cpu", "memory", "output", "files"]

START_SECONDS = 30.0  # set-up takes 20 ms, but the machine may be busy
POLICE_SECONDS = 0.05
PACKAGES = "/packages"
FILES = 10_000  # in scratch: tmpfs limits bytes, but an empty file costs a kilobyte of kernel memory
MIB = 1024 * 1024
LEAST = {
    "cpu_seconds": 1,
    "memory_bytes": 32 * MIB,
    "processes": 1,
    "scratch_bytes": MIB,
}  # 0 means no limit to the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Resource limits of one program.

    Args:
        seconds: wall time, from the moment the program is passed in.
        cpu_seconds: CPU time of all its processes together.
        memory_bytes: address space of each process, and memory of all together; shared pages count once per process.
            Scratch is not included.
        processes: concurrent processes and threads.
        output_bytes: stdout and stderr together.
        scratch_bytes: all files together, and any one file.

    Raises:
        SpecError: a limit is too small for any program to run.
    """

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory_bytes: int = 512 * MIB
    processes: int = 32
    output_bytes: int = 64 * 1024
    scratch_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        for field, least in LEAST.items():
            if getattr(self, field) < least:
                raise SpecError(
                    f"{getattr(self, field)} is too little to run a program; the minimum is {least}", field=field
                )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxResult:
    """The result of a program.

    Args:
        exit_code: 128 + the signal's number if a signal ended it; None if a limit did.
        stdout: decoded as UTF-8 with replacement; truncated at the limit.
        stderr: the same.
        seconds: wall time, as counted for the limit.
        stopped: the limit that ended it; empty if it ended by itself.
    """

    exit_code: int | None
    stdout: str
    stderr: str
    seconds: float
    stopped: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """The sandbox mechanism of this machine, and the reason for it."""

    name: Mechanism | Literal["none"]
    reason: str


class SandboxUnavailable(SpecError):
    """No sandbox is available, so the code was not run."""


@functools.cache
def backend(using: Mechanism | None = None) -> Backend:
    """Test each mechanism once by running a probe in it, and keep the first that works; blocks for up to a second.

    Args:
        using: test only this one.
    """
    if sys.platform != "linux":
        return Backend(name="none", reason=f"the sandbox needs Linux namespaces; this is {sys.platform}")
    refusals: list[str] = []
    mechanisms: tuple[Mechanism, ...] = (using,) if using else ("bubblewrap", "unshare")
    for mechanism in mechanisms:
        refusal = _probe(mechanism)
        if not refusal:
            reason = "; ".join(["a probe ran in it within its limits", *refusals])
            return Backend(name=mechanism, reason=reason)
        refusals.append(f"{mechanism}: {refusal}")
    return Backend(name="none", reason="; ".join(refusals))


async def run_python(
    source: str,
    *,
    limits: Limits = DEFAULT_LIMITS,
    using: Mechanism | None = None,
    packages: Sequence[Path] = (),
) -> SandboxResult:
    """Run a program as `__main__`, with empty stdin and an empty temporary working directory.

    It sees the standard library and nothing else of this machine. When this returns or is cancelled, all processes that
    the program started are dead.

    Args:
        source: the program's text.
        limits: its resource limits.
        using: require this mechanism.
        packages: files and folders of installed packages to mount read-only in `PACKAGES`.

    Raises:
        SandboxUnavailable: the message says what was tried and what to install.
    """
    found = await asyncio.to_thread(backend, using)
    if found.name == "none":
        raise SandboxUnavailable(
            f"No sandbox is available here ({found.reason}), and model-written code is never run outside of one. "
            "Install bubblewrap 0.8 or newer, or let this user create user namespaces; `tierwise doctor` tries again."
        )
    sandbox = _Sandbox(limits)
    # A separate task: asyncio may wait forever if it is cancelled while it starts a process.
    living = asyncio.ensure_future(sandbox.live(_command(found.name, limits, packages), source))
    try:
        return await asyncio.shield(living)
    except asyncio.CancelledError:
        sandbox.give_up()
        await asyncio.wait([living])
        raise


class _Sandbox:
    """One sandbox for one program. Only our own code runs in it until we hold its pid 1; killing that kills all in
    it.
    """

    _process: asyncio.subprocess.Process
    _stdin: asyncio.StreamWriter
    _stdout: asyncio.StreamReader
    _stderr: asyncio.StreamReader

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._room = limits.output_bytes
        self._stopped: Stop = ""
        self._unwanted = False
        self._first = 0
        self._first_handle: int | None = None
        self._rest: asyncio.Future[tuple[bytes, bytes, int]] | None = None

    async def live(self, command: list[str], source: str) -> SandboxResult:
        pipe = subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env={}, cwd="/", start_new_session=True
        )
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise AssertionError
        self._process = process
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        try:
            await self._start()
            if self._unwanted:
                raise asyncio.CancelledError
            return await self._run(source)
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
            (self._first,) = _children(self._process.pid)
            self._first_handle = os.pidfd_open(self._first)
        except (asyncio.IncompleteReadError, OSError, ValueError) as error:
            self._kill()
            why = _last_line(await self._stderr.read()) or repr(error)
            raise SandboxUnavailable(f"the sandbox did not start, so the program was not run: {why}") from error
        _sacrifice(self._first)

    async def _run(self, source: str) -> SandboxResult:
        began = time.monotonic()
        self._stdin.write(source.encode(errors="surrogatepass"))
        self._stdin.close()
        self._rest = asyncio.gather(self._read(self._stdout), self._read(self._stderr), self._process.wait())
        deadline = asyncio.get_running_loop().call_later(self._limits.seconds, self._stop, "time")
        police = asyncio.create_task(self._police())
        try:
            stdout, stderr, code = await self._rest
        finally:
            deadline.cancel()
            police.cancel()
        return SandboxResult(
            exit_code=None if self._stopped else code,
            stdout=stdout.decode(errors="replace"),
            stderr=stderr.decode(errors="replace"),
            seconds=time.monotonic() - began,
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

    async def _over(self) -> None:
        if self._rest is not None:
            await asyncio.wait([self._rest])
        for stream in (self._stdout, self._stderr):
            while await stream.read(64 * 1024):
                pass  # a transport closes only when all is read
        await self._process.wait()

    def _stop(self, why: Stop) -> None:
        self._stopped = self._stopped or why
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._first_handle is not None:
                signal.pidfd_send_signal(self._first_handle, signal.SIGKILL)
                return
            for pid in reversed(_family(self._process.pid)[1:]):
                os.kill(pid, signal.SIGKILL)
            self._process.kill()

    async def _read(self, stream: asyncio.StreamReader) -> bytes:
        kept = bytearray()
        while chunk := await stream.read(64 * 1024):
            kept += chunk[: self._room]
            if len(chunk) > self._room:
                self._stop("output")
            self._room -= min(len(chunk), self._room)
        return bytes(kept)

    async def _police(self) -> None:
        """Enforce totals where the kernel limits only single processes."""
        while True:
            await asyncio.sleep(POLICE_SECONDS)
            used = [_usage(pid) for pid in _family(self._first)]
            if sum(cpu for cpu, _ in used) > self._limits.cpu_seconds:
                self._stop("cpu")
            if sum(memory for _, memory in used) > self._limits.memory_bytes:
                self._stop("memory")
            with contextlib.suppress(OSError):
                scratch = os.statvfs(f"/proc/{self._first}/root/tmp")
                if scratch.f_files - scratch.f_ffree > FILES:
                    self._stop("files")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _family(first: int) -> list[int]:
    """The process and all its descendants, which is every process in the pid namespace: pid 1 adopts orphans."""
    found = [first]
    for pid in found:
        found += _children(pid)
    return found


def _sacrifice(first: int) -> None:
    """Make the kernel's OOM killer prefer these processes and their children over ours."""
    for pid in _family(first):
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def _usage(pid: int) -> tuple[float, int]:
    """CPU seconds, including reaped children, and bytes of anonymous memory (proc(5))."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0, 0
    memory = sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK"), memory * 1024


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
            _command(mechanism, Limits(processes=PROBE_PROCESSES)),
            input=PROBE.encode(),
            capture_output=True,
            check=False,
            env={},
            cwd="/",
            start_new_session=True,
            timeout=START_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = ended.stdout.split()
    if ended.returncode or not said:
        return _last_line(ended.stderr) or f"the probe ended with {ended.returncode}"
    if int(said[0]) > PROBE_PROCESSES:
        return "the kernel does not limit the number of processes of this user"
    return ""


def _last_line(stderr: bytes) -> str:
    return next(reversed(stderr.decode(errors="replace").strip().splitlines()), "")


def _command(mechanism: Mechanism, limits: Limits, packages: Sequence[Path] = ()) -> list[str]:
    as_root = _is_root()
    shown = (*view(), *(("files", str(path), f"{PACKAGES}/{path.name}") for path in packages))
    inside = [
        *(interpreter(), "-I", "-S", "-B", "-c", _inside()),
        str(int(as_root)),
        str(limits.cpu_seconds + 1),  # per-process backstop; we enforce the sum
        str(limits.memory_bytes),
        str(limits.processes),
        str(limits.scratch_bytes),
    ]
    if mechanism == "unshare":
        return [*inside, *(word for row in shown for word in row)]
    rights = "--cap-drop ALL --cap-add CAP_SETUID --cap-add CAP_SETGID" if as_root else "--unshare-user"
    command = [shutil.which("bwrap") or "bwrap", *rights.split(), "--die-with-parent", "--as-pid-1"]
    command += [
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--hostname",
        "sandbox",
    ]
    for kind, source, target in shown:
        if kind != "empty":  # parent directories that bubblewrap creates are accessible only to its own user
            command += [word for parent in reversed(Path(target).parents[:-1]) for word in ("--dir", str(parent))]
        match kind:
            case "files":
                command += ["--ro-bind", source, target]
            case "device":
                command += ["--dev-bind", source, target]
            case "link":
                command += ["--symlink", source, target]
            case "empty":
                command += ["--size", "4096", "--tmpfs", target, "--remount-ro", target]
    command += ["--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", "/tmp", "--remount-ro", "/"]  # noqa: S108
    return [*command, "--", *inside]


@functools.cache
def _inside() -> str:
    return Path(__file__).with_name("sandbox_inside.py").read_text()


def _is_root() -> bool:
    """Whether we can switch to another user; root as the only user of its namespace cannot."""
    ranges = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return os.geteuid() == 0 and any(first <= 65534 < first + count for first, _, count in ranges)
