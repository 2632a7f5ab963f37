"""Handles a request of any API from body to ledger entry: parse, route, run, answer, record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tierwise.gateway.account import usage_of
from tierwise.gateway.body import read_body
from tierwise.gateway.exchange import HungUp
from tierwise.gateway.headers import RequestHeaders
from tierwise.gateway.refusing import Refusals
from tierwise.gateway.reply import FIRST_BYTES_SECONDS, EventStream, send_encoded
from tierwise.gateway.wire import in_session, within_passes
from tierwise.spec.call import Chunk
from tierwise.spec.errors import Stopping, TierwiseError

if TYPE_CHECKING:
    from tierwise.gateway.apis.api import Api, Writer
    from tierwise.gateway.exchange import Exchange
    from tierwise.gateway.lifecycle import RequestContext, RequestLifecycle
    from tierwise.gateway.metrics import Metrics
    from tierwise.ledger.records import Trace
    from tierwise.service import Service
    from tierwise.spec.json import Json

_LOG = logging.getLogger("tierwise")

_GOODBYE_SECONDS = 1.0
"""Maximum time for telling a client that the server stops: it may read slowly."""


class ApiEndpoint:
    """Answers the requests of one API.

    Args:
        first_bytes: seconds for which a stream's headers wait for its first content.

    Attributes:
        refusals: its error responses.
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
        self._api = api
        self.refusals = Refusals(api)
        self._lifecycle = lifecycle
        self._service = service
        self._metrics = metrics
        self._first_bytes = first_bytes

    async def __call__(self, exchange: Exchange) -> None:
        given = RequestHeaders.of(exchange.headers)
        ids = {"x-request-id": given.request_id} if given.request_id else {}
        response = _Response(exchange, self.refusals)
        trace: Trace | None = None
        context: RequestContext | None = None
        try:
            body = await read_body(exchange, given)
            trace = self._service.new_trace()  # a slow upload is not on the action's time
            response.request = trace.action
            ids = {"x-request-id": trace.action, **ids, "x-tierwise-action": trace.action}
            if self.refusals.own is not None:
                ids["request-id"] = trace.action
            with _UntilHungUp(exchange):
                request = await self._api.read(body)
                asked = in_session(
                    request.parsed, given.session, given.session_dollars, given.session_passes, given.path_session
                )
                if given.path_passes:
                    asked = within_passes(asked, given.path_passes)
                if forwarded := given.forwarded:
                    asked = replace(asked, prompt=replace(asked.prompt, headers=forwarded))
                context = self._lifecycle.receive(trace, asked, ids)
                respond = self._stream if asked.stream else self._whole
                response.writer = request.writer(trace.action, int(time()))
                await respond(context, response.writer, response, lambda: not exchange.disconnected)
        except HungUp:
            return
        except asyncio.CancelledError:  # the server stops at once
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await response.fail(Stopping("the server was stopped; ask again in a moment"), ids)
            raise
        except TierwiseError as error:
            self._metrics.refused(self.refusals.status(error))
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
            await response.exchange.turn()
            body.append(await writer.whole(context.answers, usage_of(context, prices)))

        try:
            await self._lifecycle.answer(context, is_stopped=is_stopped, complete=complete)
        except TierwiseError as error:
            await response.refuse(error, context.headers_now(prices), usage_of(context, prices))
            return
        await send_encoded(response.exchange, 200, body[0], context.headers_now(prices))

    async def _stream(
        self, context: RequestContext, writer: Writer, response: _Response, is_stopped: Callable[[], bool]
    ) -> None:
        prices = self._service.prices

        async def show(choice: int, chunks: Sequence[Chunk]) -> None:
            if not events.chunks(choice, chunks):
                await events.caught_up()

        async def show_draft(choice: int, number: int, tier: str, chunk: Chunk) -> None:
            events.event(writer.draft(choice, number, tier, chunk))
            if not events.flush():
                await events.caught_up()

        if context.parsed.wants_drafts:
            context.action.drafts = show_draft
        with EventStream(
            response.exchange,
            writer.chunk,
            lambda: context.headers_now(None),
            lambda: b": %b\n\n%b" % (context.progress().encode(), writer.beat()),
            is_showing=lambda: context.action.is_showing,
            first_bytes=self._first_bytes,
        ) as events:
            try:
                await self._lifecycle.answer(
                    context, show, is_stopped=is_stopped, pass_on=events.chunks, complete=response.exchange.turn
                )
            except TierwiseError as error:
                usage = usage_of(context, prices)
                if events.has_begun:
                    await events.done(writer.failed(error, usage))
                else:
                    await response.refuse(error, context.headers_now(prices), usage)
                return
            await events.done(writer.ended(context.answers, usage_of(context, prices)))


class _Response:
    """The response to one request, and how it fails."""

    __slots__ = ("_refusals", "exchange", "request", "writer")

    def __init__(self, exchange: Exchange, refusals: Refusals) -> None:
        self.exchange = exchange
        self._refusals = refusals
        self.request = ""
        """The id of its request, once known."""
        self.writer: Writer | None = None
        """Writes it, once the request is read."""

    async def refuse(self, error: TierwiseError, headers: Mapping[str, str], usage: Json = None) -> None:
        """An error response; `usage` is the spending so far."""
        await self._refusals.send(self.exchange, error, headers, usage, request=self.request)

    async def fail(self, error: TierwiseError, headers: dict[str, str]) -> None:
        """An error response, or what can still be said of it in one that has begun."""
        if not self.exchange.response_started:
            await self.refuse(error, headers)
        elif not self.exchange.response_complete and self.writer is not None:
            await self.exchange.end(self.writer.failed(error))


class _UntilHungUp:
    """Cancels the block when the client disconnects, so that everything that runs for it is aborted, and suppresses
    the cancellation.
    """

    __slots__ = ("_before", "_exchange", "_task")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._before: int | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - coroutines run in tasks
        self._task = task
        if self._exchange.disconnected:
            self._leave()
        self._exchange.when_gone = self._leave
        return self

    def _leave(self) -> None:
        self._before = self._task.cancelling()  # a failed TaskGroup leaves its own cancellation behind (Python 3.11)
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._exchange.when_gone = None
        is_cancelled = kind is not None and issubclass(kind, asyncio.CancelledError)
        return is_cancelled and self._before is not None and self._task.uncancel() <= self._before
