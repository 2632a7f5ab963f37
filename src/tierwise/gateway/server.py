"""The endpoint as a process: it listens, drains on a signal, and leaves nothing running."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from tierwise.gateway.accepting import Acceptor
from tierwise.gateway.app import application
from tierwise.gateway.bounded_http import PROTOCOL_LOG
from tierwise.gateway.control import controlled
from tierwise.gateway.exchanging import Exchanger
from tierwise.gateway.generations import Front
from tierwise.gateway.logs import log_to_stderr
from tierwise.gateway.loop_delay import LoopDelay
from tierwise.gateway.metrics import Metrics
from tierwise.gateway.pacing import Pacer
from tierwise.gateway.preparing import Live
from tierwise.gateway.protocol import HttpProtocol
from tierwise.gateway.reload import Reloader, Reloads, reloading
from tierwise.gateway.reload_metrics import ReloadMetrics
from tierwise.gateway.siblings import Alone
from tierwise.service import launched
from tierwise.spec.errors import LedgerError, SpecError

if TYPE_CHECKING:
    from tierwise.gateway.grpc.server import GrpcServer
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.siblings import Ending, Siblings
    from tierwise.gateway.tls import Tls, TlsFiles
    from tierwise.keys.desk import Desk
    from tierwise.ledger.store import Ledger
    from tierwise.plan import Plan
    from tierwise.service import Service

_LOG = logging.getLogger("tierwise")

COLLECTIONS = (10_000, 10, 5)
"""New objects between two garbage collections, and collections between those of the next generations. Nearly all that a
request makes is freed without one: with Python's own (700, 10, 10) a tenth of the time goes to looking at what is used.
"""
_GOODBYE_SECONDS = 2.0
"""Time for the last events of requests that are stopped."""


def serve_forever(plan: Plan, settings: ServerSettings, *, ledger: str | Path, content: bool = False) -> None:
    """Serve a plan until a signal; `content` makes the ledger store requests and answers.

    Raises:
        SpecError: a port is in use, something that an engine needs is missing on this machine, or gRPC is not
            installed; or a certificate does not hold, and `settings.uncertified` is false.
        Broken: an engine did not start.
    """
    log_to_stderr()
    if settings.grpc_port is not None:
        need_grpc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tls = loaded(settings.tls)
        runner.run(serve(plan, settings, bound(settings.host, settings.port), ledger, tls, content=content))


def loaded(files: TlsFiles | None) -> Tls | None:
    """The certificates of TLS, whose warnings are logged. Raises as `TlsFiles.load`."""
    tls = None if files is None else files.load()
    for warning in () if tls is None else tls.warnings():
        _LOG.warning("TLS: %s", warning)
    return tls


@contextmanager
def open_ledger(
    where: str | Path, plan: Plan, metrics: Metrics, *, content: bool = False
) -> Generator[Ledger, None, None]:
    """The ledger of a plan, closed at the end. Its alerts are logged and counted, and never block an answer.

    Raises:
        LedgerError: a ledger cannot be kept there; or, at the end, actions were lost.
    """
    from tierwise.ledger.prices import PriceBook  # noqa: PLC0415
    from tierwise.ledger.store import Ledger  # noqa: PLC0415 - SQLAlchemy is slow to import

    def alarm(error: LedgerError) -> None:
        metrics.alarm()
        _LOG.error("LEDGER: %s", error)

    book = Ledger.open(where, PriceBook(plan.file.prices), alarm, content=content)
    try:
        yield book
    finally:
        book.close()
    if lost := book.health().lost:
        actions = "1 action was answered that is" if lost == 1 else f"{lost} actions were answered that are"
        raise LedgerError(f"{actions} not in the ledger; the log says why")


@contextmanager
def open_desk(ledger: Ledger, plan: Plan) -> Generator[Desk]:
    """The keys and limits that are kept in a ledger's database."""
    from tierwise.keys.desk import Desk  # noqa: PLC0415 - SQLAlchemy is slow to import
    from tierwise.ledger.prices import PriceBook  # noqa: PLC0415

    desk = Desk(ledger.location, PriceBook(plan.file.prices), oidc=plan.file.oidc)
    desk.open()
    try:
        yield desk
    finally:
        desk.close()


async def serve(
    plan: Plan,
    settings: ServerSettings,
    listener: socket.socket,
    ledger: str | Path,
    tls: Tls | None,
    *,
    content: bool,
    siblings: Siblings | None = None,
    exchange_with: Callable[[Exchanger], None] | None = None,
) -> None:
    """Serve until the process shall end. As `serve_forever`, in a running event loop.

    Args:
        plan: the config file.
        settings: how it is served.
        listener: a listening socket.
        ledger: the ledger.
        tls: the certificates; None without TLS.
        content: whether the ledger stores requests and answers.
        siblings: the other processes that serve the endpoint; none if not given.
        exchange_with: called with what exchanges the service, if another process says when.
    """
    siblings = siblings or Alone()
    with contextlib.closing(listener):
        ending = siblings.ending()
        metrics = Metrics({}, by_key=settings.key_metrics)
        with open_ledger(ledger, plan, metrics, content=content) as book, open_desk(book, plan) as desk:
            async with launched(
                plan,
                ledger=book,
                uncertified=settings.uncertified,
                desk=desk,
                engines=siblings.engines,
                occupancies=siblings.occupancies(),
                certificates=siblings.certificates(plan),
            ) as launched_service:
                service = siblings.observing(plan, launched_service) if settings.shadow else launched_service
                metrics.watch(service.deployments, service.router.certified, service.shadows)
                access, first = settings.access, settings.first_bytes
                app = application(service, metrics, access=access, first_bytes=first, siblings=siblings)
                server = HttpServer(front := Front(app), tls)
                async with _also_grpc(service, metrics, settings, tls, shared=siblings.count > 1) as beside:
                    exchanger = Exchanger(Live(plan, service), front, server, beside, settings, metrics, siblings)
                    async with _reloadable(exchanger, plan.path, exchange_with):
                        with LoopDelay(metrics.loop_delay):
                            await _listen(exchanger, server, listener, siblings, ending, beside)
    _LOG.info("stopped")


def need_grpc() -> None:
    """Raise SpecError unless gRPC is installed."""
    try:
        import_module("tierwise.gateway.grpc.server")
    except ImportError as error:
        install = "install it with: pip install 'tierwise[grpc]'"
        raise SpecError(f"--grpc-port needs gRPC ({error}); {install}", field="--grpc-port") from error


@asynccontextmanager
async def _also_grpc(
    service: Service, metrics: Metrics, settings: ServerSettings, tls: Tls | None, *, shared: bool
) -> AsyncGenerator[GrpcServer | None]:
    """Serve gRPC on the same service if a port is given."""
    host, port = settings.host, settings.grpc_port
    if port is None:
        yield None
        return
    from tierwise.gateway.grpc.server import GrpcServer  # noqa: PLC0415 - an extra

    server = GrpcServer(service, metrics, access=settings.access, tls=tls, shared=shared)
    bound = await server.start(host, port)
    _LOG.info("gRPC on %s:%d", host, bound)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def _reloadable(
    exchanger: Exchanger, config: Path, exchange_with: Callable[[Exchanger], None] | None
) -> AsyncGenerator[None]:
    """Reload on SIGHUP and `tierwise reload`, or when another process says so; at the end stop all engines."""
    try:
        if exchange_with is not None:
            exchange_with(exchanger)
            yield
            return
        server = exchanger.server
        counts = ReloadMetrics(exchanger.metrics.registry, server.tls)
        reloads = Reloads(Reloader(exchanger).reload, counts, lambda: server.tls, exchanger.has_started)
        async with reloading(reloads), controlled(config, reloads.reload):
            yield
    finally:
        await exchanger.close()


async def _listen(
    exchanger: Exchanger,
    server: HttpServer,
    listener: socket.socket,
    siblings: Siblings,
    ending: Ending,
    beside: GrpcServer | None,
) -> None:
    """Accept requests at once; they wait for engines that are still loading, and `/ready` lists those."""
    gc.set_threshold(*COLLECTIONS)
    gc.collect()
    gc.freeze()  # a full collection would look at all that was imported, in 50 ms in which nothing else runs
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(exchanger.service.start())
    stopping = asyncio.create_task(ending.first.wait())
    siblings.listening("http" if server.tls is None else "https", *listener.getsockname()[:2])
    preparing = asyncio.create_task(asyncio.to_thread(import_module, "tierwise.verifiers.readers"))
    try:
        await asyncio.wait((starting, stopping, serving), return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            exchanger.has_started.set()
            _LOG.info("ready: %s", ", ".join(exchanger.service.router.names))
        await asyncio.wait((stopping, serving), return_when=asyncio.FIRST_COMPLETED)
        _LOG.info("draining: running requests are finished; a second signal stops at once")
    finally:
        exchanger.refuse()
        exchanger.front.drain()
        if (shadows := exchanger.service.shadows) is not None:
            await shadows.stop()  # users' requests need the engines now
        starting.cancel()
        server.should_exit = True
        second = asyncio.create_task(ending.second.wait())
        draining = asyncio.gather(serving, *([beside.drain()] if beside is not None else []), return_exceptions=True)
        await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
        if beside is not None:
            await beside.stop()
        unfinished = set(server.server_state.tasks)
        PROTOCOL_LOG.disabled = bool(unfinished)  # uvicorn would log a traceback for each
        for answering in unfinished:
            answering.cancel()  # while the ledger can still record them, and their clients can still be told
        if unfinished:
            await asyncio.wait(unfinished, timeout=_GOODBYE_SECONDS)
        server.force_exit = True
        await asyncio.gather(draining, starting, preparing, *unfinished, return_exceptions=True)
        stopping.cancel()
        second.cancel()


class HttpServer(uvicorn.Server):
    """uvicorn with our own accepting, and without its signal handling, because engines and ledger must stop too."""

    def __init__(self, app: Front, tls: Tls | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                http=HttpProtocol,
                ws="none",
                proxy_headers=False,
                timeout_keep_alive=75,  # longer than clients keep idle connections, or requests would be lost
            )
        )
        self._acceptors: list[Acceptor] = []
        self.tls = tls

    def use(self, tls: Tls) -> None:
        """Use these certificates for new connections; the endpoint was started with some."""
        self.tls = tls
        for acceptor in self._acceptors:
            acceptor.tls = tls.context

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections of sockets that listen already."""
        await self.lifespan.startup()
        self.servers = []
        self._pacer = Pacer(asyncio.get_running_loop())
        self._acceptors = [
            Acceptor(listener, self._new_protocol, tls=None if self.tls is None else self.tls.context)
            for listener in sockets or ()
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self._acceptors:
            await acceptor.close()
        await super().shutdown(sockets)

    def _new_protocol(self) -> HttpProtocol:
        return HttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, pacer=self._pacer
        )


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket, opened before any engine starts: a port in use is detected early, and early clients wait in
    the kernel's queue. If `shared`, other sockets may listen there too, and each gets a part of the connections.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise SpecError(
            f"cannot listen on {host}:{port}: {reason}; choose another --port, or 0 for a free one"
        ) from error
    listener.set_inheritable(False)
    return listener
