"""Reads a server's response with a limit for its silence.

The limit covers the waits for the server, and only those. aiohttp's own `sock_read` also runs between reads: with
aiohttp 3.14 it could outlive a response that was read slowly, expire in the connection pool, and fail the next request.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Self, TypeAlias

import aiohttp

from tierwise.engines.http1 import HttpResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_DRAIN_SECONDS = 0.5  # from `[DONE]` to the end of the response; then the connection is closed
_ERROR_SECONDS = 5.0  # for the body of an error
_MOST_ERROR_BYTES = 64 * 1024


@asynccontextmanager
async def silence_limit(seconds: float) -> AsyncGenerator[None, None]:
    """Bound the wait for the headers of a response.

    Raises:
        aiohttp.ServerTimeoutError: the wait took longer.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        if isinstance(error, aiohttp.ServerTimeoutError):  # of aiohttp's own limit for connecting
            raise
        raise _timeout(seconds) from error


Response: TypeAlias = aiohttp.ClientResponse | HttpResponse


def reading(response: Response, silent_seconds: float) -> AbstractContextManager[Body | HttpResponse]:
    """The body of a response; our own client counts silence itself, from the request on."""
    return nullcontext(response) if isinstance(response, HttpResponse) else Body(response, silent_seconds)


class Body:
    """The body of a response of aiohttp's, read as it comes.

    One timer serves all waits of a response: `asyncio.timeout` around each would cost 4 µs per block.
    """

    def __init__(self, response: aiohttp.ClientResponse, silent_seconds: float) -> None:
        self._response = response
        self._seconds = silent_seconds
        self._loop = asyncio.get_running_loop()
        self._waits_since: float | None = None
        self._is_silent = False

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._seconds, self._check)
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    async def next(self, ends_at: float | None = None) -> bytes:
        """The next bytes; empty at the end, or at a time of the event loop if none came before.

        Raises:
            aiohttp.ServerTimeoutError: nothing came for `silent_seconds`.
            aiohttp.ClientError: the connection broke.
        """
        self._waits_since = self._loop.time()
        try:
            if ends_at is None:
                return await self._response.content.readany()
            async with asyncio.timeout_at(ends_at):
                return await self._response.content.readany()
        except aiohttp.ClientError as error:
            if self._is_silent:
                raise _timeout(self._seconds) from error
            raise
        except TimeoutError:
            return b""
        finally:
            self._waits_since = None

    async def gathered(self) -> bytes:
        """As `next`: nothing is gathered."""
        return await self.next()

    def taken(self) -> bytes:
        """What has come and was not read, for one who was cancelled while he waited."""
        with suppress(aiohttp.ClientError):
            return self._response.content.read_nowait()
        return b""

    def _check(self) -> None:
        now = self._loop.time()
        silent_at = (now if self._waits_since is None else self._waits_since) + self._seconds
        if now < silent_at:
            self._timer = self._loop.call_at(silent_at, self._check)
        else:
            self._is_silent = True
            self._response.close()  # the wait ends with an error


def _timeout(seconds: float) -> aiohttp.ServerTimeoutError:
    return aiohttp.ServerTimeoutError(f"it sent nothing for {seconds:g} s")


async def beginning(response: Response) -> bytes:
    """The body of an error response, up to a maximum size and time."""
    parts: list[bytes] = []
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(_ERROR_SECONDS):
            async for part in _blocks(response):
                parts.append(part)
                if sum(map(len, parts)) > _MOST_ERROR_BYTES:
                    break
    return b"".join(parts)[:_MOST_ERROR_BYTES]


async def drain(response: Response) -> None:
    """Read to the end of the response, so that the connection can be reused. Our own does that while others go on."""
    if isinstance(response, HttpResponse):
        response.finish(_DRAIN_SECONDS)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in _blocks(response):
                pass


async def _blocks(response: Response) -> AsyncGenerator[bytes]:
    """The body as it comes."""
    if isinstance(response, HttpResponse):
        while block := await response.next():
            yield block
    else:
        async for block in response.content.iter_any():
            yield block
