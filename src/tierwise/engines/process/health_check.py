"""Asks an engine whether it is well, over a connection of its own: that it still accepts one is half of the answer."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import aiohttp


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What an engine's health path had to say at one moment."""

    status: int | None = None
    """None where nothing came back."""
    refused: bool = False
    """Whether nobody listens there. A busy engine does not refuse: the kernel queues for it."""

    @property
    def is_well(self) -> bool:
        return self.status == 200

    def __str__(self) -> str:
        if self.status is not None:
            return f"says {self.status}"
        return "is refused, nobody listens there" if self.refused else "does not answer"


def health_client() -> aiohttp.ClientSession:
    """A client that connects anew for every check."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


async def feel(client: aiohttp.ClientSession, url: str, seconds: float) -> Pulse:
    """What the health path at this URL says within so many seconds."""
    try:
        async with client.get(url, timeout=aiohttp.ClientTimeout(total=seconds)) as response:
            return Pulse(status=response.status)
    except aiohttp.ClientConnectorError as error:
        return Pulse(refused=error.os_error.errno == errno.ECONNREFUSED)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Pulse()
