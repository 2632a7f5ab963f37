"""A client of HTTP/1.1 for servers at plain `http://`, with a fraction of aiohttp's work per request.

httptools parses, and callbacks of the event loop do the rest. Errors are aiohttp's, so that both clients are handled
alike.
TLS, proxies and unusual URLs are left to aiohttp: `place_of` says which.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohappyeyeballs import start_connection

from tierwise.engines.http1_connection import GATHERED_BYTES, KEEP_SECONDS, Connection, InvalidHttp, inflating
from tierwise.spec.hosts import is_address

CONNECT_SECONDS = 10.0
GATHER_SECONDS = 0.25
SLOW_SECONDS = 0.5
"""Answers that are gathered for as long as this cost less on a connection of their own, which their end closes."""
_WORTH = 8
"""Connections that cost about as much as one slow answer saves."""
_TRY_NEXT_SECONDS = 0.25  # after which another address of a host is tried beside the first

_PLAIN = re.compile(r"http://[!-~]+", re.IGNORECASE)
_LINE_END = re.compile("[\r\n\0]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads: a server, and the target of requests to it."""

    host: str
    port: int
    netloc: str
    head: bytes
    """How a request begins there: the first line and Host."""


@lru_cache(maxsize=256)
def place_of(url: str) -> Place | None:
    """The place of a URL; None for one that this client does not serve."""
    if not _PLAIN.fullmatch(url) or "#" in url or "@" in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        return None
    if not host:
        return None
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(host, port, parts.netloc, f"POST {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n".encode())


def head_lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Headers as they are sent.

    Raises:
        ValueError: one has a line end.
    """
    lines = []
    for name, value in headers:
        if _LINE_END.search(name) or _LINE_END.search(value):
            raise ValueError(f"the header {name!r} has a line end")
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode()


class HttpPool:
    """Connections to servers, each kept for the next request when its response was read to the end."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._slow = 0
        """Above 0 while enough of the last answers that were gathered took long."""

    def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()

    async def post(
        self, place: Place, headers: bytes, body: Sequence[bytes], *, silent_seconds: float, gathers: bool = False
    ) -> HttpResponse:
        """Send a request and wait for the head of its response. If a kept connection was closed by the server before it
        said anything, the request is sent once more, on a new one.

        Args:
            place: the server and the target.
            headers: from `head_lines`, besides Host and Content-Length.
            body: in parts.
            silent_seconds: for which the server may say nothing.
            gathers: whether most of the response is read by `HttpResponse.gathered`. If the answers of this server take
                long, it is asked to close the connection at the end: then the system can wait for that alone.

        Raises:
            aiohttp.ClientError: the server cannot be reached, is silent, hung up, or does not speak HTTP.
        """
        if gathers and self._slow:
            headers += b"Connection: close\r\n"
        parts = [b"%bContent-Length: %d\r\n%b\r\n" % (place.head, sum(map(len, body)), headers), *body]
        if (kept := self._kept((place.host, place.port))) is not None:
            try:
                await kept.ask(parts, silent_seconds)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if kept.has_spoken:
                    raise
            else:
                return HttpResponse(kept)
        connection = await self._connect(place)
        await connection.ask(parts, silent_seconds)
        return HttpResponse(connection)

    def keep(self, connection: Connection) -> None:
        """Keep an idle connection."""
        self._idle.setdefault(connection.place, []).append(connection)
        if self._sweep is None:
            self._sweep = connection.loop.call_later(KEEP_SECONDS, self._sweep_idle)

    def gathered(self, seconds: float) -> None:
        """An answer was gathered for so long."""
        self._slow = _WORTH if seconds >= SLOW_SECONDS else max(0, self._slow - 1)

    def forget(self, connection: Connection) -> None:
        """A connection is lost."""
        self._open.discard(connection)
        if connection.is_idle and connection in (idle := self._idle.get(connection.place, [])):
            idle.remove(connection)

    def _kept(self, place: tuple[str, int]) -> Connection | None:
        idle = self._idle.get(place)
        while idle:
            connection = idle.pop()
            if connection.may_be_used:
                return connection
        return None

    def _sweep_idle(self) -> None:
        self._sweep = None
        for idle in list(self._idle.values()):
            for connection in list(idle):
                if not connection.is_fresh:
                    idle.remove(connection)
                    connection.abort()
                elif self._sweep is None:
                    self._sweep = connection.loop.call_later(KEEP_SECONDS / 2, self._sweep_idle)

    async def _connect(self, place: Place) -> Connection:
        loop = asyncio.get_running_loop()

        def new() -> Connection:
            return Connection(self, (place.host, place.port), loop)

        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if is_address(place.host):
                    _, connection = await loop.create_connection(new, place.host, place.port)
                else:
                    connection = await _connect_by_name(loop, place, new)
        except TimeoutError as error:
            text = f"Connection timeout to host http://{place.netloc}"
            raise aiohttp.ConnectionTimeoutError(text) from error
        except OSError as error:
            why = error.strerror or str(error)
            text = f"Cannot connect to host {place.host}:{place.port} [{why}]"
            raise aiohttp.ClientConnectionError(text) from error
        self._open.add(connection)
        return connection


class HttpResponse:
    """A response whose head is there. Leaving it in the middle closes its connection, which aborts it in the server."""

    __slots__ = ("_connection", "_gathers_since", "_inflating", "_pairs", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self.status = connection.status
        self._gathers_since: float | None = None
        self._pairs = connection.pairs
        try:
            self._inflating = inflating(connection.encoding) if connection.encoding else None
        except InvalidHttp:
            connection.release()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()

    @property
    def headers(self) -> Mapping[str, str]:
        """By name in lower case; the values of a repeated one are joined."""
        found: dict[str, str] = {}
        for name, value in self._pairs:
            key, text = name.decode("latin-1"), value.decode("utf-8", "surrogateescape").strip()
            found[key] = f"{found[key]}, {text}" if key in found else text
        return found

    @property
    def content_type(self) -> str:
        """Without parameters."""
        kind = self._header(b"content-type").decode("latin-1").partition(";")[0].strip().lower()
        return kind or "application/octet-stream"

    async def next(self, ends_at: float | None = None) -> bytes:
        """The next bytes of the body; empty at its end, or at a time of the event loop if none came before.

        Raises:
            aiohttp.ServerTimeoutError: nothing came for `silent_seconds`.
            aiohttp.ClientError: the connection broke, or the body is not what the headers say.
        """
        connection = self._connection
        while connection is not None:
            if self._inflating is not None:
                if block := self._inflating.take(connection):
                    return block
            elif connection.held:
                return connection.take()
            if connection.is_complete:
                return b""
            connection.require()
            if connection.sleeps:  # the rest is waited for, event by event
                connection.wake_for_all()
            elif ends_at is None:
                await connection.something()
            elif connection.loop.time() >= ends_at:
                return b""
            else:
                await connection.wait(ends_at)
        return b""

    async def gathered(self) -> bytes:
        """As `next`, for a reader in no hurry: the rest of the body, or what there is once it is `GATHERED_BYTES`, or
        after `GATHER_SECONDS`. If the connection ends with the body, what comes meanwhile stays in the system, until
        `next` waits for it.
        """
        connection = self._connection
        if connection is None or self._inflating is not None:
            return await self.next()
        since = connection.loop.time()
        if self._gathers_since is None:
            self._gathers_since = since
            connection.sleep_until_end()
        while not (connection.is_complete or connection.held >= GATHERED_BYTES or connection.error is not None):
            until = connection.loop.time() + GATHER_SECONDS
            await connection.wait(until, since=since, gathers=True)
            if connection.loop.time() >= until:
                connection.read_now()
                if connection.held:
                    break
        if connection.is_complete:
            connection.note_gathered(connection.loop.time() - self._gathers_since)
        return await self.next()

    async def each(self, take: Callable[[bytes], bool]) -> None:
        """Give each block to `take` as soon as it comes, until that returns false or there is no more.

        Raises:
            aiohttp.ClientError: as `next`.
        """
        connection = self._connection
        if connection is None or (connection.held and not take(connection.take())) or connection.is_complete:
            return
        connection.require()
        connection.take_on = take
        try:
            await connection.something()
        finally:
            connection.take_on = None

    @property
    def is_inflated(self) -> bool:
        """Whether its body was compressed."""
        return self._inflating is not None

    def taken(self) -> bytes:
        """What has come and was not read, also by the event loop, for one who was cancelled while he waited."""
        if self._connection is None or self._inflating is not None:
            return b""
        self._connection.read_now()
        return self._connection.take() if self._connection.held else b""

    @property
    def is_complete(self) -> bool:
        """Whether all of it was read."""
        return self._connection is None or (self._connection.is_complete and not self._connection.held)

    async def read(self) -> bytes:
        """All of the body."""
        parts = []
        while block := await self.next():
            parts.append(block)
        return b"".join(parts)

    def close(self) -> None:
        """Keep the connection for the next request, or close it if the response was not read to the end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def finish(self, seconds: float) -> None:
        """Leave it to its connection, which is kept once the response is complete, or closed after so many seconds."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release_soon(seconds)

    def _header(self, name: bytes) -> bytes:
        return next((value for key, value in self._pairs if key == name), b"")


async def _connect_by_name(loop: asyncio.AbstractEventLoop, place: Place, new: Callable[[], Connection]) -> Connection:
    """Try the addresses of a host side by side, as RFC 8305 says: the first may lead nowhere."""
    found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    line = await start_connection(found, happy_eyeballs_delay=_TRY_NEXT_SECONDS, interleave=1, loop=loop)
    _, connection = await loop.create_connection(new, sock=line)
    return connection
