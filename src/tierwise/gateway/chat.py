"""One chat completion from its bytes to its ledger entry: read, route, run, answer, remember."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tierwise.gateway.failures import status_of
from tierwise.gateway.reply import EventStream, send_error, send_json
from tierwise.gateway.visit import Desk, answers, usage_of
from tierwise.gateway.wire import read
from tierwise.run import discard
from tierwise.spec.errors import BodyTooLarge, SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.visit import Visit
    from tierwise.service import Service
    from tierwise.spec.call import Chunk

MOST_BYTES = 32 * 1024 * 1024
"""Of a request body; images make them large."""
BODY_SECONDS = 120.0
"""How long a body may take to arrive. Without it, one that stops half-way would keep a drain waiting for ever."""


class HungUp(Exception):
    """The user is gone."""


class Chat:
    """`POST /v1/chat/completions`, as a bare ASGI application: it must see a hang-up the moment it happens."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._desk = Desk(service, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        headers: dict[str, str] = {}
        try:
            body = await _body(receive)
            trace = self._service.new_trace()
            headers = {"x-tierwise-action": trace.action}
            visit = self._desk.receive(trace, read(body))
        except HungUp:
            return
        except TierwiseError as error:
            self._metrics.refused(status_of(error))
            await send_error(send, error, headers)
            return
        self._metrics.begun()
        try:
            async with _until_hung_up(receive):
                await (self._stream(visit, send) if visit.asked.stream else self._whole(visit, send))
        except asyncio.CancelledError:
            visit.ending, visit.error = "failed", "the server was stopped"
            raise
        finally:
            self._desk.remember(visit)

    async def _whole(self, visit: Visit, send: Send) -> None:
        prices = self._service.prices
        try:
            visit.answers = await answers(visit, [discard] * visit.asked.choices)
        except TierwiseError as error:
            visit.fail(error)
            self._desk.remember(visit)
            await send_error(send, error, visit.headers_now(prices), usage_of(visit, prices))
            return
        visit.ending = "answered"
        visit.show_moment()
        self._desk.remember(visit)
        body = visit.head.whole(visit.answers, usage_of(visit, prices))
        await send_json(send, 200, body, visit.headers_now(prices))

    async def _stream(self, visit: Visit, send: Send) -> None:
        prices = self._service.prices
        with EventStream(send, lambda: visit.headers_now(None), visit.progress) as events:
            try:
                shows = [Shown(visit, events, index) for index in range(visit.asked.choices)]
                visit.answers = await answers(visit, shows)
            except TierwiseError as error:
                visit.fail(error)
                self._desk.remember(visit)
                await events.failed(error, visit.headers_now(prices), usage_of(visit, prices))
                return
            visit.ending = "answered"
            self._desk.remember(visit)
            if visit.asked.wants_usage:
                await events.event(visit.head.usage(usage_of(visit, prices)))
            await events.done()


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise HungUp
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MOST_BYTES:
                    most = MOST_BYTES // 2**20
                    raise BodyTooLarge(f"the body has more than {most} MiB; send less, or link the images")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise SpecError(f"the body stopped after {size} bytes; it must arrive within {BODY_SECONDS:g} s") from None


@asynccontextmanager
async def _until_hung_up(receive: Receive) -> AsyncGenerator[None]:
    """Cancel the block when the user hangs up, so that everything that runs for him is aborted, and leave quietly."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines run in tasks
    is_over, before = False, None

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal before
        if not is_over:
            before = task.cancelling()  # a group of tasks that failed leaves its own cancellation behind (Python 3.11)
            task.cancel()

    listening = asyncio.create_task(_hang_up(receive))
    listening.add_done_callback(leave)
    try:
        yield
    except asyncio.CancelledError:
        if before is None or task.uncancel() > before:
            raise
    finally:
        is_over = True
        listening.cancel()


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Shown:
    """Shows one choice to the user as it comes."""

    def __init__(self, visit: Visit, events: EventStream, index: int) -> None:
        self._visit = visit
        self._events = events
        self._index = index

    async def __call__(self, chunk: Chunk) -> bool:
        visit = self._visit
        if visit.first_output is None and chunk.is_output:
            visit.show_moment()
        if chunk.delta or chunk.finish:
            await self._events.event(visit.head.chunk(self._index, chunk))
        return True
