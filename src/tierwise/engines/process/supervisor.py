"""Keeps one engine process running: starts it, watches it, restarts it, reports why it failed, leaves nothing behind.

Separate from the engines, because all of them fail in the same ways. guarded.py handles a single process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import random
import shlex
import shutil
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tierwise.engines.engine import Health
from tierwise.engines.process.environment import inherited
from tierwise.engines.process.guarded import GuardedProcess
from tierwise.engines.process.health_check import HealthCheck, check_health, health_client
from tierwise.engines.process.listener import Listener
from tierwise.engines.process.log_tail import last_error, recent_error, root_cause, says_port_taken
from tierwise.engines.process.memory_usage import MemoryUsage, oom_kills
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import aiohttp

    from tierwise.engines.engine import State

_LOGGER = logging.getLogger(__name__)

_REAP_SECONDS = 0.3
"""A dead process refuses connections some milliseconds before its guard reports its exit."""

_PORT_TAKEN = "its port is taken"

_LINES_SHOWN = 20
"""Number of log lines in the `Health` of an engine that is not ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Everything that one start of an engine needs."""

    command: tuple[str, ...]
    url: str
    """The URL that it will serve: `http://127.0.0.1:PORT`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are set."""
    inherits: tuple[str, ...] = ()
    """Names and patterns of variables that it inherits, beyond those of every engine."""
    scratch: Path | None = None
    """A folder of its own, without folders in it, that is removed once it has ended."""
    health: str = "/health"
    """The path that answers 200 once the engine is ready."""
    lost: frozenset[int] = frozenset()
    """Statuses of that path which mean, after it was ready, that the engine behind the HTTP server has died."""
    start_seconds: float = 600.0
    """Maximum time to load, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Timeouts and retry limits of a supervisor, in seconds."""

    check_seconds: float = 0.5
    """Pause between two health checks of a ready engine."""
    silent_seconds: float = 1.0
    """A check unanswered for this long makes the engine silent: with the pause, 1.5 s after its last answer."""
    check_timeout: float = 5.0
    """A check is abandoned after this long and repeated, because its answer may be lost."""
    hang_seconds: float = 30.0
    """A silent engine is killed after this long. The value is large because a busy engine may be slow to answer."""
    refused_seconds: float = 5.0
    """The same if connections are refused, from which no engine recovers: time to finish its answers."""
    stop_seconds: float = 10.0
    """From SIGTERM to SIGKILL."""
    first_backoff: float = 0.2
    longest_backoff: float = 30.0
    stable_seconds: float = 60.0
    """An engine that was ready for this long has recovered: its next failure counts as the first."""
    quick_failures: int = 5
    """After more consecutive failures than this, callers get an error immediately instead of waiting."""

    def backoff(self, failures: int, draw: float) -> float:
        """Seconds to wait after the n-th failure: exponential backoff with a cap and with jitter of up to half.

        `draw` in [0, 1) is the jitter: engines that failed together do not restart together.
        """
        whole = min(self.longest_backoff, self.first_backoff * 2.0 ** min(failures - 1, 60))
        return whole * (0.5 + 0.5 * draw)


class Supervisor:
    """Keeps one engine process running and provides its URL.

    Args:
        name: the deployment's; its log is `logs/<name>.log`.
        launch: returns the launch for a free port; called for every start.
        logs: folder of the logs, created if it is missing.
        timeouts: timeouts and retry limits.
        draw: returns numbers in [0, 1) for the jitter of restarts.
        oom_kills: returns the number of processes that the OOM killer has killed.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        timeouts: Timeouts | None = None,
        draw: Callable[[], float] = random.random,
        oom_kills: Callable[[], int | None] = oom_kills,
    ) -> None:
        self.state: State = "stopped"
        self.reason = ""
        """Why the engine is not ready, quoted from its log if possible."""
        self.restarts = 0
        self.started_at: datetime | None = None
        """When the current process was started."""
        self.start_seconds_taken: float | None = None
        """Seconds until it was ready."""
        self.launch: Launch | None = None
        """The launch of the current process."""
        self.when_ready: Callable[[str], None] = _nothing
        """Called with the URL of each process once it is healthy."""
        self._name = name
        self._build = launch
        self._log = logs / f"{name}.log"
        self._timeouts = timeouts or Timeouts()
        self._draw = draw
        self._oom_kills = oom_kills
        self._process: GuardedProcess | None = None
        self._listener: Listener | None = None
        """Proof that the URL is that of the current process."""
        self._restart_reason = ""
        """Why a restart of the current process was requested; empty if none was."""
        self._previous_log_tail: tuple[str, ...] = ()
        """The last lines of a process that ended, until another one is ready."""
        self._task: asyncio.Task[None] | None = None
        self._state_changed = asyncio.Event()

    @property
    def listener(self) -> Listener | None:
        """Proof that the URL is that of the current process; None if it does not listen yet."""
        return self._listener

    @property
    def pid(self) -> int | None:
        """The process ID of the engine, the child of its guard."""
        return self._process.engine_pid() if self._process else None

    @property
    def memory_usage(self) -> MemoryUsage:
        """Memory of the engine, its descendants and its guard."""
        return self._process.memory_usage() if self._process else MemoryUsage()

    def log_tail(self) -> tuple[str, ...]:
        """The last lines of the current process, or of the previous one if none runs."""
        return self._process.log_tail if self._process else ()

    def health(self) -> Health:
        memory = self.memory_usage
        is_well = self.state in ("ready", "stopped")
        return Health(
            state=self.state,
            reason=self.reason,
            last_lines=() if is_well else self._previous_log_tail or self.log_tail()[-_LINES_SHOWN:],
            restarts=self.restarts,
            resident_bytes=memory.resident or None,
            peak_bytes=memory.peak or None,
            start_seconds=self.start_seconds_taken,
        )

    async def start(self) -> None:
        """Start the engine and return when it is healthy. From then on it is supervised.

        Raises:
            Broken: it does not start. Then nothing is left running, and there is no retry.
        """
        if self._task is not None and not self._task.done():
            await self.ready()
            return
        self.restarts, self._previous_log_tail = 0, ()
        self._change_state("starting")
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
        """Return the engine's URL. Waits while it starts, restarts or is silent; the caller sets the deadline.

        Raises:
            Broken: the engine is stopped or keeps failing.
        """
        while self.state in ("starting", "restarting", "silent") or (self.state == "ready" and not self._is_ours()):
            await self._state_changed.wait()
        if self.state != "ready" or self.launch is None:
            raise Broken(self.reason or f"engine {self._name!r} is stopped; start it first", engine=self._name)
        return self.launch.url

    def serves(self, url: str) -> bool:
        """Whether the current process still holds this URL."""
        return self.launch is not None and self.launch.url == url and self._is_ours()

    def _is_ours(self) -> bool:
        """Whether the URL still is that of our process. If not, the engine has just died, or does not accept
        connections any more; the next health check changes the state.
        """
        return self._listener is not None and self._listener.is_held

    def restart(self, reason: str) -> None:
        """Kill a ready engine that does not work and start a new process. Does nothing if it is not ready."""
        if self.state == "ready" and self._process is not None:
            self._restart_reason = reason
            self._change_state("restarting", reason)
            self._process.kill()

    async def stop(self) -> None:
        """Stop the engine and wait until it has exited: SIGTERM, a wait, SIGKILL. Idempotent.

        Cancelling this ends only the wait; the engine is stopped anyway.
        """
        if self._task is not None and not self._task.done():
            if self.state != "stopped":
                self._change_state("stopped")
                self._task.cancel()
            await asyncio.wait({self._task})
        self._change_state("stopped")

    def _change_state(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._state_changed.set()
        self._state_changed = asyncio.Event()

    def _supervised(self, task: asyncio.Task[None]) -> None:
        """Ensure that no caller waits forever because of a bug here or in `launch`."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._change_state("failed", f"the supervisor of engine {self._name!r} failed: {error!r}")
            _LOGGER.error("the supervisor of engine %r failed", self._name, exc_info=error)

    async def _supervise(self) -> None:
        """Run one process after the other until cancelled. The first must become ready."""
        timeouts = self._timeouts
        failures = clashes = 0
        with contextlib.closing(_log_file(self._log)) as log:
            async with health_client() as client:
                while True:
                    end = await self._run_once(client, log)
                    if end.port_taken and clashes < timeouts.quick_failures:
                        clashes += 1
                        continue
                    if self.state == "starting":
                        self._change_state("failed", end.reason)
                        return
                    clashes = 0
                    failures = 1 if end.ready_seconds >= timeouts.stable_seconds else failures + 1
                    self._change_state("failed" if failures > timeouts.quick_failures else "restarting", end.reason)
                    pause = timeouts.backoff(failures, self._draw())
                    _LOGGER.warning("%s; restart in %.1f s", end.reason, pause)
                    await asyncio.sleep(pause)
                    self.restarts += 1

    async def _run_once(self, client: aiohttp.ClientSession, log: logging.Handler) -> _End:
        """Run one process of the engine, from its start to its end."""
        self.launch = launch = self._build(_free_port())
        try:
            return await self._run(launch, client, log)
        finally:
            if launch.scratch is not None:  # also if no guard was started, or it was killed
                shutil.rmtree(launch.scratch, ignore_errors=True)

    async def _run(self, launch: Launch, client: aiohttp.ClientSession, log: logging.Handler) -> _End:
        self.started_at, self.start_seconds_taken = datetime.now(UTC), None
        self._restart_reason = ""
        started = _now()
        _write(log, f"tierwise starts {shlex.join(launch.command)}")
        try:
            process = await GuardedProcess.start(
                launch.command,
                {**inherited(launch.inherits), **launch.environment},
                stop_seconds=self._timeouts.stop_seconds,
                log=lambda line: _write(log, line),
                oom_kills=self._oom_kills,
                scratch=launch.scratch,
            )
        except OSError as error:
            return _End(f"engine {self._name!r} cannot be started: {error}")
        self._process = process
        try:
            if reason := await self._load(client, process, launch):
                return _End(reason, port_taken=says_port_taken(process.log_tail) or reason.endswith(_PORT_TAKEN))
            ready = _now()
            self.start_seconds_taken = ready - started
            self._previous_log_tail = ()
            self._change_state("ready")
            self.when_ready(launch.url)
            reason = await self._watch(client, process, launch)
            self._change_state("restarting", reason)
            return _End(reason, ready_seconds=_now() - ready)
        finally:
            self._previous_log_tail = process.log_tail[-_LINES_SHOWN:]
            # `stop` may cancel this task here, and must not return while a process runs.
            ending = asyncio.create_task(process.end(self._timeouts.stop_seconds))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise

    async def _load(self, client: aiohttp.ClientSession, process: GuardedProcess, launch: Launch) -> str:
        """Wait until the engine is healthy. Returns why it failed to become healthy; empty if it is healthy."""
        deadline, pause = _now() + launch.start_seconds, 0.02
        while not (await check_health(client, launch.url + launch.health, self._timeouts.check_timeout)).is_healthy:
            process.sample()
            if await process.ends_within(pause):
                return self._exit_reason(process, "while loading", root_cause(process.log_tail))
            if _now() > deadline:
                process.kill()
                return (
                    f"engine {self._name!r} was not ready within {launch.start_seconds:g} s and was killed: "
                    f"{last_error(process.log_tail)}; log: {self._log}"
                )
            pause = min(1.5 * pause, 0.5)
        if await process.ends_within(0):  # another server answered, on a port that ours could not bind
            return self._exit_reason(process, "while loading", root_cause(process.log_tail))
        self._listener = process.listener(_port_of(launch.url))
        if self._listener is None:
            process.kill()
            return f"engine {self._name!r} was killed: another process listens at {launch.url}, {_PORT_TAKEN}"
        return ""

    async def _watch(self, client: aiohttp.ClientSession, process: GuardedProcess, launch: Launch) -> str:
        """Wait until the engine dies or is silent for too long. Returns the reason."""
        last_healthy = _now()
        while True:
            process.sample()
            if await process.ends_within(self._timeouts.check_seconds):
                return self._reason_for_end(process)
            began = _now()
            found = await self._check(client, launch, last_healthy + self._timeouts.hang_seconds - began)
            # A check ends in time, unless we stood still as well: a process or machine that was stopped.
            last_healthy += max(0.0, _now() - began - self._timeouts.check_timeout)
            if found.is_healthy and not self._is_ours():
                self._listener = process.listener(_port_of(launch.url))  # it may listen with a new socket
                if self._listener is None:
                    found = HealthCheck(refused=True)  # another process answers on its port
                else:
                    self._change_state(self.state, self.reason)
            if found.is_healthy:
                last_healthy = began
                if self.state == "silent":
                    _LOGGER.warning("engine %r answers again", self._name)
                    self._change_state("ready")
                continue
            if found.status in launch.lost:
                process.kill()
                return self._complaint(f"lost its inner process ({launch.health} {found})")
            if await process.ends_within(_REAP_SECONDS):
                return self._reason_for_end(process)
            self._mark_silent(launch, found)
            silence = _now() - last_healthy
            if silence >= (self._timeouts.refused_seconds if found.refused else self._timeouts.hang_seconds):
                process.kill()
                return self._complaint(f"hung and was killed: {launch.health} {found}, for {silence:.0f} s")

    async def _check(self, client: aiohttp.ClientSession, launch: Launch, seconds_left: float) -> HealthCheck:
        """Run one health check. The engine becomes silent if the answer takes too long."""
        timeouts = self._timeouts
        timer = asyncio.get_running_loop().call_later(timeouts.silent_seconds, self._mark_silent, launch, HealthCheck())
        try:
            seconds = min(timeouts.check_timeout, max(seconds_left, timeouts.silent_seconds))
            return await check_health(client, launch.url + launch.health, seconds)
        finally:
            timer.cancel()

    def _mark_silent(self, launch: Launch, found: HealthCheck) -> None:
        if self.state == "ready":
            self._change_state("silent", self._complaint(f"is silent: {launch.health} {found}"))
            _LOGGER.warning("%s", self.reason)

    def _reason_for_end(self, process: GuardedProcess) -> str:
        return self._restart_reason or self._exit_reason(process, "while running", recent_error(process.log_tail))

    def _complaint(self, what: str) -> str:
        line = last_error(self.log_tail()[-_LINES_SHOWN:])
        return f"engine {self._name!r} {what}; its log ends with: {line}; log: {self._log}"

    def _exit_reason(self, process: GuardedProcess, when: str, line: str) -> str:
        return f"engine {self._name!r} ended {when} ({process.exit_report()}): {line}; log: {self._log}"


@dataclass(frozen=True, slots=True)
class _End:
    """How one process of an engine ended."""

    reason: str
    ready_seconds: float = 0.0
    port_taken: bool = False


def _nothing(_url: str) -> None:
    """Tell nobody."""


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def _free_port() -> int:
    """Return a free port. If another program binds it before the engine does, the start is repeated."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _log_file(path: Path) -> logging.Handler:
    """A log of up to 40 MB; each line starts with the time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=10_000_000, backupCount=3, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    return handler


def _write(log: logging.Handler, line: str) -> None:
    log.emit(logging.makeLogRecord({"msg": line}))


def _now() -> float:
    return asyncio.get_running_loop().time()
