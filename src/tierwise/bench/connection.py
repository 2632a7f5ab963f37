"""A minimal HTTP/1.1 client for accurate timing: it reads the clock in the socket callback, once per read.

The rest of the code base uses aiohttp, which wakes a coroutine for every block. With hundreds of streams these
coroutines queue, and the times they record include the queueing (measured: four times this client's CPU per stream).
"""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Protocol, Self, cast
from urllib.parse import urlsplit

import httptools

if TYPE_CHECKING:
    from collections.abc import Mapping


class ResponseSink(Protocol):
    """Receives a response while it arrives."""

    blocks: list[bytes]
    """The pieces of the body, appended as they arrive."""

    def on_head(self, status: int, headers: Mapping[str, str], moment: float) -> None:
        """The response head has arrived; header names are in lower case."""

    def on_read(self, moment: float) -> None:
        """All blocks appended since the previous call arrived at this time."""


def key_header(key: str) -> dict[str, str]:
    """The header that carries an endpoint's key; empty without one."""
    return {"Authorization": f"Bearer {key}"} if key else {}


class Connections:
    """A pool of keep-alive connections to one endpoint.

    Args:
        url: the endpoint's root; https uses TLS.
        headers: sent with every request.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (80 if self._tls is None else 443)
        self._path = parts.path.rstrip("/")
        own = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._head = (
            f"Host: {parts.netloc}\r\n{own}Content-Type: application/json\r\nAccept: text/event-stream\r\n"
            "Accept-Encoding: identity\r\nContent-Length: "
        )
        self._idle: list[_ClientConnection] = []
        self._open: set[_ClientConnection] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in list(self._open):
            connection.close()
        await asyncio.sleep(0)

    async def post(self, path: str, body: bytes, sink: ResponseSink) -> None:
        """Send a request and wait for the end of its response. Cancellation closes the connection.

        Raises:
            OSError: the connection could not be opened, or was lost before the end.
        """
        request = f"POST {self._path}{path} HTTP/1.1\r\n{self._head}{len(body)}\r\n\r\n".encode() + body
        while self._idle:
            connection = self._idle.pop()
            try:
                await self._ask(connection, request, sink)
            except ConnectionError:
                if connection.has_answered:
                    raise
                continue  # the server closed it while it was idle, so it never received the request
            return
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: _ClientConnection(self._open), self._host, self._port, ssl=self._tls
        )
        await self._ask(connection, request, sink)

    async def _ask(self, connection: _ClientConnection, request: bytes, sink: ResponseSink) -> None:
        try:
            await connection.ask(request, sink)
        except BaseException:
            connection.close()
            raise
        if connection.is_kept:
            self._idle.append(connection)
        else:
            connection.close()


class _ClientConnection(asyncio.Protocol):
    """One connection, which handles one request at a time."""

    def __init__(self, register: set[_ClientConnection]) -> None:
        self.has_answered = False
        """Whether a response head has arrived for the current request."""
        self._register = register
        self._transport: asyncio.Transport | None = None
        self._sink: ResponseSink | None = None
        self._over: asyncio.Future[None] | None = None

    async def ask(self, request: bytes, sink: ResponseSink) -> None:
        self.has_answered = False  # also where it was closed since its last answer
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("closed while idle")
        self.on_body = sink.blocks.append  # bound directly, without a wrapper method: it runs for every token
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._is_keepable = False
        self._sink, self._over = sink, asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            await self._over
        finally:
            self._sink = self._over = None

    @property
    def is_kept(self) -> bool:
        return self._is_keepable and self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transport is not a subclass
        self._register.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._register.discard(self)
        if self._over is None or self._over.done():
            return
        ends_with_connection = not self._headers.keys() & {"content-length", "transfer-encoding"}
        if exc is None and self.has_answered and ends_with_connection:
            self._over.set_result(None)
        else:
            self._over.set_exception(exc or ConnectionResetError("closed in the middle of the answer"))

    def data_received(self, data: bytes) -> None:
        self._moment = time.monotonic()
        if self._sink is None:  # unsolicited data
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._over is not None and not self._over.done():
                self._over.set_exception(ConnectionError(f"not a valid HTTP response: {error}"))
        self._sink.on_read(self._moment)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.has_answered = True
        if self._sink is not None:
            self._sink.on_head(self._parser.get_status_code(), self._headers, self._moment)

    def on_message_complete(self) -> None:
        self._is_keepable = self._parser.should_keep_alive()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
