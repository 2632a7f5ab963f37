"""HTTP requests with a time limit that never swallows a cancellation."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_UNLIMITED = aiohttp.ClientTimeout(total=None)


@asynccontextmanager
async def within(
    seconds: float, session: aiohttp.ClientSession, url: str, *, method: str = "GET", **options: Any
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """The response to a request; the limit holds for all of the block.

    The limit is not aiohttp's: a cancellation in the step in which that runs out is lost, taken for the timeout. A
    program would go on after Ctrl-C, or a stop wait forever.

    Args:
        seconds: from the connection to the end of the block.
        session: its own timeout does not count.
        url: of the request.
        method: of HTTP.
        options: of aiohttp's `request`.

    Raises:
        TimeoutError: the time ran out.
        aiohttp.ClientError: the request failed.
    """
    async with asyncio.timeout(seconds), session.request(method, url, timeout=_UNLIMITED, **options) as response:
        yield response
