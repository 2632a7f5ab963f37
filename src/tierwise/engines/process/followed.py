"""An engine's process that another process of Tierwise supervises: its state is told, and nothing is started here."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.engines.engine import Health, State
from tierwise.engines.process.listener import Listener
from tierwise.engines.process.supervisor import Launch
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from tierwise.engines.process.supervisor import Supervisor


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What a supervisor tells of a process."""

    state: State
    reason: str = ""
    last_lines: tuple[str, ...] = ()
    log_tail: tuple[str, ...] = ()
    restarts: int = 0
    resident_bytes: int | None = None
    peak_bytes: int | None = None
    start_seconds: float | None = None
    command: tuple[str, ...] = ()
    url: str = ""
    """Empty before the first launch."""
    scratch: str | None = None
    sockets: tuple[tuple[str, str], ...] | None = None
    """The listening sockets of its URL; None if it does not listen."""


def standing_of(supervisor: Supervisor) -> Standing:
    """The present standing of a process. Reads its memory from /proc."""
    launch, listener, health = supervisor.launch, supervisor.listener, supervisor.health()
    return Standing(
        state=health.state,
        reason=health.reason,
        last_lines=health.last_lines,
        log_tail=supervisor.log_tail(),
        restarts=health.restarts,
        resident_bytes=health.resident_bytes,
        peak_bytes=health.peak_bytes,
        start_seconds=health.start_seconds,
        command=() if launch is None else launch.command,
        url="" if launch is None else launch.url,
        scratch=None if launch is None or launch.scratch is None else str(launch.scratch),
        sockets=None if listener is None else listener.sockets,
    )


class FollowedProcess:
    """Has what `LaunchedEngine` asks of a supervisor, for a process that is supervised elsewhere.

    Args:
        name: the deployment's.
        restart: asks the supervisor to restart the process at a URL, for a reason.
    """

    def __init__(self, name: str, restart: Callable[[str, str], None]) -> None:
        self.name, self._restart = name, restart
        self._standing = Standing(state="starting", reason="its supervisor has not said yet")
        self._changed = asyncio.Event()
        self.launch: Launch | None = None
        self.when_ready: Callable[[str], None] = lambda _: None
        self._when_launched: Callable[[Launch], None] = lambda _: None

    @property
    def state(self) -> State:
        return self._standing.state

    @property
    def listener(self) -> Listener | None:
        sockets = self._standing.sockets
        return None if sockets is None else Listener(sockets)

    def on_launch(self, call: Callable[[Launch], None]) -> None:
        """Call a function with the present launch, if there is one, and with each new one."""
        self._when_launched = call
        if self.launch is not None:
            call(self.launch)

    def told(self, standing: Standing) -> None:
        """The supervisor says how the process is."""
        before, self._standing = self._standing, standing
        if standing.url and (self.launch is None or self.launch.url != standing.url):
            scratch = None if standing.scratch is None else Path(standing.scratch)
            self.launch = Launch(command=standing.command, url=standing.url, scratch=scratch)
            self._when_launched(self.launch)
        if standing.state == "ready" and (before.state != "ready" or before.url != standing.url):
            self.when_ready(standing.url)
        self._changed.set()
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Wait until the process is ready. Raises as `Supervisor.start`."""
        await self.ready()

    async def ready(self) -> str:
        """As `Supervisor.ready`."""
        while self.state in ("starting", "restarting", "silent") or (self.state == "ready" and not self._is_held()):
            await self._changed.wait()
        if self.state != "ready" or self.launch is None:
            raise Broken(self._standing.reason or f"engine {self.name!r} is stopped", engine=self.name)
        return self.launch.url

    def serves(self, url: str) -> bool:
        """As `Supervisor.serves`."""
        return self.launch is not None and self.launch.url == url and self._is_held()

    def _is_held(self) -> bool:
        listener = self.listener
        return listener is not None and listener.is_held

    def restart(self, reason: str) -> None:
        """As `Supervisor.restart`; the supervisor does it once, whoever asks."""
        if self.state == "ready" and self.launch is not None:
            self._restart(self.launch.url, reason)
            self._standing = msgspec.structs.replace(self._standing, state="restarting", reason=reason)

    async def stop(self) -> None:
        """Nothing to stop here."""

    def log_tail(self) -> tuple[str, ...]:
        return self._standing.log_tail

    def health(self) -> Health:
        standing = self._standing
        return Health(
            state=standing.state,
            reason=standing.reason,
            last_lines=standing.last_lines,
            restarts=standing.restarts,
            resident_bytes=standing.resident_bytes,
            peak_bytes=standing.peak_bytes,
            start_seconds=standing.start_seconds,
            command=shlex.join(standing.command),
        )
