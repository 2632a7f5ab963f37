"""Handles a chat completion from request body to ledger entry: parse, route, run, answer, record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from tierwise.gateway.failures import status_of
from tierwise.gateway.lifecycle import RequestContext, RequestLifecycle, usage_of
from tierwise.gateway.reply import EventStream, send_error, send_json
from tierwise.gateway.wire import read_aside
from tierwise.spec.errors import BodyTooLarge, SpecError, TierwiseError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tierwise.gateway.metrics import Metrics
    from tierwise.service import Service

MOST_BYTES = 32 * 1024 * 1024
"""Maximum size of a request body, which may contain images."""
BODY_SECONDS = 120.0
"""Time limit for receiving a body. Without it, a stalled body would block draining forever."""


class HungUp(Exception):
    """The client has disconnected."""


class ChatEndpoint:
    """`POST /v1/chat/completions` as a plain ASGI application, because it must detect disconnects immediately."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._lifecycle = RequestLifecycle(service, metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        headers: dict[str, str] = {}
        try:
            body = await _body(receive)
            trace = self._service.new_trace()
            headers = {"x-tierwise-action": trace.action}
            async with _until_hung_up(receive) as has_hung_up:
                asked = await read_aside(body)
                context = self._lifecycle.receive(trace, asked)
                respond = self._stream if asked.stream else self._whole
                await respond(context, send, lambda: not has_hung_up())
        except HungUp:
            return
        except TierwiseError as error:
            self._metrics.refused(status_of(error).http)
            await send_error(send, error, headers)

    async def _whole(self, context: RequestContext, send: Send, is_stopped: Callable[[], bool]) -> None:
        prices = self._service.prices
        try:
            await self._lifecycle.answer(context, is_stopped=is_stopped)
        except TierwiseError as error:
            await send_error(send, error, context.headers_now(prices), usage_of(context, prices))
            return
        body = context.head.whole(context.answers, usage_of(context, prices))
        await send_json(send, 200, body, context.headers_now(prices))

    async def _stream(self, context: RequestContext, send: Send, is_stopped: Callable[[], bool]) -> None:
        prices = self._service.prices
        with EventStream(send, lambda: context.headers_now(None), context.progress) as events:
            try:
                await self._lifecycle.answer(
                    context,
                    lambda choice, chunk: events.event(context.head.chunk(choice, chunk)),
                    is_stopped=is_stopped,
                )
            except TierwiseError as error:
                await events.failed(error, context.headers_now(prices), usage_of(context, prices))
                return
            if context.parsed.wants_usage:
                await events.event(context.head.usage(usage_of(context, prices)))
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
                    raise BodyTooLarge(f"the body is larger than {most} MiB; send less, or give images as URLs")
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise SpecError(f"the body stopped after {size} bytes; it must arrive within {BODY_SECONDS:g} s") from None


@asynccontextmanager
async def _until_hung_up(receive: Receive) -> AsyncGenerator[Callable[[], bool]]:
    """Cancel the block when the client disconnects, so that everything that runs for it is aborted, and suppress the
    cancellation.

    Yields a function that returns whether the client has disconnected.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - coroutines run in tasks
    is_over, before = False, None

    def leave(_: asyncio.Task[None]) -> None:
        nonlocal before
        if not is_over:
            before = task.cancelling()  # a failed TaskGroup leaves its own cancellation behind (Python 3.11)
            task.cancel()

    listening = asyncio.create_task(_hang_up(receive))
    listening.add_done_callback(leave)
    try:
        yield listening.done
    except asyncio.CancelledError:
        if before is None or task.uncancel() > before:
            raise
    finally:
        is_over = True
        listening.cancel()


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
