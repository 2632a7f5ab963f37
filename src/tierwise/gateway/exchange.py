"""One request for an API and its response, on a connection: what ASGI's scope, receive and send are to other paths.

A response of one body is one write. A stream is one write per turn of the event loop.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from asyncio import Transport

    from uvicorn.protocols.http.flow_control import FlowControl

    from tierwise.gateway.headers import RawHeaders
    from tierwise.gateway.pacing import Pacer

_NO_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class HungUp(Exception):
    """The client has disconnected."""


class Connection(Protocol):
    """What an exchange needs of its connection."""

    transport: Transport
    flow: FlowControl
    pacer: Pacer

    @property
    def default_headers(self) -> RawHeaders:
        """Headers of every response: another object whenever they change."""
        ...

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        ...


class Exchange(ABC):
    """A request for an API, and its response.

    Attributes:
        path: without query, unquoted, without a slash at its end.
        headers: of the request.
        disconnected: whether the client has left.
        response_started: whether the response has begun.
        response_complete: whether all of it was written.
        more_headers: of the response, besides those that it is begun with.
        when_gone: called when the client leaves before the response is complete.
        when_writable: called when a client that read slowly has caught up.
    """

    __slots__ = (
        "disconnected",
        "headers",
        "more_headers",
        "path",
        "response_complete",
        "response_started",
        "when_gone",
        "when_writable",
    )

    def __init__(self, path: str, headers: RawHeaders) -> None:
        self.path, self.headers = path, headers
        self.disconnected = self.response_started = self.response_complete = False
        self.more_headers: RawHeaders = ()
        self.when_gone: Callable[[], None] | None = None
        self.when_writable: Callable[[], object] | None = None

    @property
    @abstractmethod
    def whole(self) -> bytes | None:
        """The body of the request, if all of it has come; else it is read by `part`."""

    @abstractmethod
    async def part(self) -> tuple[bytes, bool]:
        """What has come of the body since the last call, and whether more is to come; waits for it.

        Raises:
            HungUp: the client has left.
        """

    async def turn(self) -> None:  # noqa: B027 - only connections have others beside them
        """Wait until the event loop has time for the end of a request."""

    @abstractmethod
    async def respond(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        """A whole response. Nothing happens if the client has left.

        Args:
            status: HTTP's.
            headers: besides the length of the content.
            content: the body.

        Raises:
            ValueError: a header has a value that no header can carry.
        """

    @abstractmethod
    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin a response of many parts. Its head goes with the first of them.

        Raises:
            ValueError: a header has a value that no header can carry.
        """

    @abstractmethod
    def write(self, data: bytes) -> bool:
        """Write a part, which is not empty, unless the client reads slowly. Returns whether it was written, which is
        also true, without being done, if the client has left.
        """

    @abstractmethod
    async def end(self, data: bytes) -> None:
        """Write the last part, which is not empty. Waits for a client that reads slowly."""

    @property
    @abstractmethod
    def is_writable(self) -> bool:
        """Whether the client keeps up with what is written; true if it has left."""

    @abstractmethod
    async def writable(self) -> None:
        """Wait for a client that reads slowly."""


class HttpExchange(Exchange):
    """An exchange on a connection.

    Attributes:
        keep_alive: whether the connection is used for further requests.
        body_bytes: size of what has come of the body and was not read.
        more_body: whether some of the body has not come yet.
    """

    __slots__ = (
        "_connection",
        "_head",
        "_parts",
        "_waiter",
        "_wants_continue",
        "body_bytes",
        "keep_alive",
        "more_body",
    )

    def __init__(
        self, connection: Connection, path: str, headers: RawHeaders, *, keep_alive: bool, wants_continue: bool
    ) -> None:
        super().__init__(path, headers)
        self._connection = connection
        self.keep_alive, self._wants_continue = keep_alive, wants_continue
        self._parts: list[bytes] = []
        self.body_bytes, self.more_body = 0, True
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""  # kept until the first bytes of the body

    # ── the connection tells ─────────────────────────────────────────────
    def feed(self, part: bytes) -> None:
        """Take a part of the body."""
        if self.response_complete:
            return
        self._parts.append(part)
        self.body_bytes += len(part)
        if self.body_bytes > HIGH_WATER_LIMIT:
            self._connection.flow.pause_reading()
        self._wake()

    def feed_end(self) -> None:
        """The body is complete."""
        self.more_body = False
        self._wake()

    def hang_up(self) -> None:
        """The client has left."""
        if self.disconnected or self.response_complete:
            return
        self.disconnected = True
        self._wake()
        if self.when_gone is not None:
            self.when_gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # ── the request ──────────────────────────────────────────────────────
    @property
    def whole(self) -> bytes | None:
        if self.more_body:
            return None
        self.body_bytes = 0
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def part(self) -> tuple[bytes, bool]:
        if self._wants_continue and not self._connection.transport.is_closing():
            self._connection.transport.write(_CONTINUE)
            self._wants_continue = False
        while self.more_body and not self._parts and not self.disconnected:
            self._connection.flow.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self.disconnected:
            raise HungUp
        part = b"".join(self._parts)
        self._parts.clear()
        self.body_bytes = 0
        return part, self.more_body

    # ── the response ─────────────────────────────────────────────────────
    async def turn(self) -> None:
        await self._connection.pacer.turn()

    async def respond(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        if not self.is_writable:
            await self._connection.flow.drain()
        if self.disconnected:
            return
        self._begin(status, headers, b"content-length: %d\r\n" % len(content))
        self._connection.transport.write(self._taken_head() + content)
        self._ended()

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._begin(status, headers, b"transfer-encoding: chunked\r\n")

    def write(self, data: bytes) -> bool:
        if self.disconnected:
            return True
        if self._connection.flow.write_paused:
            return False
        head = self._taken_head() if self._head else b""
        self._connection.transport.write(b"%b%x\r\n%b\r\n" % (head, len(data), data))
        return True

    async def end(self, data: bytes) -> None:
        if not self.is_writable:
            await self._connection.flow.drain()
        if not self.disconnected:
            self._connection.transport.write(b"%b%x\r\n%b\r\n0\r\n\r\n" % (self._taken_head(), len(data), data))
            self._ended()

    @property
    def is_writable(self) -> bool:
        return self.disconnected or not self._connection.flow.write_paused

    async def writable(self) -> None:
        if not self.is_writable:
            await self._connection.flow.drain()

    def _begin(self, status: int, headers: Mapping[str, str], framing: bytes) -> None:
        """Make the head; `framing` is the header that says where the body ends."""
        if _NO_VALUE.search("".join(headers.values())):
            raise ValueError(f"a header of the response has a value that no header can carry: {dict(headers)!r}")
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        more = b"".join([b"%b: %b\r\n" % header for header in self.more_headers]) if self.more_headers else b""
        close = b"" if self.keep_alive else b"connection: close\r\n"
        usual = _joined(self._connection.default_headers)
        self._head = b"%b%b%b%b%b%b\r\n" % (STATUS_LINE[status], usual, lines.encode(), framing, more, close)
        self._wants_continue = False
        self.response_started = True

    def _taken_head(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _ended(self) -> None:
        self.response_complete = True
        self.when_gone = self.when_writable = None
        self._parts.clear()
        if not self.keep_alive:
            self._connection.transport.close()
        self._connection.on_response_complete()


Answering: TypeAlias = Callable[[Exchange], Awaitable[None]]
"""Answers a request."""

_usual: tuple[RawHeaders, bytes] = ((), b"")


def _joined(headers: RawHeaders) -> bytes:
    """The headers of all responses as they are written, which change once a second."""
    global _usual  # noqa: PLW0603 - of the process, as the headers are
    known, lines = _usual
    if known is not headers:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        _usual = headers, lines
    return lines
