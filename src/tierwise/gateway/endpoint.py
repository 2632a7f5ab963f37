"""Handles a request of any API from body to ledger entry: parse, route, run, answer, record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING

from tierwise.gateway.account import usage_of
from tierwise.gateway.apis.api import OwnErrors
from tierwise.gateway.body import HungUp, read_body
from tierwise.gateway.failures import status_of
from tierwise.gateway.headers import RequestHeaders
from tierwise.gateway.reply import FIRST_BYTES_SECONDS, EventStream, send_encoded, send_error
from tierwise.gateway.wire import in_session
from tierwise.spec.call import Chunk
from tierwise.spec.errors import Stopping, TierwiseError

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from tierwise.gateway.apis.api import Api, Writer
    from tierwise.gateway.lifecycle import RequestContext, RequestLifecycle
    from tierwise.gateway.metrics import Metrics
    from tierwise.ledger.records import Trace
    from tierwise.service import Service
    from tierwise.spec.json import Json

_LOG = logging.getLogger("tierwise")

_GOODBYE_SECONDS = 1.0
"""Maximum time for telling a client that the server stops: it may read slowly."""


class ApiEndpoint:
    """One API as a plain ASGI application, because it must detect disconnects immediately.

    Args:
        first_bytes: seconds for which a stream's headers wait for its first content.
    """

    def __init__(
        self,
        api: Api,
        lifecycle: RequestLifecycle,
        service: Service,
        metrics: Metrics,
        *,
        first_bytes: float = FIRST_BYTES_SECONDS,
    ) -> None:
        self.api = api
        self._lifecycle = lifecycle
        self._service = service
        self._metrics = metrics
        self._first_bytes = first_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = RequestHeaders.of(scope)
        ids = {"x-request-id": given.request_id} if given.request_id else {}
        response = _Response(send, self.api)
        trace: Trace | None = None
        context: RequestContext | None = None
        try:
            body = await read_body(receive, given)
            trace = self._service.new_trace()  # a slow upload is not on the action's time
            response.request = trace.action
            ids = {"x-request-id": trace.action, **ids, "x-tierwise-action": trace.action}
            if isinstance(self.api, OwnErrors):
                ids["request-id"] = trace.action
            async with _until_hung_up(receive) as has_hung_up:
                request = await self.api.read(body)
                asked = in_session(request.parsed, given.session)
                if forwarded := given.forwarded:
                    asked = replace(asked, prompt=replace(asked.prompt, headers=forwarded))
                context = self._lifecycle.receive(trace, asked, ids)
                respond = self._stream if asked.stream else self._whole
                response.writer = request.writer(trace.action, int(time()))
                await respond(context, response.writer, response, lambda: not has_hung_up())
        except HungUp:
            return
        except asyncio.CancelledError:  # the server stops at once
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await response.fail(Stopping("the server was stopped; ask again in a moment"), ids)
            raise
        except TierwiseError as error:
            self._metrics.refused(response.status(error))
            await response.refuse(error, ids)
        except Exception as error:  # noqa: BLE001 - a bug: the user gets it in the API's format
            failure = TierwiseError(f"internal error in Tierwise: {error!r}; see its log")
            trace = trace or self._service.new_trace()
            _LOG.error("action %s failed with an internal error", trace.action, exc_info=error)
            if context is None:  # else it is recorded
                self._lifecycle.remember_bug(trace, failure)
            await response.fail(failure, ids)

    async def _whole(
        self, context: RequestContext, writer: Writer, response: _Response, is_stopped: Callable[[], bool]
    ) -> None:
        prices = self._service.prices
        body: list[bytes] = []

        async def complete() -> None:
            body.append(await writer.whole(context.answers, usage_of(context, prices)))

        try:
            await self._lifecycle.answer(context, is_stopped=is_stopped, complete=complete)
        except TierwiseError as error:
            await response.refuse(error, context.headers_now(prices), usage_of(context, prices))
            return
        await send_encoded(response.send, 200, body[0], context.headers_now(prices))

    async def _stream(
        self, context: RequestContext, writer: Writer, response: _Response, is_stopped: Callable[[], bool]
    ) -> None:
        prices = self._service.prices
        beat = self.api.beat if isinstance(self.api, OwnErrors) else ""

        async def show(choice: int, chunks: Sequence[Chunk]) -> None:
            for chunk in chunks:
                await events.chunk(choice, chunk, writer.chunk(choice, chunk))

        async def show_draft(choice: int, number: int, tier: str, chunk: Chunk) -> None:
            await events.event(writer.draft(choice, number, tier, chunk))

        if context.parsed.wants_drafts:
            context.action.drafts = show_draft
        with EventStream(
            response.send,
            lambda: context.headers_now(None),
            lambda: context.progress() + beat,
            is_showing=lambda: context.action.is_showing,
            first_bytes=self._first_bytes,
        ) as events:
            try:
                await self._lifecycle.answer(context, show, is_stopped=is_stopped)
            except TierwiseError as error:
                usage = usage_of(context, prices)
                if events.has_begun:
                    await events.done(writer.failed(error, usage))
                else:
                    await response.refuse(error, context.headers_now(prices), usage)
                return
            await events.done(writer.ended(context.answers, usage_of(context, prices)))


class _Response:
    """Sends one response, and knows how far it is."""

    def __init__(self, send: Send, api: Api) -> None:
        self._send = send
        self._api = api
        self._has_begun = False
        self._is_over = False
        self.request = ""
        """The id of its request, once known."""
        self.writer: Writer | None = None
        """Writes it, once the request is read."""

    async def send(self, message: Message) -> None:
        self._has_begun = True
        await self._send(message)
        self._is_over = message["type"] == "http.response.body" and not message.get("more_body", False)

    def status(self, error: TierwiseError) -> int:
        """The HTTP status of an error."""
        return self._api.status(error) if isinstance(self._api, OwnErrors) else status_of(error).http

    async def refuse(self, error: TierwiseError, headers: Mapping[str, str], usage: Json = None) -> None:
        """An error response; `usage` is the spending so far."""
        await send_refusal(self.send, self._api, error, headers, usage, request=self.request)

    async def fail(self, error: TierwiseError, headers: dict[str, str]) -> None:
        """An error response, or what can still be said of it in one that has begun."""
        if not self._has_begun:
            await self.refuse(error, headers)
        elif not self._is_over and self.writer is not None:
            await self.send({"type": "http.response.body", "body": self.writer.failed(error), "more_body": False})


async def send_refusal(
    send: Send, api: Api, error: TierwiseError, headers: Mapping[str, str], usage: Json = None, *, request: str = ""
) -> None:
    """Send an error as a complete response of an API.

    Args:
        send: ASGI's.
        api: whose path was asked.
        error: what is answered.
        headers: besides those of the error.
        usage: the spending so far.
        request: the id of the request; empty if it has none yet.
    """
    if isinstance(api, OwnErrors):
        shape, status = api.failure_of(request), api.status(error)
        await send_error(send, error, headers, usage, shape=shape, status=status)
    else:
        await send_error(send, error, headers, usage, shape=api.failure)


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
