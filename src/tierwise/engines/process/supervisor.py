"""Keeps one engine process running: starts it, watches it, restarts it, says why it failed, leaves nothing behind.

Separate from the engines, because vLLM and llama.cpp die alike. What a process is stands in process.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import logging.handlers
import random
import shlex
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tierwise.engines.engine import Health
from tierwise.engines.process.guarded import Process
from tierwise.engines.process.health_check import Pulse, feel, health_client
from tierwise.engines.process.log_tail import last_blame, recent_blame, root_cause, says_port_taken
from tierwise.engines.process.memory_usage import Held, kills_for_memory
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import aiohttp

    from tierwise.engines.engine import State

_LOGGER = logging.getLogger(__name__)

_BURIAL_SECONDS = 0.3
"""A dead process refuses connections some milliseconds before its warden can say that it is dead."""

_LINES_SHOWN = 20
"""Of an engine that is not ready, in its `Health`."""


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
    lost: frozenset[int] = frozenset()
    """Statuses of that path that mean, once it was ready, that it never will be again: the front outlived the rest."""
    start_seconds: float = 600.0
    """How long loading may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a supervisor waits, and how often it tries."""

    check_seconds: float = 0.5
    """Pause between two health checks of a running engine."""
    silent_seconds: float = 1.0
    """A check unanswered for so long makes it silent: with the pause before it, 1.5 s after its last sign of life."""
    check_timeout: float = 5.0
    """A check unanswered for so long is given up for a new one: its own answer may be lost."""
    hang_seconds: float = 30.0
    """Silence after which it is killed. That long, since a busy engine may well be slow to say that it is fine."""
    refused_seconds: float = 5.0
    """The same where nobody listens on its port any more, which no engine recovers from: time to finish its answers."""
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
        kills: counts what the kernel killed for want of memory.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        patience: Patience | None = None,
        draw: Callable[[], float] = random.random,
        kills: Callable[[], int | None] = kills_for_memory,
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
        self._kills = kills
        self._process: Process | None = None
        self._sentence = ""
        """Why the present process was condemned; empty while it was not."""
        self._epitaph: tuple[str, ...] = ()
        """The last lines of a process that ended, until another one is ready."""
        self._task: asyncio.Task[None] | None = None
        self._turned = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The engine's own process, below its warden."""
        return self._process.engine_pid() if self._process else None

    @property
    def held(self) -> Held:
        """Memory of the engine, its descendants and its warden."""
        return self._process.held() if self._process else Held()

    def last_words(self) -> tuple[str, ...]:
        """The last lines of the present process, or of the last one when none runs."""
        return tuple(self._process.words) if self._process else ()

    def health(self) -> Health:
        held = self.held
        is_well = self.state in ("ready", "stopped")
        return Health(
            state=self.state,
            reason=self.reason,
            last_lines=() if is_well else self._epitaph or self.last_words()[-_LINES_SHOWN:],
            restarts=self.restarts,
            resident_bytes=held.resident or None,
            peak_bytes=held.peak or None,
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
        self.restarts, self._epitaph = 0, ()
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
        """The engine's URL. Waits for a start or restart that is under way, or for the end of a silence, as long as the
        caller's own deadline.

        Raises:
            Broken: the engine is stopped or keeps failing.
        """
        while self.state in ("starting", "restarting", "silent"):
            await self._turned.wait()
        if self.state != "ready" or self.launch is None:
            raise Broken(self.reason or f"engine {self._name!r} is stopped; start it first", engine=self._name)
        return self.launch.url

    def condemn(self, reason: str) -> None:
        """Kill the engine and start another one, because it runs and is of no use. Does nothing where none is ready."""
        if self.state == "ready" and self._process is not None:
            self._sentence = reason
            self._turn("restarting", reason)
            self._process.kill()

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
            async with health_client() as client:
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
        self._sentence = ""
        born = _now()
        _note(log, f"tierwise starts {shlex.join(launch.command)}")
        try:
            process = await Process.start(
                launch.command,
                launch.environment,
                stop_seconds=self._patience.stop_seconds,
                note=lambda line: _note(log, line),
                kills=self._kills,
            )
        except OSError as error:
            return _End(f"engine {self._name!r} cannot be started: {error}")
        self._process = process
        try:
            if reason := await self._load(client, process, launch):
                return _End(reason, port_taken=says_port_taken(process.words))
            ready = _now()
            self.start_seconds_taken = ready - born
            self._epitaph = ()
            self._turn("ready")
            reason = await self._watch(client, process, launch)
            self._turn("restarting", reason)
            return _End(reason, ready_seconds=_now() - ready)
        finally:
            self._epitaph = process.words[-_LINES_SHOWN:]
            # `stop` may cancel us in the middle of this, and must not return while something runs.
            ending = asyncio.create_task(process.end(self._patience.stop_seconds))
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                await ending
                raise

    async def _load(self, client: aiohttp.ClientSession, process: Process, launch: Launch) -> str:
        """Wait until the engine is healthy. Returns why it will never be, empty when it is."""
        deadline, pause = _now() + launch.start_seconds, 0.02
        while not (await feel(client, launch.url + launch.health, self._patience.check_timeout)).is_well:
            process.look()
            if await process.ends_within(pause):
                return self._obituary(process, "while loading", root_cause(process.words))
            if _now() > deadline:
                process.kill()
                return (
                    f"engine {self._name!r} was not ready within {launch.start_seconds:g} s and was killed: "
                    f"{last_blame(process.words)}; log: {self._log}"
                )
            pause = min(1.5 * pause, 0.5)
        if await process.ends_within(0):  # then it was another server that answered, on a port that ours did not get
            return self._obituary(process, "while loading", root_cause(process.words))
        return ""

    async def _watch(self, client: aiohttp.ClientSession, process: Process, launch: Launch) -> str:
        """Wait until the engine is dead, or silent for too long. Returns which."""
        last_well = _now()
        while True:
            process.look()
            if await process.ends_within(self._patience.check_seconds):
                return self._cause_of_death(process)
            began = _now()
            pulse = await self._check(client, launch, last_well + self._patience.hang_seconds - began)
            if pulse.is_well:
                last_well = began
                if self.state == "silent":
                    _LOGGER.warning("engine %r answers again", self._name)
                    self._turn("ready")
                continue
            if pulse.status in launch.lost:
                process.kill()
                return self._complaint(f"lost its inner process ({launch.health} {pulse})")
            if await process.ends_within(_BURIAL_SECONDS):
                return self._cause_of_death(process)
            self._fall_silent(launch, pulse)
            silence = _now() - last_well
            if silence >= (self._patience.refused_seconds if pulse.refused else self._patience.hang_seconds):
                process.kill()
                return self._complaint(f"hung and was killed: {launch.health} {pulse}, for {silence:.0f} s")

    async def _check(self, client: aiohttp.ClientSession, launch: Launch, seconds_left: float) -> Pulse:
        """One health check. While it waits for an answer, the engine may become silent."""
        patience = self._patience
        timer = asyncio.get_running_loop().call_later(patience.silent_seconds, self._fall_silent, launch, Pulse())
        try:
            seconds = min(patience.check_timeout, max(seconds_left, patience.silent_seconds))
            return await feel(client, launch.url + launch.health, seconds)
        finally:
            timer.cancel()

    def _fall_silent(self, launch: Launch, pulse: Pulse) -> None:
        if self.state == "ready":
            self._turn("silent", self._complaint(f"is silent: {launch.health} {pulse}"))
            _LOGGER.warning("%s", self.reason)

    def _cause_of_death(self, process: Process) -> str:
        return self._sentence or self._obituary(process, "while running", recent_blame(process.words))

    def _complaint(self, what: str) -> str:
        words = last_blame(self.last_words()[-_LINES_SHOWN:])
        return f"engine {self._name!r} {what}; its last words: {words}; log: {self._log}"

    def _obituary(self, process: Process, when: str, words: str) -> str:
        return f"engine {self._name!r} ended {when} ({process.manner_of_death()}): {words}; log: {self._log}"


@dataclass(frozen=True, slots=True)
class _End:
    """How one life of an engine ended."""

    reason: str
    ready_seconds: float = 0.0
    port_taken: bool = False


def _free_port() -> int:
    """A port that nobody listens on now. Somebody may take it before the engine does, so a start may have to repeat."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
