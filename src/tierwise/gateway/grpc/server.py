"""`tierwise.v1.Tierwise` on grpc.aio, in the same process and with the same service, ledger and metrics as HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import grpc.aio

from tierwise.gateway.access import Access
from tierwise.gateway.body import MOST_BYTES
from tierwise.gateway.failures import headers_of, status_of
from tierwise.gateway.generations import Generation
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc import tierwise_pb2_grpc as stubs
from tierwise.gateway.grpc.messages import account_of, event_of, parsed_of, response_of
from tierwise.gateway.headers import SESSION
from tierwise.gateway.lifecycle import RequestContext, RequestLifecycle, certificate_header
from tierwise.gateway.wire import in_session
from tierwise.keys.caller import CALLER
from tierwise.keys.ceilings import DOLLARS, PASSES
from tierwise.keys.limiter import may_use
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk
from tierwise.spec.errors import SpecError, Stopping, TierwiseError, Unauthorized

if TYPE_CHECKING:
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.tls import Tls
    from tierwise.service import Service

    Rpc = grpc.aio.ServicerContext[Any, Any]

_RESERVE_SECONDS = 0.05
"""Reserve before a caller's deadline, so that an answer cut by it still arrives."""
_GOODBYE_SECONDS = 1.0
"""Maximum time for telling a client that the server stops: it may read slowly."""
_FOR_EVER_SECONDS = 10_000_000.0
_LONGEST_SECONDS = 86_400.0  # the maximum of a budget

ACTION, CODE, RETRY, ACCOUNT = "x-tierwise-action", "tierwise-code", "retry-after", "tierwise-account-bin"
"""Metadata keys: the action's id, sent first, with `x-tierwise-certificate` for a route with a certificate; after a
failure the error code, the retry delay, and an `Account`."""


class GrpcServer:
    """Listens on one port from `start` to `stop`. If it is `shared`, other processes may listen there too, each for its
    part of the connections.
    """

    def __init__(
        self,
        service: Service,
        metrics: Metrics,
        *,
        access: Access | None = None,
        tls: Tls | None = None,
        shared: bool = False,
    ) -> None:
        self._tls = tls
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MOST_BYTES), ("grpc.so_reuseport", int(shared))]
        )
        self._front = _Front(service, metrics, access or Access())
        self._stopping: asyncio.Task[None] | None = None
        stubs.add_TierwiseServicer_to_server(self._front, self._server)  # type: ignore[no-untyped-call]

    async def start(self, host: str, port: int) -> int:
        """Listen on a port, a free one for 0. Returns the port.

        Raises:
            SpecError: the port is in use.
        """
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._tls is None:
                bound = self._server.add_insecure_port(place)
            else:
                bound = self._server.add_secure_port(place, self._credentials(self._tls))
        except RuntimeError as error:
            raise SpecError(f"cannot listen on {place}: {error}; choose another --grpc-port, or 0") from error
        await self._server.start()
        return bound

    def use(self, service: Service, tls: Tls | None) -> Generation[_Serving]:
        """Let another service answer new calls, and use its certificates for new connections.

        Returns:
            The generation before.
        """
        self._tls = tls
        return self._front.use(service)

    def _credentials(self, first: Tls) -> grpc.ServerCredentials:
        """Asks for the certificate at each new connection."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(first),
            lambda: _configuration(self._tls or first),
            require_client_authentication=first.client_ca is not None,
        )

    async def drain(self) -> None:
        """Accept no more calls, and wait for running ones."""
        if self._stopping is None:
            # For gRPC's own `stop`, None means "immediately".
            self._stopping = asyncio.create_task(self._server.stop(_FOR_EVER_SECONDS))
        await asyncio.shield(self._stopping)

    async def stop(self) -> None:
        """Accept no more calls, and end running ones with the status of `Stopping`."""
        draining = asyncio.create_task(self.drain())
        await self._front.end_all()
        await self._server.stop(None)  # cancels the calls whose clients could not be told, because they read nothing
        await draining


def _configuration(tls: Tls) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.chain)], root_certificates=tls.client_ca)


class _Front(stubs.TierwiseServicer):
    def __init__(self, service: Service, metrics: Metrics, access: Access) -> None:
        self._access = access if service.desk is None else access.of_desk(service.desk)
        self.now = Generation(_Serving(service, RequestLifecycle(service, metrics)))
        self._metrics = metrics
        self._tasks: set[asyncio.Task[Any]] = set()
        """Of the calls that `end_all` can end."""
        self._is_ending = False

    def use(self, service: Service) -> Generation[_Serving]:
        before, self.now = self.now, Generation(_Serving(service, RequestLifecycle(service, self._metrics)))
        return before

    async def Chat(self, request: pb.ChatRequest, rpc: Rpc) -> pb.ChatResponse:  # noqa: N802 - as in the contract
        async with self._call(rpc) as call:
            context = call.context = await self._receive(request, rpc, call.serving, stream=False)
            await call.serving.lifecycle.answer(context, is_stopped=lambda: self._is_ending)
        return response_of(context, call.serving.service.prices)

    async def ChatStream(self, request: pb.ChatRequest, rpc: Rpc) -> None:  # noqa: N802
        writing = asyncio.Lock()
        async with self._call(rpc) as call:
            context = call.context = await self._receive(request, rpc, call.serving, stream=True)

            async def show(choice: int, chunks: Sequence[Chunk]) -> None:
                async with writing:  # gRPC allows one write at a time
                    for chunk in chunks:
                        await rpc.write(event_of(choice, chunk, wants_logprobs=context.parsed.wants_logprobs))

            await call.serving.lifecycle.answer(context, show, is_stopped=lambda: self._is_ending)
            await rpc.write(pb.ChatEvent(account=account_of(context, call.serving.service.prices)))

    async def Models(self, request: pb.ModelsRequest, rpc: Rpc) -> pb.ModelsResponse:  # noqa: ARG002, N802
        async with self._call(rpc) as call:
            self._require_key(rpc)
        router, caller = call.serving.service.router, CALLER.get()
        models = [
            pb.Model(id=name, cascade=tier.policy.tiers())
            for name, tier in router.tiers.items()
            if may_use(caller, name)
        ]
        return pb.ModelsResponse(models=models)

    def _require_key(self, rpc: Rpc) -> None:
        CALLER.set(None)
        if self._access.needs_key:
            try:
                CALLER.set(self._access.caller(_metadata(rpc, "authorization").encode()))
            except Unauthorized as error:
                raise Unauthorized(str(error).replace("send it as `", "send it as metadata `")) from None

    async def _receive(self, request: pb.ChatRequest, rpc: Rpc, serving: _Serving, *, stream: bool) -> RequestContext:
        self._require_key(rpc)
        trace = serving.service.new_trace()
        label = certificate_header(serving.service.router.certified.state(request.model))
        await rpc.send_initial_metadata(((ACTION, trace.action), *label.items()))
        named = [_metadata(rpc, name) for name in (SESSION, DOLLARS, PASSES)]
        parsed = in_session(await parsed_of(request, stream=stream), *named)
        if (left := rpc.time_remaining()) is not None:
            own = min(max(left - min(_RESERVE_SECONDS, left / 10), 0.001), _LONGEST_SECONDS)
            parsed = replace(parsed, budget=parsed.budget.within(Budget(seconds=own)))
        return serving.lifecycle.receive(trace, parsed)

    @asynccontextmanager
    async def _call(self, rpc: Rpc) -> AsyncGenerator[_Call]:
        """Ends a call with the status of its failure, or of `Stopping` if `end_all` ends it.

        gRPC sends no status for a cancelled handler: the client would wait until its own deadline. A disconnect of the
        client cancels the handler too, with everything that runs for it.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        generation = self.now
        call = _Call(generation.begin())
        self._tasks.add(task)
        try:
            if self._is_ending:
                task.cancel()  # at its first wait
            yield call
        except TierwiseError as error:
            if call.context is None:
                self._metrics.refused(status_of(error).http)
            self._tasks.discard(task)  # its end must not be cancelled
            await _abort(rpc, error, self._account(call))
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await _abort(rpc, Stopping("the server was stopped; ask again in a moment"), self._account(call))
            raise
        finally:
            self._tasks.discard(task)
            generation.end()

    def _account(self, call: _Call) -> pb.Account | None:
        return None if call.context is None else account_of(call.context, call.serving.service.prices)

    async def end_all(self) -> None:
        """End every call, and wait a short time until the clients are told."""
        self._is_ending = True
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * _GOODBYE_SECONDS)


@dataclass(frozen=True, slots=True)
class _Serving:
    """What answers calls, from one reload to the next."""

    service: Service
    lifecycle: RequestLifecycle


@dataclass(slots=True)
class _Call:
    serving: _Serving
    context: RequestContext | None = None
    """None until the request is received."""


def _metadata(rpc: Rpc, name: str) -> str:
    """The value of a key of a call's metadata; empty if it was not sent."""
    return str(dict(rpc.invocation_metadata() or ()).get(name, ""))


async def _abort(rpc: Rpc, error: TierwiseError, account: pb.Account | None = None) -> NoReturn:
    status = status_of(error)
    metadata: list[tuple[str, str | bytes]] = [(CODE, status.code), *headers_of(error).items()]
    if account is not None:
        metadata.append((ACCOUNT, account.SerializeToString()))
    await rpc.abort(grpc.StatusCode[status.grpc], str(error), tuple(metadata))
    raise AssertionError  # abort never returns
