"""`tierwise.v1.Tierwise` on grpc.aio: in the same process and on the same service, ledger and metrics as HTTP."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import grpc.aio

from tierwise.gateway.chat import MOST_BYTES
from tierwise.gateway.failures import code_of, headers_of
from tierwise.gateway.failures import status_of as http_status_of
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc import tierwise_pb2_grpc as stubs
from tierwise.gateway.grpc.failures import status_of
from tierwise.gateway.grpc.words import account_of, asked_of, event_of, response_of
from tierwise.gateway.visit import Desk, answers
from tierwise.run import discard
from tierwise.spec.budget import Budget
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Generator

    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.visit import Visit
    from tierwise.service import Service
    from tierwise.spec.call import Chunk

    Context = grpc.aio.ServicerContext[Any, Any]

_RESERVE_SECONDS = 0.05
"""Of a caller's deadline: an answer that is cut by it must still arrive."""
_FOR_EVER_SECONDS = 10_000_000.0
_LONGEST_SECONDS = 86_400.0  # a budget goes no further

ACTION, CODE, RETRY, ACCOUNT = "x-tierwise-action", "tierwise-code", "retry-after", "tierwise-account-bin"
"""Metadata: the action's id at the beginning; after a failure its code, when to come again, and an `Account`."""


class GrpcServer:
    """Listens on one port from `start` to `stop`."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MOST_BYTES), ("grpc.so_reuseport", 0)]
        )
        self._front = _Front(service, metrics)
        self._stopping: asyncio.Task[None] | None = None
        stubs.add_TierwiseServicer_to_server(self._front, self._server)  # type: ignore[no-untyped-call]

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port, which is a free one for 0.

        Raises:
            SpecError: the port is taken.
        """
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(place)
        except RuntimeError as error:
            raise SpecError(f"cannot listen on {place}: {error}; choose another --grpc-port, or 0") from error
        await self._server.start()
        return bound

    async def drain(self) -> None:
        """Take no more calls, and wait for those under way."""
        if self._stopping is None:
            # gRPC's own way to end calls takes None for "at once", and cannot be hurried later; see `stop`.
            self._stopping = asyncio.create_task(self._server.stop(_FOR_EVER_SECONDS))
        await asyncio.shield(self._stopping)

    async def stop(self) -> None:
        """Take no more calls, and end those under way."""
        draining = asyncio.create_task(self.drain())
        self._front.end_all()
        await draining


class _Front(stubs.TierwiseServicer):
    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._desk = Desk(service, metrics)
        self._calls: set[asyncio.Task[Any]] = set()
        self._is_ending = False

    async def Chat(self, request: pb.ChatRequest, context: Context) -> pb.ChatResponse:  # noqa: N802 - as in the contract
        visit = await self._receive(request, context, stream=False)
        with self._answering(visit):
            try:
                visit.answers = await answers(visit, [discard] * visit.asked.choices)
            except TierwiseError as error:
                await self._fail(visit, error, context)
            visit.ending = "answered"
            visit.show_moment()
            self._desk.remember(visit)
            return response_of(visit, self._service.prices)

    async def ChatStream(self, request: pb.ChatRequest, context: Context) -> None:  # noqa: N802
        visit = await self._receive(request, context, stream=True)
        with self._answering(visit):
            writing = asyncio.Lock()
            try:
                shows = [_Shown(visit, context, writing, index) for index in range(visit.asked.choices)]
                visit.answers = await answers(visit, shows)
            except TierwiseError as error:
                await self._fail(visit, error, context)
            visit.ending = "answered"
            self._desk.remember(visit)
            await context.write(pb.ChatEvent(account=account_of(visit, self._service.prices)))

    async def Models(self, request: pb.ModelsRequest, context: Context) -> pb.ModelsResponse:  # noqa: ARG002, N802
        router = self._service.router
        models = [pb.Model(id=name, cascade=tier.policy.tiers()) for name, tier in router.tiers.items()]
        return pb.ModelsResponse(models=models)

    async def _receive(self, request: pb.ChatRequest, context: Context, *, stream: bool) -> Visit:
        trace = self._service.new_trace()
        await context.send_initial_metadata(((ACTION, trace.action),))
        try:
            asked = asked_of(request, stream=stream)
            if (left := context.time_remaining()) is not None:
                own = min(max(left - min(_RESERVE_SECONDS, left / 10), 0.001), _LONGEST_SECONDS)
                asked = replace(asked, budget=asked.budget.within(Budget(seconds=own)))
            return self._desk.receive(trace, asked)
        except TierwiseError as error:
            self._metrics.refused(http_status_of(error))
            await _abort(context, error)

    async def _fail(self, visit: Visit, error: TierwiseError, context: Context) -> NoReturn:
        visit.fail(error)
        self._desk.remember(visit)
        await _abort(context, error, account_of(visit, self._service.prices))

    @contextmanager
    def _answering(self, visit: Visit) -> Generator[None]:
        """While a call is answered. A caller who leaves cancels it, and with it everything that runs for him."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        self._calls.add(task)
        self._metrics.begun()
        try:
            yield
        except asyncio.CancelledError:
            if self._is_ending:
                visit.ending, visit.error = "failed", "the server was stopped"
            raise
        finally:
            self._calls.discard(task)
            self._desk.remember(visit)

    def end_all(self) -> None:
        self._is_ending = True
        for call in self._calls:
            call.cancel()


class _Shown:
    """Shows one choice to the caller as it comes; a caller who reads slowly makes it wait."""

    def __init__(self, visit: Visit, context: Context, writing: asyncio.Lock, index: int) -> None:
        self._visit = visit
        self._context = context
        self._writing = writing
        self._index = index

    async def __call__(self, chunk: Chunk) -> bool:
        visit = self._visit
        if visit.first_output is None and chunk.is_output:
            visit.show_moment()
        if chunk.delta or chunk.finish:
            async with self._writing:  # one message at a time
                await self._context.write(event_of(self._index, chunk, wants_logprobs=visit.asked.wants_logprobs))
        return True


async def _abort(context: Context, error: TierwiseError, account: pb.Account | None = None) -> NoReturn:
    metadata: list[tuple[str, str | bytes]] = [(CODE, code_of(error)), *headers_of(error).items()]
    if account is not None:
        metadata.append((ACCOUNT, account.SerializeToString()))
    await context.abort(status_of(error), str(error), tuple(metadata))
    raise AssertionError  # abort never comes back
