"""What a worker serves: it follows the supervisor from one version of the config file to the next."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.engines.part import Part
from tierwise.engines.process.followed import FollowedProcess, Standing
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.gateway.preparing import Live, or_stopped, sessions_of
from tierwise.service import Certification, Kept, assemble, new_engines, start_all
from tierwise.spec.errors import TierwiseError
from tierwise.workers.shared_occupancy import SharedOccupancy
from tierwise.workers.snapshot import Snapshot, unpacked

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment, Engine
    from tierwise.engines.occupancy import Occupancy
    from tierwise.gateway.exchanging import Exchanger
    from tierwise.plan import Plan
    from tierwise.service import Service
    from tierwise.shadowing import Shadows
    from tierwise.workers.observing import Observing
    from tierwise.workers.shared_occupancy import SharedRoom

_LOG = logging.getLogger("tierwise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of the workers one is."""

    number: int
    """From 0."""
    count: int
    """How many workers there are."""
    listener: socket.socket
    """Where it accepts connections."""
    room: SharedRoom
    """The occupancies that all share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A version that is ready, and not served yet."""

    snapshot: Snapshot
    live: Live
    new: dict[str, Engine]
    stopped: Shadows | None
    """What goes on observing if it is not served."""


class Following:
    """Used on the worker's event loop.

    Args:
        place: which of the workers this is.
        observing: what observes its routes.
        restart: asks the supervisor to restart an engine's process: its number, URL and the reason.
        left: says that the last request of a version has ended.
    """

    def __init__(
        self,
        place: Place,
        observing: Observing,
        restart: Callable[[int, str, str], None],
        left: Callable[[int], None],
    ) -> None:
        self._observing = observing
        self._place, self._restart, self._left = place, restart, left
        self.has_begun = asyncio.Event()
        self.first: Snapshot
        """What is served at first, once `has_begun`."""
        self.services: dict[int, Service] = {}
        """By version: of the present one, and of those that still have requests."""
        self._now = -1
        """The version that is served, or is about to be."""
        self._processes: dict[int, FollowedProcess] = {}
        """By the numbers of their runs."""
        self._lives: dict[int, Live] = {}
        self._snapshots: dict[int, Snapshot] = {}
        """By version, as the services."""
        self._exchanger: asyncio.Future[Exchanger] = asyncio.get_running_loop().create_future()
        self._preparing: asyncio.Task[Any] | None = None
        self._pending: _Pending | None = None

    @property
    def service(self) -> Service:
        """What answers now."""
        return self.services[self._now]

    def told(self, told: Any) -> None:
        """The supervisor says how engines' processes are, and which are gone."""
        standings, gone = told
        for run, standing in msgspec.convert(standings, dict[int, Standing]).items():
            self._process(run).told(standing)
        for run in gone:
            self._processes.pop(run, None)

    def _process(self, run: int, name: str = "") -> FollowedProcess:
        if run not in self._processes:
            self._processes[run] = FollowedProcess(name, partial(self._restart, run))
        self._processes[run].name = name or self._processes[run].name
        return self._processes[run]

    def begin(self, packed: bytes) -> None:
        """The supervisor says what is served at first."""
        self.first = unpacked(packed)
        self._now = self.first.number
        self._snapshots[self._now] = self.first
        self.has_begun.set()

    def engines(self, plan: Plan) -> dict[str, Engine]:
        """The engines of the first plan."""
        return self._follow(self.first, new_engines(plan, Kept()))

    def _follow(self, snapshot: Snapshot, made: dict[str, Engine]) -> dict[str, Engine]:
        """Have engines send passes to the processes that the supervisor runs."""
        for name, engine in made.items():
            if isinstance(engine, LaunchedEngine):
                process = self._process(snapshot.runs[name].number, name)
                engine.follow(process, Part(self._place.number, self._place.count))
        return made

    def occupancies(self, snapshot: Snapshot) -> dict[str, Occupancy]:
        """Of the deployments of a version, shared by all workers."""
        room, number = self._place.room, self._place.number
        return {name: room.occupancy(run.place, number) for name, run in snapshot.runs.items()}

    def serve(self, service: Service) -> int:
        """A service is about to answer. Returns its version."""
        self.services[self._now] = service
        for deployment in service.deployments.values():
            if isinstance(deployment.occupancy, SharedOccupancy):
                deployment.occupancy.is_divided = isinstance(deployment.engine, LaunchedEngine)
        return self._now

    def exchange_with(self, exchanger: Exchanger) -> None:
        """Reload with this from now on."""
        self._lives[self._now] = exchanger.live[-1]
        exchanger.when_left = self._has_left
        self._exchanger.set_result(exchanger)

    def _has_left(self, live: Live) -> None:
        for version in [version for version, one in self._lives.items() if one is live]:
            for kept in (self._lives, self.services, self._snapshots):
                kept.pop(version, None)
            self._left(version)

    async def prepare(self, packed: bytes) -> Any:
        """Make a version ready. Returns the certificates that do not hold; or, as text, why it cannot be served."""
        self._preparing = asyncio.current_task()
        try:
            exchanger = await self._exchanger
            await exchanger.has_started.wait()
            snapshot = unpacked(packed)
            await exchanger.turn.acquire()
            try:
                self._pending = await self._made(snapshot, exchanger)
            except BaseException:
                exchanger.turn.release()
                raise
        except TierwiseError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the reload fails, and this worker serves on
            _LOG.exception("worker %d: a reload failed", self._place.number)
            return repr(error)
        finally:
            if self._preparing is asyncio.current_task():
                self._preparing = None
        return self._pending.live.service.router.certified.void_ones()

    async def _made(self, snapshot: Snapshot, exchanger: Exchanger) -> _Pending:
        before, plan = exchanger.live[-1], snapshot.plan
        known = self._known()
        kept = {
            name: found if (found := known[run.number]).name == name else replace(found, name=name)
            for name, run in snapshot.runs.items()
            if run.number in known
        }
        carried = Kept(deployments=kept, sessions=sessions_of(before, plan))
        uncertified = exchanger.settings.uncertified
        certification = Certification(plan=plan, certificates=snapshot.certificates, uncertified=uncertified)
        certification.differences()
        new = self._follow(snapshot, new_engines(plan, carried))
        async with or_stopped(new):
            await start_all(new.values())
            service = assemble(
                plan,
                new,
                before.service.ledger,
                certification,
                desk=before.service.desk,
                occupancies=self.occupancies(snapshot),
                kept=carried,
            )
            service.certify()
            stopped = None
            if exchanger.settings.shadow:
                service, stopped = await self._observing.made_ready(before.service, plan, service)
        return _Pending(snapshot=snapshot, live=Live(plan, service), new=new, stopped=stopped)

    def _known(self) -> dict[int, Deployment]:
        """The deployments of all versions, by the numbers of their runs."""
        return {
            self._snapshots[version].runs[name].number: one
            for version, service in self.services.items()
            for name, one in service.deployments.items()
        }

    async def abort(self, version: int) -> None:
        """Let go of a version that is not served after all."""
        if self._preparing is not None:
            self._preparing.cancel()
        if (pending := self._pending) is not None and pending.snapshot.number == version:
            self._pending = None
            exchanger = await self._exchanger
            if pending.stopped is not None and not exchanger.is_closing:
                pending.stopped.resume()
            await asyncio.gather(*(engine.stop() for engine in pending.new.values()), return_exceptions=True)
            exchanger.turn.release()

    def commit(self, told: Any) -> None:
        """Serve the version that is ready."""
        version, void = told
        pending, self._pending = self._pending, None
        try:
            assert pending is not None and pending.snapshot.number == version  # noqa: S101, PT018 - the supervisor asked
            certified = pending.live.service.router.certified
            for route, reason in void:
                certified.void(route, reason)
            self._now, self._snapshots[version], self._lives[version] = version, pending.snapshot, pending.live
            exchanger = self._exchanger.result()
            self._observing.adopt(exchanger.service, pending.live.plan, pending.live.service)
            exchanger.exchange(pending.live, pending.snapshot.tls)
            exchanger.turn.release()
        except BaseException:  # noqa: BLE001 - whatever it is
            _LOG.exception("worker %d cannot serve what the others do, and ends", self._place.number)
            os.kill(os.getpid(), signal.SIGKILL)  # the one that replaces it serves the new version
