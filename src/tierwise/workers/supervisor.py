"""`tierwise serve --workers N`: N processes accept connections of one port; this one runs the engines and no request.

    supervisor ─┬─ engines
                └─ nursery ─┬─ worker 0 ── socket ─┐
                            └─ worker 1 ── socket ─┴─ one port

Each worker has a socket of its own on the port (SO_REUSEPORT), so that the kernel divides the connections evenly. The
supervisor keeps all of them open: connections of a worker that died wait for the one that replaces it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from tierwise.certificate import certificates_of
from tierwise.gateway.added_metrics import Family, families_of
from tierwise.gateway.control import controlled
from tierwise.gateway.logs import log_to_stderr
from tierwise.gateway.metrics import Metrics
from tierwise.gateway.reload import Reloads, reloading
from tierwise.gateway.reload_metrics import ReloadMetrics
from tierwise.gateway.server import bound, loaded, need_grpc, open_ledger
from tierwise.gateway.siblings import Ending, announce
from tierwise.service import Certification, assemble, build
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, ConfigErrors, LedgerError, TierwiseError
from tierwise.workers.following import Place
from tierwise.workers.generations import Generations
from tierwise.workers.hub import Hub
from tierwise.workers.nursery import Nursery
from tierwise.workers.refusals import refusals
from tierwise.workers.shared_occupancy import SharedRoom
from tierwise.workers.worker import work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.tls import Tls
    from tierwise.plan import Plan
    from tierwise.service import Service

_LOG = logging.getLogger("tierwise")

_PLACES = 1024
"""For deployments that reloads add, while others still have requests."""
_LOOK_SECONDS = 0.05
"""Pause between two looks at the engines, whose changes are told to the workers."""
_MEMORY_EVERY = 20
"""After so many looks, memory and logs are told too."""
_MOST_FAILED_STARTS = 3
"""Consecutive workers that may end before they accept connections; after one more nothing is served any more."""
_GOODBYE_SECONDS = 6.0
"""How long workers that shall stop at once may take."""


def serve_workers(
    plan: Plan, settings: ServerSettings, *, workers: int, ledger: str | Path, content: bool = False
) -> None:
    """Serve a plan by several processes until a signal. Raises as `serve_forever`.

    Args:
        plan: the config file.
        settings: how it is served.
        workers: number of processes that accept connections.
        ledger: the ledger of all of them.
        content: whether it stores requests and answers.
    """
    log_to_stderr()
    if settings.grpc_port is not None:
        need_grpc()  # before the workers are forked, so that they share its memory
    tls = loaded(settings.tls)
    certification = Certification(plan=plan, certificates=certificates_of(plan), uncertified=settings.uncertified)
    certification.differences()
    service = assemble(plan, build(plan), None, certification)
    if found := list(refusals(plan, service.deployments, workers)):
        raise ConfigErrors(found)
    listeners = _listeners(settings.host, settings.port, workers)
    reserved = None if settings.grpc_port is None else _reserved(settings.host, settings.grpc_port)
    if reserved is not None:
        settings = replace(settings, grpc_port=reserved.getsockname()[1])
    with open_ledger(ledger, plan, Metrics({})):
        pass  # created or upgraded before all workers open it, and its errors are reported once
    room = SharedRoom(_PLACES + len(plan.processes), workers)

    def become(number: int, channel: socket.socket) -> None:
        for other, listener in enumerate(listeners):
            if other != number:
                listener.close()
        place = Place(number=number, count=workers, listener=listeners[number], room=room)
        work(place, channel, settings, ledger, content=content)

    nursery = Nursery(become)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(plan, service, settings, tls, nursery, listeners, room))
    finally:
        nursery.close()
        room.close()
        if reserved is not None:
            reserved.close()
        with open_ledger(ledger, plan, Metrics({})):
            pass  # stores the journals of workers that were killed
    _LOG.info("stopped")


async def _run(
    plan: Plan,
    service: Service,
    settings: ServerSettings,
    tls: Tls | None,
    nursery: Nursery,
    listeners: list[socket.socket],
    room: SharedRoom,
) -> None:
    generations = Generations(plan, service, tls, settings, count=len(listeners), room=room)
    registry = CollectorRegistry()
    supervisor = _Supervisor(nursery, listeners, generations, room, lambda: families_of(registry))
    reloads = Reloads(supervisor.reload, ReloadMetrics(registry, tls), lambda: generations.tls, generations.has_started)
    async with controlled(plan.path, reloads.reload):
        await supervisor.run("http" if tls is None else "https", reloads)


def _listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """A listening socket for each worker, on one port that nobody else has.

    Raises:
        SpecError: the port is in use, also by sockets that share it.
    """
    with bound(host, port) as alone:
        port = alone.getsockname()[1]
    return [bound(host, port, shared=True) for _ in range(count)]


def _reserved(host: str, port: int) -> socket.socket:
    """A port for the gRPC servers of all workers, which open their sockets themselves. It does not listen.

    Raises:
        SpecError: the port is in use.
    """
    with bound(host, port) as alone:
        address = alone.getsockname()
        holder = socket.socket(alone.family, alone.type)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(address)
    return holder


class _Supervisor:
    """Workers, engines and signals.

    Args:
        nursery: forks the workers.
        listeners: one for each worker.
        generations: the engines, and what workers serve.
        room: the occupancies that the workers share.
        own: the metrics of this process.
    """

    def __init__(
        self,
        nursery: Nursery,
        listeners: list[socket.socket],
        generations: Generations,
        room: SharedRoom,
        own: Callable[[], list[Family]] = list,
    ) -> None:
        self._nursery, self._listeners, self._generations, self._room = nursery, listeners, generations, room
        self._hub = Hub(generations.restart, generations.left, generations.changed, own)
        self._pids: dict[int, int] = {}
        """Processes of the workers that run, by number."""
        self._failed_starts = 0
        self._failure: TierwiseError | None = None
        self._is_ending = False
        self._over, self._all_ended = asyncio.Event(), asyncio.Event()
        """Nothing shall be served any more; no worker runs."""
        self._background: set[asyncio.Task[Any]] = set()

    async def reload(self) -> list[str]:
        """As `Reloads.reload`."""
        return await self._generations.reload(self._hub)

    async def run(self, scheme: str, reloads: Reloads) -> None:
        """Serve until a signal.

        Args:
            scheme: of the URL that is announced.
            reloads: what SIGHUP asks for.

        Raises:
            Broken: an engine did not start.
            TierwiseError: workers end as soon as they start.
        """
        loop, ending = asyncio.get_running_loop(), Ending()
        ending.hear_signals()
        loop.add_reader(self._nursery.control, self._read_reports)
        for number in range(len(self._listeners)):
            self._fork(number)
        looking = asyncio.create_task(self._look())
        starting = asyncio.create_task(self._start_engines())
        stopping = asyncio.create_task(ending.first.wait())
        over = asyncio.create_task(self._over.wait())
        serving = asyncio.create_task(self._hub.all_listen(len(self._listeners)))
        serving.add_done_callback(lambda task: None if task.cancelled() else self._announce(scheme))
        try:
            async with reloading(reloads):
                await asyncio.wait((starting, stopping, over), return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    starting.result()
                await asyncio.wait((stopping, over), return_when=asyncio.FIRST_COMPLETED)
                self._generations.refuse()
        finally:
            await self._end(ending)
            for task in (looking, starting, stopping, over, serving, *self._background):
                task.cancel()
            await self._generations.close()
            loop.remove_reader(self._nursery.control)
        if self._failure is not None:
            raise self._failure

    def _announce(self, scheme: str) -> None:
        if not self._is_ending:
            announce(scheme, *self._listeners[0].getsockname()[:2])

    async def _start_engines(self) -> None:
        await self._generations.start()
        _LOG.info("%d workers; the engines are ready", len(self._listeners))

    async def _end(self, ending: Ending) -> None:
        """Drain; stop at once at a second signal, or if nothing works any more."""
        self._is_ending = True
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # for every process that has it open
            listener.close()
        if not self._pids:
            return
        _LOG.info("draining: running requests are finished; a second signal stops at once")
        self._hub.tell("drain")
        ended = asyncio.create_task(self._all_ended.wait())
        second = asyncio.create_task(ending.second.wait())
        if self._over.is_set():
            second.cancel()
        await asyncio.wait((ended, second), return_when=asyncio.FIRST_COMPLETED)
        second.cancel()
        if not ended.done():
            self._hub.tell("stop")
            await asyncio.wait((ended,), timeout=_GOODBYE_SECONDS)
        if not ended.done():
            for number, pid in self._pids.items():
                _LOG.error("worker %d does not stop and is killed; its journal is stored", number)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await ended

    def _fork(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._nursery.fork(number, theirs)
        self._keep(asyncio.create_task(self._hub.channel(number, self._generations.begin(number)).run(ours)))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _read_reports(self) -> None:
        reports = self._nursery.reports()
        if reports is None:
            asyncio.get_running_loop().remove_reader(self._nursery.control)
            self._give_up(LedgerError("the process that starts the workers is gone; nothing is served any more"))
            self._pids.clear()
            self._all_ended.set()
            return
        for number, pid, code in reports:
            if code is None:
                self._pids[number] = pid
                _LOG.info("worker %d is process %d", number, pid)
            else:
                self._ended(number, pid, code)

    def _ended(self, number: int, pid: int, code: int) -> None:
        self._pids.pop(number, None)
        self._failed_starts = 0 if self._hub.listens(number) else self._failed_starts + 1
        self._hub.ended(number)
        self._generations.ended(number)
        self._room.clear(number, now())
        if self._is_ending:
            if code and self._failure is None:
                self._failure = LedgerError(f"worker {number} (process {pid}) ended with {_how(code)}, as the log says")
            if not self._pids:
                self._all_ended.set()
            return
        if self._failed_starts > _MOST_FAILED_STARTS:
            self._give_up(Broken(f"workers end as soon as they start, the last with {_how(code)}; the log says why"))
            return
        _LOG.error("worker %d (process %d) ended with %s and is replaced", number, pid, _how(code))
        self._fork(number)

    def _give_up(self, error: TierwiseError) -> None:
        self._failure = self._failure or error
        self._over.set()

    async def _look(self) -> None:
        """Tell the workers what changes about the engines' processes; what changes all the time, now and then. Engines
        that no worker needs any more are stopped.
        """
        for turn in itertools.count():
            if changed := self._generations.changes(all_of_them=turn % _MEMORY_EVERY == 0):
                self._hub.tell("engines", [msgspec.to_builtins(changed), []])
            if self._generations.has_left:
                self._keep(asyncio.create_task(self._generations.retire(self._hub)))
            await asyncio.sleep(_LOOK_SECONDS)


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
