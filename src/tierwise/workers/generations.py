"""The versions of the config file that workers serve, and the engines that these need: the supervisor's side."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.engines.process.followed import Standing, standing_of
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.gateway.exchanging import only, said_stopped, stop_unneeded
from tierwise.gateway.preparing import Live, or_stopped, prepare, said
from tierwise.service import assemble, new_engines, start_all
from tierwise.spec.errors import ConfigErrors, SpecError, Stopping
from tierwise.workers.refusals import refusals
from tierwise.workers.snapshot import Run, Snapshot

if TYPE_CHECKING:
    from tierwise.engines.engine import Engine
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.tls import Tls
    from tierwise.plan import Plan
    from tierwise.service import Service
    from tierwise.workers.hub import Hub
    from tierwise.workers.shared_occupancy import SharedRoom

_LOG = logging.getLogger("tierwise")

PREPARE_SECONDS = 60.0
"""How long workers may take to make a version ready once its engines are; they load nothing."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Held:
    """A version that workers hold: it answers, or has requests that began with it."""

    live: Live
    packed: bytes
    workers: set[int] = field(default_factory=set)


class Generations:
    """Used on the supervisor's event loop, except for making it.

    Args:
        plan: the first plan.
        first: its service, which has the engines, and answers nothing.
        tls: the certificates that are served.
        settings: what `tierwise serve` was told.
        count: how many workers there are.
        room: the occupancies that workers share.
    """

    def __init__(
        self, plan: Plan, first: Service, tls: Tls | None, settings: ServerSettings, *, count: int, room: SharedRoom
    ) -> None:
        self._settings, self._count, self._room = settings, count, room
        self.tls = tls
        self._numbers = itertools.count()
        self._runs: dict[int, tuple[Engine, Run]] = {}
        """By the identity of the engine."""
        self._standings: dict[int, Standing] = {}
        """By the number of the run, as workers were told."""
        self._facts: dict[int, tuple[object, ...]] = {}
        self._version = 0
        self._held = {0: self._hold(0, Live(plan, first), tls)}
        self.has_started = asyncio.Event()
        self._turn = asyncio.Lock()
        self._is_closing = False

    @property
    def _now(self) -> _Held:
        return self._held[self._version]

    @property
    def _live(self) -> list[Live]:
        """All plans that run, the present one last."""
        return [one.live for one in self._held.values()]

    async def start(self) -> None:
        """Start the engines of the first plan. Raises as `start_all`."""
        await start_all(one.engine for one in self._now.live.service.deployments.values())
        self.has_started.set()

    def begin(self, worker: int) -> list[tuple[str, Any]]:
        """A worker is forked: it holds the present version. Returns what it is to be told."""
        self._now.workers.add(worker)
        return [("engines", [msgspec.to_builtins(self._standings), []]), ("begin", self._now.packed)]

    def ended(self, worker: int) -> None:
        """A worker has ended, and holds nothing any more."""
        for one in self._held.values():
            one.workers.discard(worker)

    def left(self, worker: int, version: int) -> None:
        """The last request of a version has ended in a worker."""
        if version in self._held:
            self._held[version].workers.discard(worker)

    def changed(self, version: int, deployment: str, what: str) -> None:
        """A worker found that an engine is another than it was: that voids certificates also after a reload."""
        if version in self._held:
            self._held[version].live.service.deployments[deployment].changes.append(what)

    def restart(self, run: int, url: str, reason: str) -> None:
        """A worker says that a process which answers its health checks fails all passes."""
        for engine, one in self._runs.values():
            if one.number == run and isinstance(engine, LaunchedEngine):
                launch = engine.supervisor.launch
                if launch is not None and launch.url == url:
                    engine.supervisor.restart(reason)

    def changes(self, *, all_of_them: bool) -> dict[int, Standing]:
        """The standings of engines' processes that are not as workers were told; all, also for their memory."""
        changed = {}
        for engine, run in self._runs.values():
            if isinstance(engine, LaunchedEngine):
                it = engine.supervisor
                if it.state == "stopped" and it.launch is None:
                    continue  # it is about to be started, which workers wait for
                facts = (it.state, it.reason, it.restarts, it.launch, it.listener)
                if all_of_them or self._facts.get(run.number) != facts:
                    self._facts[run.number] = facts
                    changed[run.number] = standing_of(it)
        self._standings.update(changed)
        return changed

    async def reload(self, hub: Hub) -> list[str]:
        """Read the config file again; all workers serve it, or none does. As `gateway.reload.Reloads.reload`."""
        async with self._turn:
            before = self._now.live
            prepared = await asyncio.to_thread(prepare, self._settings, self._live)
            if self._is_closing:
                raise Stopping("the endpoint stops; nothing was reloaded")
            plan, new = prepared.plan, new_engines(prepared.plan, prepared.kept)
            async with or_stopped(new):
                service = assemble(plan, new, None, prepared.certification, kept=prepared.kept)
                if found := list(refusals(plan, service.deployments, self._count)):
                    raise ConfigErrors(found)
                await start_all(new.values())
                service.certify()
                now = Live(plan, service)
                await self._exchange(hub, now, prepared.tls)
            await hub.committed()
        return said(before, now, prepared.tls, sorted(new))

    async def _exchange(self, hub: Hub, now: Live, tls: Tls | None) -> None:
        """Have all workers make a version ready; then, in one step, all serve it."""
        version = self._version + 1
        known = set(self._runs)
        try:
            held = self._hold(version, now, tls)
            hub.tell("engines", [msgspec.to_builtins(self.changes(all_of_them=False)), []])
            _LOG.info("reload: the config is checked and its engines are ready; workers make it ready")
            found = await hub.prepare(version, held.packed, seconds=PREPARE_SECONDS)
        except BaseException:
            self._forget(hub, set(self._runs) - known)
            raise
        void = now.service.router.certified.void_ones()
        void += [tuple(one) for one in found if tuple(one) not in void]
        self._held[version], self._version = held, version
        held.workers.update(hub.numbers)
        hub.commit(version, void)
        if tls is not None:
            self.tls = tls

    def _hold(self, version: int, live: Live, tls: Tls | None) -> _Held:
        runs = {name: self._run(one.engine, name) for name, one in live.service.deployments.items()}
        certificates = live.service.certificates
        snapshot = Snapshot(number=version, plan=live.plan, certificates=certificates, runs=runs, tls=tls)
        return _Held(live=live, packed=snapshot.packed())

    def _run(self, engine: Engine, name: str) -> Run:
        if id(engine) not in self._runs:
            if (place := self._room.take()) is None:
                raise SpecError(
                    f"there is no room for deployment {name!r} beside those that still have requests; reload again "
                    "when these have ended, or restart the endpoint",
                    field=f"deployments.{name}",
                )
            self._runs[id(engine)] = engine, Run(next(self._numbers), place)
        return self._runs[id(engine)][1]

    def _forget(self, hub: Hub, engines: set[int]) -> None:
        """Engines are gone."""
        gone = [self._runs.pop(one)[1] for one in engines]
        for run in gone:
            self._room.give_back(run.place)
            self._standings.pop(run.number, None)
            self._facts.pop(run.number, None)
        if gone:
            hub.tell("engines", [{}, [run.number for run in gone]])

    @property
    def has_left(self) -> bool:
        """Whether there are versions that no worker holds any more, and no reload that may take engines over."""
        return bool(self._unheld) and not self._turn.locked()

    @property
    def _unheld(self) -> list[int]:
        return [number for number, one in self._held.items() if not one.workers and number != self._version]

    async def retire(self, hub: Hub) -> None:
        """Stop the engines of versions that no worker holds any more."""
        async with self._turn:
            for number in self._unheld:
                live = self._held[number].live
                gone = only(live, self._live)
                del self._held[number]
                said_stopped(gone)
                await stop_unneeded(gone)
                self._forget(hub, {id(one.engine) for one in gone})

    def refuse(self) -> None:
        """The endpoint stops: from now on nothing is reloaded."""
        self._is_closing = True

    async def close(self) -> None:
        """Stop all engines."""
        engines = [engine for engine, _ in self._runs.values()]
        await asyncio.gather(*(engine.stop() for engine in engines), return_exceptions=True)
