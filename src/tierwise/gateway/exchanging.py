"""Exchanges what answers requests, in one step without a wait.

Requests that began with the old service end with it, and an engine that nothing needs any more is stopped after them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tierwise.gateway.app import application

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.gateway.generations import Front, Generation
    from tierwise.gateway.grpc.server import GrpcServer
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.preparing import Live
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.siblings import Siblings
    from tierwise.gateway.tls import Tls
    from tierwise.service import Service

_LOOK_SECONDS = 0.2
T = TypeVar("T")
_LOG = logging.getLogger("tierwise")


class HasTls(Protocol):
    """A server that may have TLS."""

    tls: Tls | None

    def use(self, tls: Tls) -> None:
        """Use these certificates for new connections."""


class Exchanger:
    """The service of a running endpoint, from one reload to the next. Used on its event loop.

    Args:
        first: what answers until the first reload.
        front: over HTTP.
        server: the server of `front`.
        beside: over gRPC; None if that is not served.
        settings: what `tierwise serve` was told.
        metrics: of the endpoint.
        siblings: the other processes of the endpoint.
    """

    def __init__(
        self,
        first: Live,
        front: Front,
        server: HasTls,
        beside: GrpcServer | None,
        settings: ServerSettings,
        metrics: Metrics,
        siblings: Siblings,
    ) -> None:
        self.front, self.server, self._beside = front, server, beside
        self.settings, self.metrics, self._siblings = settings, metrics, siblings
        self.live = [first]
        """The last one answers; the others have requests that began with them."""
        self.has_started = asyncio.Event()
        """Set when the engines of the first plan are ready."""
        self.turn = asyncio.Lock()
        """Held while a new plan is made ready, and while engines are stopped that it might need."""
        self.is_closing = False
        self.when_left: Callable[[Live], None] = lambda _: None
        """Called with a plan whose last request has ended."""
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def service(self) -> Service:
        """What answers now."""
        return self.live[-1].service

    def exchange(self, now: Live, tls: Tls | None) -> None:
        """Let a new service, which is complete, answer. Nothing in here waits or fails."""
        before, service, app = self.live[-1], now.service, self.front.now.answering
        service.listen()
        app.store.limit(service.stored)
        self.metrics.watch(service.deployments, service.router.certified, service.shadows)
        access, first_bytes = self.settings.access, self.settings.first_bytes
        new = application(
            service, self.metrics, access=access, first_bytes=first_bytes, siblings=self._siblings, before=app
        )
        left: list[Generation[Any]] = [self.front.use(new)]
        if self._beside is not None:
            left.append(self._beside.use(service, tls))
        if tls is not None:
            self.server.use(tls)
        self.live.append(now)
        self._spawn(self._retire(before, left))

    async def _retire(self, old: Live, left: Sequence[Generation[Any]]) -> None:
        """Stop what only an old plan needs, after its last request."""
        for generation in left:
            await generation.left()
        while any(each.occupancy.running for each in self._only(old)):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(_LOOK_SECONDS)  # a shadow may run there
        async with self.turn:  # a reload may take its engines over
            gone = self._only(old)
            self.live.remove(old)
            await stop_unneeded(gone)
        if self._siblings.count == 1:
            said_stopped(gone)
        self.when_left(old)

    def _only(self, old: Live) -> list[Deployment]:
        """The deployments whose engines no other plan has."""
        return only(old, self.live)

    def _spawn(self, work: Coroutine[object, object, T]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def refuse(self) -> None:
        """The endpoint stops: from now on nothing is exchanged."""
        self.is_closing = True

    async def close(self) -> None:
        """End what runs, and stop the engines of all plans."""
        self.refuse()
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.service.shadows is not None:
            await self.service.shadows.stop()
        engines = {id(one.engine): one.engine for live in self.live for one in live.service.deployments.values()}
        await asyncio.gather(*(engine.stop() for engine in engines.values()))


def only(old: Live, live: Sequence[Live]) -> list[Deployment]:
    """The deployments of a plan whose engines no other one has."""
    others = {id(one.engine) for each in live if each is not old for one in each.service.deployments.values()}
    return [one for one in old.service.deployments.values() if id(one.engine) not in others]


async def stop_unneeded(gone: Sequence[Deployment]) -> None:
    """Stop engines that no request needs any more; what goes wrong is logged."""
    stops = await asyncio.gather(*(one.engine.stop() for one in gone), return_exceptions=True)
    for failure in filter(None, stops):
        _LOG.error("an engine that is needed no more could not be stopped: %r", failure)


def said_stopped(gone: Sequence[Deployment]) -> None:
    """Log which engines were stopped."""
    for deployment in gone:
        _LOG.info("engine %s is stopped: no request needs it any more", deployment.name)
