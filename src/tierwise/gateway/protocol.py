"""uvicorn's HTTP protocol, with a short way for the APIs: what they answer is no ASGI message.

A client who leaves is always noticed, and one who sends nothing is not kept.
"""

from __future__ import annotations

from asyncio import Task, TimerHandle, Transport
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tierwise.gateway.bounded_http import PROTOCOL_LOG, BoundedHttpProtocol
from tierwise.gateway.exchange import Answering, HttpExchange
from tierwise.gateway.headers import RawHeaders
from tierwise.gateway.pacing import Pacer
from tierwise.gateway.session_path import IN_PATH, PASSES_IN_PATH, split

HEAD_SECONDS = 30.0
"""Time limit for the head of a request, from the connection or from its first byte on a kept connection."""
MOST_AHEAD_BYTES = 256 * 1024
"""Bytes of pipelined requests that are read while another request of the connection is answered."""

_REQUEST_BYTES = 1024  # what a queued request counts besides its body

_Request: TypeAlias = "HttpExchange | RequestResponseCycle"


class Application(Protocol):
    """An ASGI application that answers some paths without ASGI."""

    def answering(self, path: str) -> Answering | None:
        """What answers a POST to a path, which has no slash at its end; None if ASGI does."""
        ...


class HttpProtocol(BoundedHttpProtocol):
    """Hands a POST to an API over as an `Exchange`, and any other request to the ASGI application, which may be an
    `Application`.

    It reads on while requests are pipelined, and tells the running one when the client has left. uvicorn stops reading
    then, so that it notices nothing; and it tells the connection's last request only.

    Args:
        pacer: says when a request begins and ends, for all connections; None if this is the only one.
    """

    cycle: _Request | None  # type: ignore[assignment]
    """The last request that was read."""

    def __init__(self, *args: Any, pacer: Pacer | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pacer = pacer or Pacer(self.loop)
        self._find: Callable[[str], Answering | None] | None = getattr(self.app, "answering", None)
        self._answered: _Request | None = None
        self._reading: HttpExchange | None = None
        """The request whose body is read."""
        self._waits: Answering | None = None
        """What answers it, until it is started."""
        self._is_in_head = True
        self._deadline = inf
        self._timer: TimerHandle | None = None

    @property
    def default_headers(self) -> RawHeaders:
        return self.server_state.default_headers

    # ── the transport ────────────────────────────────────────────────────
    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_within(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for one in (self._answered, self.cycle):
            if isinstance(one, HttpExchange):
                one.hang_up()
            elif one is not None and not one.response_complete:
                one.disconnected = True
                one.message_event.set()
        self.cycle = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits is not None and not self.transport.is_closing():
            self._start_waiting()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._is_in_head, self._deadline = False, inf
        elif not self._is_in_head:
            self._is_in_head = True
            self._expect_within(HEAD_SECONDS)
        if self.pipeline and self._ahead() <= MOST_AHEAD_BYTES:
            self.flow.resume_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        one = self._answered
        if isinstance(one, HttpExchange) and one.when_writable is not None:
            one.when_writable()

    # ── callbacks of the parser ──────────────────────────────────────────
    def on_headers_complete(self) -> None:
        self._has_parsed = True
        if (found := split(self.url)) is not None:
            self.url = found.target
            self.headers.append((IN_PATH, found.session))
            if found.passes:
                self.headers.append((PASSES_IN_PATH, found.passes))
        answering = self._answering()
        if answering is None:
            self._reading = None
            self._continue_as_asgi()
            return
        path, answer = answering
        before, parser = self.cycle, self.parser
        headers, self.headers = self.headers, []  # trailers are no headers of the request
        self.cycle = self._reading = HttpExchange(
            self,
            path,
            headers,
            keep_alive=parser.get_http_version() != "1.0" and parser.should_keep_alive(),
            wants_continue=self.expect_100_continue,
        )
        if before is None or before.response_complete:
            self._waits = answer
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, answer))  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        if self._reading is None:
            super().on_body(body)
            return
        self._count_body(body)
        self._reading.feed(body)

    def on_message_complete(self) -> None:
        if self._reading is None:
            super().on_message_complete()
            return
        self._has_parsed = True
        self._reading.feed_end()
        if self._waits is not None:
            self._start_waiting()

    # ── requests ─────────────────────────────────────────────────────────
    def _answering(self) -> tuple[str, Answering] | None:
        """The path of an API and what answers there; None for a request that goes to ASGI."""
        find = self._find
        if find is None or self.parser.get_method() != b"POST":
            return None
        path = self.url.decode("latin-1")
        if (answer := find(path)) is None:
            path = unquote(httptools.parse_url(self.url).path.decode("ascii")).rstrip("/")
            answer = find(path)
        return None if answer is None else (path, answer)

    def _start_waiting(self) -> None:
        answer, self._waits = self._waits, None
        assert answer is not None  # noqa: S101 - checked by the caller
        assert self._reading is not None  # noqa: S101 - they are set together
        self.pacer.start(self._start, self._reading, answer)

    def _start(self, exchange: HttpExchange, answer: Answering) -> None:
        self._answered = exchange
        task: Task[None] = self.loop.create_task(self._run(exchange, answer(exchange)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, exchange: HttpExchange, answering: Awaitable[None]) -> None:
        """Answer one request. A bug closes the connection, as with uvicorn."""
        try:
            await answering
        except BaseException as error:  # noqa: BLE001 - as uvicorn: nobody waits for the task
            PROTOCOL_LOG.error("a request was not answered", exc_info=error)
        if not exchange.response_complete and not exchange.disconnected:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next pipelined request, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if not self.pipeline:
            self._is_in_head = False
            self._expect_within(self.timeout_keep_alive)
            return
        request, answer = self.pipeline.pop()
        if isinstance(request, HttpExchange):
            self._start(request, answer)  # type: ignore[arg-type]
        else:
            self._start_asgi_task(request, answer)

    def _ahead(self) -> int:
        sizes = (one.body_bytes if isinstance(one, HttpExchange) else len(one.body) for one, _ in self.pipeline)
        return sum(sizes) + _REQUEST_BYTES * len(self.pipeline)

    # ── time limits ──────────────────────────────────────────────────────
    def _expect_within(self, seconds: float) -> None:
        """Close the connection unless something comes in time. One timer looks after all limits of a connection."""
        self._deadline = self.loop.time() + seconds
        if self._timer is None:
            self._timer = self.loop.call_later(min(seconds, HEAD_SECONDS), self._look)

    def _look(self) -> None:
        self._timer = None
        left = self._deadline - self.loop.time()
        if left <= 0:
            self.timeout_keep_alive_handler()
        elif left < inf:
            self._timer = self.loop.call_later(min(left, HEAD_SECONDS), self._look)
