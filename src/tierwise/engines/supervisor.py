"""Keeps one engine process running: starts it, watches it, restarts it, says why it failed, leaves nothing behind.

Separate from the engines, because vLLM and llama.cpp die alike. Each process runs below a warden (warden.py), which
ends it when we end. Linux only: sessions, /proc and parent-death signals have no portable counterpart.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import logging.handlers
import os
import random
import re
import secrets
import shlex
import signal
import socket
import sys
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

import aiohttp

from tierwise.engines import warden
from tierwise.engines.engine import Health
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tierwise.engines.engine import State

_LOGGER = logging.getLogger(__name__)

_HIGH_WATER = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that one start of an engine needs."""

    command: tuple[str, ...]
    url: str
    """Where it will answer: `http://127.0.0.1:PORT`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Additions to our own."""
    health: str = "/health"
    """The path that answers 200 once the engine is ready."""
    start_seconds: float = 600.0
    """How long loading may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a supervisor waits, and how often it tries."""

    check_seconds: float = 1.0
    """Pause between two health checks of a running engine."""
    check_timeout: float = 5.0
    checks_missed: int = 6
    """So many checks in a row without an answer are a hang. By default that is half a minute of silence, since a
    busy engine may well be slow to say that it is fine."""
    stop_seconds: float = 10.0
    """From SIGTERM to SIGKILL."""
    first_backoff: float = 0.2
    longest_backoff: float = 30.0
    stable_seconds: float = 60.0
    """An engine that was ready for so long has recovered: its next failure counts as the first."""
    quick_failures: int = 5
    """After more failures than these without recovery, callers are told at once instead of waiting."""

    def backoff(self, failures: int, draw: float) -> float:
        """Seconds to wait after the n-th failure: doubling, capped, and between half and all of that.

        `draw` in [0, 1) keeps engines that failed together from coming back together.
        """
        whole = min(self.longest_backoff, self.first_backoff * 2.0 ** min(failures - 1, 60))
        return whole * (0.5 + 0.5 * draw)


class Supervisor:
    """Keeps one engine process running and says where it answers.

    Args:
        name: the deployment's; its log is `logs/<name>.log`.
        launch: builds the launch for a free port; called anew for every start.
        logs: folder of the logs, made when it is missing.
        patience: waits and limits.
        draw: gives numbers in [0, 1) for the jitter of restarts.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        patience: Patience | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.state: State = "stopped"
        self.reason = ""
        """Why the engine is not ready, in its own last words where it had any."""
        self.restarts = 0
        self.started_at: datetime | None = None
        """When the present process was started."""
        self.start_seconds_taken: float | None = None
        """How long it took to become ready."""
        self.launch: Launch | None = None
        """What the present process was started with."""
        self._name = name
        self._build = launch
        self._log = logs / f"{name}.log"
        self._patience = patience or Patience()
        self._draw = draw
        self._process: _Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._turned = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The engine's own process, below its warden."""
        return self._process.engine_pid() if self._process else None

    @property
    def peak_bytes(self) -> int:
        """The most memory that each of those processes held at any time, added up."""
        return self._process.peak_bytes() if self._process else 0

    @property
    def resident_bytes(self) -> int:
        """Memory of the engine, its descendants and its warden now; what they share counts for each."""
        return self._process.resident_bytes() if self._process else 0

    def last_words(self) -> tuple[str, ...]:
        """The last lines of the present process, or of the last one when none runs."""
        return tuple(self._process.words) if self._process else ()

    def health(self) -> Health:
        return Health(
            state=self.state,
            reason=self.reason,
            restarts=self.restarts,
            resident_bytes=self.resident_bytes or None,
            peak_bytes=self.peak_bytes or None,
            start_seconds=self.start_seconds_taken,
        )

    async def start(self) -> None:
        """Start the engine and return when it is healthy; from then on it is kept so.

        Raises:
            Broken: it does not start. Nothing is left running then, and nothing is tried again.
        """
        if self._task is not None and not self._task.done():
            await self.ready()
            return
        self.restarts = 0
        self._turn("starting")
        self._task = asyncio.create_task(self._supervise(), name=f"supervisor of {self._name}")
        self._task.add_done_callback(self._supervised)
        try:
            await self.ready()
        except asyncio.CancelledError:
            await self.stop()
            raise
        except Broken:
            await asyncio.wait({self._task})
            raise

    async def ready(self) -> str:
        """The engine's URL. Waits for a start or restart that is under way, as long as the caller's own deadline.

        Raises:
            Broken: the engine is stopped or keeps failing.
        """
        while self.state in ("starting", "restarting"):
            await self._turned.wait()
        if self.state != "ready" or self.launch is None:
            raise Broken(self.reason or f"engine {self._name!r} is stopped; start it first", engine=self._name)
        return self.launch.url

    async def stop(self) -> None:
        """End the engine and wait until it is gone: SIGTERM, patience, SIGKILL. May be called at any time, and twice.

        Cancelling this only ends the waiting; the engine ends all the same.
        """
        if self._task is not None and not self._task.done():
            if self.state != "stopped":
                self._turn("stopped")
                self._task.cancel()
            await asyncio.wait({self._task})
        self._turn("stopped")

    def _turn(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._turned.set()
        self._turned = asyncio.Event()

    def _supervised(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for ever because of a mistake in here or in `launch`."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._turn("failed", f"the supervisor of engine {self._name!r} broke: {error!r}")
            _LOGGER.error("the supervisor of engine %r broke", self._name, exc_info=error)

    async def _supervise(self) -> None:
        """Life after life until we are cancelled. The first has to succeed."""
        patience = self._patience
        failures = clashes = 0
        with contextlib.closing(_log_file(self._log)) as log:
            async with _health_client(patience.check_timeout) as client:
                while True:
                    end = await self._live(client, log)
                    if end.port_taken and clashes < patience.quick_failures:
                        clashes += 1
                        continue
                    if self.state == "starting":
                        self._turn("failed", end.reason)
                        return
                    clashes = 0
                    failures = 1 if end.ready_seconds >= patience.stable_seconds else failures + 1
                    self._turn("failed" if failures > patience.quick_failures else "restarting", end.reason)
                    pause = patience.backoff(failures, self._draw())
                    _LOGGER.warning("%s; restart in %.1f s", end.reason, pause)
                    await asyncio.sleep(pause)
                    self.restarts += 1

    async def _live(self, client: aiohttp.ClientSession, log: logging.Handler) -> _End:
        """One life of the engine, from its start to whatever ends it."""
        self.launch = launch = self._build(_free_port())
        self.started_at, self.start_seconds_taken = datetime.now(UTC), None
        born = _now()
        _note(log, f"tierwise starts {shlex.join(launch.command)}")
        try:
            process = await _Process.start(launch, self._patience.stop_seconds, lambda line: _note(log, line))
        except OSError as error:
            return _End(f"engine {self._name!r} cannot be started: {error}")
        self._process = process
        try:
            if reason := await self._load(client, process, launch):
                return _End(reason, port_taken=any(map(_PORT_TAKEN.search, process.words)))
            ready = _now()
            self.start_seconds_taken = ready - born
            self._turn("ready")
            reason = await self._watch(client, process, launch)
            self._turn("restarting", reason)
            return _End(reason, ready_seconds=_now() - ready)
        finally:
            await process.end(self._patience.stop_seconds)

    async def _load(self, client: aiohttp.ClientSession, process: _Process, launch: Launch) -> str:
        """Wait until the engine is healthy. Returns why it will never be, empty when it is."""
        deadline, pause = _now() + launch.start_seconds, 0.02
        while not await _is_healthy(client, launch):
            if await process.ends_within(pause):
                return self._obituary(process, "while loading", _root_cause(process.words))
            if _now() > deadline:
                process.kill()
                return (
                    f"engine {self._name!r} was not ready within {launch.start_seconds:g} s and was killed: "
                    f"{_last_blame(process.words, _last(process.words))}; log: {self._log}"
                )
            pause = min(1.5 * pause, 0.5)
        if await process.ends_within(0):  # then it was another server that answered, on a port that ours did not get
            return self._obituary(process, "while loading", _root_cause(process.words))
        return ""

    async def _watch(self, client: aiohttp.ClientSession, process: _Process, launch: Launch) -> str:
        """Wait until the engine is dead or hangs. Returns which."""
        missed = 0
        while missed < self._patience.checks_missed:
            if await process.ends_within(self._patience.check_seconds):
                return self._obituary(process, "while running", _last_blame(process.words[-30:], "it gave no reason"))
            missed = 0 if await _is_healthy(client, launch) else missed + 1
        process.kill()
        return (
            f"engine {self._name!r} hung and was killed: {launch.health} did not answer {missed} times in a row; "
            f"log: {self._log}"
        )

    def _obituary(self, process: _Process, when: str, words: str) -> str:
        return f"engine {self._name!r} ended {when} ({process.manner_of_death()}): {words}; log: {self._log}"


@dataclass(frozen=True, slots=True)
class _End:
    """How one life of an engine ended."""

    reason: str
    ready_seconds: float = 0.0
    port_taken: bool = False


class _Process:
    """An engine process below its warden: its words, its memory, its end."""

    MARK = "TIERWISE_ENGINE"
    """The environment variable by which the descendants of a killed warden are found."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: int, output: _Output, mark: str) -> None:
        self._warden = process
        self._lifeline: int | None = lifeline
        self._output = output
        self._mark = mark

    @classmethod
    async def start(cls, launch: Launch, stop_seconds: float, note: Callable[[str], None]) -> Self:
        """Start the command below a warden; `note` gets every line that it writes.

        Raises:
            OSError: the machine has no room for another process.
        """
        mark = secrets.token_hex(8)
        # Without SPT_NOENV, setproctitle (vLLM uses it) overwrites the environment in /proc, and our mark with it.
        environment = {**os.environ, **launch.environment, cls.MARK: mark, "SPT_NOENV": "1"}
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            hear, say = _pipe(ours, theirs)
            held, lifeline = _pipe(theirs, ours)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", warden.__file__, str(stop_seconds), "--", *launch.command),
                stdin=held,
                stdout=say,
                stderr=say,
                env=environment,
                start_new_session=True,
            )
            ours.pop_all()
        return cls(process, lifeline, _Output(hear, note), mark)

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self._output.words)

    def engine_pid(self) -> int | None:
        """The warden's oldest child: orphans that it adopts are listed after it."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._warden.pid}/task/{self._warden.pid}/children").read_text(encoding="ascii")
            return int(children.split()[0]) if children else None
        return None

    def resident_bytes(self) -> int:
        if self._warden.returncode is not None:
            return 0
        pages = 0
        for pid in (self._warden.pid, *warden.descendants(self._warden.pid)):
            with contextlib.suppress(OSError):  # it ended while we looked
                pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def peak_bytes(self) -> int:
        if self._warden.returncode is not None:
            return 0
        kibibytes = 0
        for pid in (self._warden.pid, *warden.descendants(self._warden.pid)):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
                kibibytes += int(mark[1]) if (mark := _HIGH_WATER.search(status)) else 0
        return 1024 * kibibytes

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
        if code - 128 == signal.SIGKILL:
            return "killed by SIGKILL, as the kernel does when memory runs out"
        if code - 128 in signal.valid_signals():
            return f"killed by {signal.Signals(code - 128).name}"
        return f"exit code {code}"

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


class _Output:
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

_PORT_TAKEN = re.compile(
    r"address already in use|errno 98\b|EADDRINUSE|(couldn't|could not|failed to|cannot) bind", re.IGNORECASE
)

_LEVEL_ERROR = re.compile(r"[\d.,:TZ+\- ]*\[?(E|ERROR|CRITICAL|FATAL)\]?:? +(?P<said>\S.*)")
"""A line that its writer gave the level of an error, as llama.cpp does: `0.00.005.380 E gguf_init: invalid magic`."""
_BLAME = re.compile(
    r"error|exception|fatal|fail|abort|assert|cannot|could not|couldn't|unable|invalid|not found|no such|memory|denied",
    re.IGNORECASE,
)
_ECHO = re.compile(r"see (the )?(root cause|above)|exiting due to|^Traceback|^\s+(File|raise) ", re.IGNORECASE)
"""A line that only reports that another line told the reason."""


def _root_cause(words: Sequence[str]) -> str:
    """What a process that did not get up most likely died of.

    Where lines have levels, the first error caused the others; the last line that blames something says what it
    meant for the whole. Otherwise (a Python traceback) only the latter is known.
    """
    blame = _last_blame(words, _last(words))
    first = next((match["said"] for match in map(_LEVEL_ERROR.match, words) if match), blame)
    return " ".join((first if blame.endswith(first) else f"{first}; {blame}").split())


def _last_blame(words: Sequence[str], otherwise: str) -> str:
    """The last line that blames something, and does not just point to another one."""
    blames = (line for line in reversed(words) if _BLAME.search(line) and not _ECHO.search(line))
    return next(blames, otherwise).strip()


def _last(words: Sequence[str]) -> str:
    return words[-1] if words else "it said nothing"


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe, each end of which its owner closes."""
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    return read, write


def _free_port() -> int:
    """A port that nobody listens on now. Somebody may take it before the engine does, so a start may have to repeat."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _health_client(timeout: float) -> aiohttp.ClientSession:
    """A client that connects anew for every check: that a server still accepts is half of what we want to know."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=timeout), connector=aiohttp.TCPConnector(force_close=True)
    )


async def _is_healthy(client: aiohttp.ClientSession, launch: Launch) -> bool:
    try:
        async with client.get(launch.url + launch.health) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


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


def _log_file(path: Path) -> logging.Handler:
    """A log of at most 40 MB, with the time before every line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=10_000_000, backupCount=3, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


def _note(log: logging.Handler, line: str) -> None:
    log.emit(logging.makeLogRecord({"msg": line}))


def _now() -> float:
    return asyncio.get_running_loop().time()
