"""Reloads the config file while requests run.

A new plan becomes a new service, which shares the engines that both need. It is complete, with its engines ready and
its certificates compared, before anything changes for requests; whatever fails until then leaves the service before
serving. Then one step without a wait exchanges the two. Requests that began with the old one end with it, and an engine
that nothing needs any more is stopped after them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tierwise import plan as planning
from tierwise.catalog.weights import weights_of
from tierwise.certificate import certificates_of
from tierwise.engines.engine import Deployment
from tierwise.engines.process.memory_usage import available_memory
from tierwise.gateway.app import application
from tierwise.gateway.reload_metrics import ReloadMetrics
from tierwise.service import (
    Certification,
    Kept,
    Service,
    assemble,
    launch_context,
    preflight,
    shadowed_routes,
    shadows_of,
    start_all,
)
from tierwise.spec.errors import ConfigErrors, SpecError, Stopping, TierwiseError

if TYPE_CHECKING:
    from tierwise.engines.engine import Engine
    from tierwise.gateway.generations import Front, Generation
    from tierwise.gateway.grpc.server import GrpcServer
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.tls import Tls
    from tierwise.plan import Plan, PlannedProcess
    from tierwise.run.sessions import SessionMemory

FIXED = "host, ports, keys of the environment, the ledger's address and all other options change with a restart only"
"""What a reload cannot change: `tierwise serve` was told on its command line."""
LOADED_SHARE = 1.1
"""Memory of an engine that never ran, as a multiple of its weights, besides `LOADED_BYTES`."""
LOADED_BYTES = 256 * 2**20

_LOOK_SECONDS = 0.2
_GIB = 2**30
T = TypeVar("T")
_LOG = logging.getLogger("tierwise")


class HasTls(Protocol):
    """A server that may have TLS."""

    tls: Tls | None

    def use(self, tls: Tls) -> None:
        """Use these certificates for new connections."""


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A plan that answers, or has requests that began with it."""

    plan: Plan
    service: Service


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A new plan after all checks that start nothing."""

    plan: Plan
    certification: Certification
    kept: Kept
    tls: Tls | None


class Reloader:
    """Exchanges the service of a running endpoint. Used on its event loop.

    Args:
        first: what answers until the first reload.
        front: over HTTP.
        server: the server of `front`.
        beside: over gRPC; None if that is not served.
        settings: what `tierwise serve` was told.
        metrics: of the endpoint.
    """

    def __init__(
        self,
        first: Live,
        front: Front,
        server: HasTls,
        beside: GrpcServer | None,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self.front, self._server, self._beside = front, server, beside
        self._settings, self._metrics = settings, metrics
        self._counts = ReloadMetrics(metrics.registry, server.tls)
        self._live = [first]
        """The last one answers; the others have requests that began with them."""
        self.has_started = asyncio.Event()
        """Set when the engines of the first plan are ready."""
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closing = False

    @property
    def service(self) -> Service:
        """What answers now."""
        return self._live[-1].service

    def request(self) -> None:
        """Reload in the background; the log and the metrics say what became of it."""
        self._spawn(self._in_turn()).add_done_callback(_heard)

    async def reload(self) -> list[str]:
        """Read the config file and the certificates of TLS again. Reloads have their turns.

        Returns:
            What is different, in sentences.

        Raises:
            TierwiseError: it failed, and nothing changed.
        """
        return await asyncio.shield(self._spawn(self._in_turn()))  # also if who asked leaves

    async def _in_turn(self) -> list[str]:
        async with self._turn:
            try:
                await self.has_started.wait()
                said = await self._reload()
            except TierwiseError as error:
                self._failed(str(error))
                raise
            except Exception as error:
                self._failed(repr(error))
                _LOG.error("RELOAD: internal error", exc_info=error)
                raise TierwiseError(f"internal error in Tierwise: {error!r}; see its log") from error
            except asyncio.CancelledError:
                self._failed("the endpoint stops")
                raise
        self._counts.ended("applied", self._server.tls)
        for line in said:
            _LOG.info("reload: %s", line)
        return said

    def _failed(self, why: str) -> None:
        self._counts.ended("failed")
        _LOG.error("RELOAD: failed, and the config before is served on: %s", why)

    async def _reload(self) -> list[str]:
        before = self._live[-1]
        prepared = await asyncio.to_thread(self._prepare, before.plan, list(self._live))
        plan, kept = prepared.plan, prepared.kept
        if self._is_closing:
            raise Stopping("the endpoint stops; nothing was reloaded")
        new: dict[str, Engine] = {}
        try:
            for process in plan.processes:
                if process.name not in kept.deployments:
                    new[process.name] = process.row.build(process.settings, process.name, launch_context(plan, process))
            await start_all(new.values())
            service = assemble(
                plan, new, before.service.ledger, prepared.certification, desk=before.service.desk, kept=kept
            )
            service.certify()
            service = await self._observed(before.service, service, prepared)
        except BaseException:
            await asyncio.gather(*(engine.stop() for engine in new.values()), return_exceptions=True)
            raise
        return self._exchange(before, Live(plan, service), prepared.tls, sorted(new))

    def _prepare(self, before: Plan, live: Sequence[Live]) -> _Prepared:
        """Read and check all that can be checked without starting anything. Runs in a thread."""
        tls = None if self._settings.tls is None else self._settings.tls.load()
        if tls is not None and (problem := tls.problem()):
            raise SpecError(problem, field="--tls-cert")
        plan = planning.load(before.path)
        certification = Certification(
            plan=plan, certificates=certificates_of(plan), uncertified=self._settings.uncertified
        )
        certification.differences()
        runs = ((process.name, _running(process, plan, live)) for process in plan.processes)
        shared = {name: one for name, one in runs if one is not None}
        if found := preflight(plan, runs=shared):
            raise ConfigErrors(found)
        _require_room([process for process in plan.processes if process.name not in shared], plan, live)
        kept = Kept(deployments=shared, sessions=_sessions(live[-1], plan))
        return _Prepared(plan=plan, certification=certification, kept=kept, tls=tls)

    async def _observed(self, before: Service, service: Service, prepared: _Prepared) -> Service:
        """The service with what observes its routes: the same as before if their certificates are."""
        plan, certificates = prepared.plan, prepared.certification.certificates
        routes = shadowed_routes(plan, certificates) if self._settings.shadow else {}
        if before.shadows is not None:
            if before.shadows.adopt(routes, service.router, service.prices):
                return replace(service, shadows=before.shadows)
            await before.shadows.stop()  # which stores the evidence, by certificate
        if not routes:
            return service
        return replace(service, shadows=shadows_of(plan, certificates, service.router, service.ledger))

    def _exchange(self, before: Live, now: Live, tls: Tls | None, started: Sequence[str]) -> list[str]:
        """Let the new service answer. Nothing in here waits or fails."""
        service, app = now.service, self.front.now.answering
        service.listen()
        app.store.limit(service.stored)
        self._metrics.watch(service.deployments, service.router.certified, service.shadows)
        access, first_bytes = self._settings.access, self._settings.first_bytes
        new = application(service, self._metrics, access=access, first_bytes=first_bytes, before=app)
        left: list[Generation[Any]] = [self.front.use(new)]
        if self._beside is not None:
            left.append(self._beside.use(service, tls))
        if tls is not None:
            self._server.use(tls)
        self._live.append(now)
        self._spawn(self._retire(before, left))
        return _said(before, now, tls, started)

    async def _retire(self, old: Live, left: Sequence[Generation[Any]]) -> None:
        """Stop what only an old plan needs, after its last request."""
        for generation in left:
            await generation.left()
        while any(each.occupancy.running for each in self._only(old)):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_LOOK_SECONDS)  # a shadow may run there
        async with self._turn:  # a reload may take its engines over
            gone = self._only(old)
            self._live.remove(old)
            for deployment in gone:
                _LOG.info("engine %s is stopped: no request needs it any more", deployment.name)
            stops = await asyncio.gather(*(one.engine.stop() for one in gone), return_exceptions=True)
        for failure in filter(None, stops):
            _LOG.error("an engine that is needed no more could not be stopped: %r", failure)

    def _only(self, old: Live) -> list[Deployment]:
        """The deployments whose engines no other plan has."""
        others = {id(one.engine) for live in self._live if live is not old for one in live.service.deployments.values()}
        return [one for one in old.service.deployments.values() if id(one.engine) not in others]

    def _spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def refuse(self) -> None:
        """The endpoint stops: from now on nothing is reloaded."""
        self._is_closing = True

    async def close(self) -> None:
        """End what runs, and stop the engines of all plans."""
        self.refuse()
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.service.shadows is not None:
            await self.service.shadows.stop()
        engines = {id(one.engine): one.engine for live in self._live for one in live.service.deployments.values()}
        await asyncio.gather(*(engine.stop() for engine in engines.values()))


@asynccontextmanager
async def reloading(reloader: Reloader) -> AsyncGenerator[None]:
    """Reload on SIGHUP during the block; at its end stop all engines.

    The kernel sends SIGHUP too when the terminal that the endpoint was started in is closed; then it drains.
    """
    loop, had_terminal = asyncio.get_running_loop(), os.isatty(0)

    def hear() -> None:
        if had_terminal and not os.isatty(0):
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            reloader.request()

    loop.add_signal_handler(signal.SIGHUP, hear)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        await reloader.close()


def _heard(task: asyncio.Task[list[str]]) -> None:
    """A reload that nobody waits for; it was logged."""
    if not task.cancelled():
        task.exception()


def _running(process: PlannedProcess, plan: Plan, live: Sequence[Live]) -> Deployment | None:
    """What runs already as a process of a new plan is to run: with the same settings, files and weights."""
    context = launch_context(plan, process)
    loads = process.settings.loads
    weights = None if loads is None else weights_of(plan.checkpoint(loads))
    for each in reversed(live):
        for other in each.plan.processes:
            if other.settings != process.settings or launch_context(each.plan, other) != context:
                continue
            found = each.service.deployments[other.name]
            if found.weights == weights:
                return found if found.name == process.name else replace(found, name=process.name)
    return None


def _require_room(new: Sequence[PlannedProcess], plan: Plan, live: Sequence[Live]) -> None:
    """Raise unless the engines that are to be started fit into the memory of this machine beside those that run.

    An engine with weights that were loaded before needs as much as it took at most; another one, its weights and some
    more. What is loaded into the memory of a GPU is not known before: an engine for which that is too small says so and
    does not start, which harms no other.
    """
    needs: dict[str, float] = {}
    for process in new:
        if (loads := process.settings.loads) is None:
            continue
        weights = weights_of(plan.checkpoint(loads))
        if weights.bytes is None:
            continue  # it is not on this machine, which its engine says
        peaks = (
            one.engine.health().peak_bytes
            for each in live
            for one in each.service.deployments.values()
            if one.weights is not None and one.weights.bytes == weights.bytes and one.kind == process.engine
        )
        needs[process.name] = max(filter(None, peaks), default=LOADED_SHARE * weights.bytes + LOADED_BYTES)
    free = available_memory()
    if (needed := sum(needs.values())) > free:
        named = ", ".join(f"{name} {size / _GIB:.1f} GiB" for name, size in needs.items())
        raise SpecError(
            f"new engines need about {needed / _GIB:.1f} GiB ({named}) beside those that run, and "
            f"{free / _GIB:.1f} GiB are available; free memory, or restart `tierwise serve`, which first stops the "
            "old engines",
            field="deployments",
        )


def _sessions(before: Live, plan: Plan) -> dict[str, SessionMemory]:
    """What the tiers know of sessions that are as they were."""
    return {
        name: before.service.router.tiers[name].sessions
        for name, tier in plan.tiers.items()
        if before.plan.tiers.get(name) == tier
    }


def _said(before: Live, now: Live, tls: Tls | None, started: Sequence[str]) -> list[str]:
    """What is different after a reload."""
    old, new = before.plan.tiers, now.plan.tiers
    kept = [name for name in now.service.deployments if name not in started]
    engines = {id(one.engine) for one in now.service.deployments.values()}
    left = [one.name for one in before.service.deployments.values() if id(one.engine) not in engines]
    parts = {
        "new": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "gone": [name for name in old if name not in new],
    }
    tiers = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names) or "as before"
    runs = {"started": started, "kept": kept, "stopped after their last request": left}
    engines_said = "; ".join(f"{what}: {', '.join(names)}" for what, names in runs.items() if names)
    said = [f"tiers and routes: {tiers}", f"engines: {engines_said}"]
    if before.plan.file.prices != now.plan.file.prices:
        said.append("prices: changed")
    if tls is not None:
        said += [f"TLS: {warning}" for warning in tls.warnings()] or ["TLS: certificate and key were read again"]
    return [*said, f"note: {FIXED}"]
