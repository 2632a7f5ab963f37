"""Health checks of an engine. Each uses a new connection, because the engine must still accept connections."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import aiohttp

from tierwise.engines.within import within


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """The result of one request to an engine's health path."""

    status: int | None = None
    """HTTP status; None if there was no response."""
    refused: bool = False
    """Whether the connection was refused. A busy engine does not refuse: the kernel queues connections for it."""

    @property
    def is_healthy(self) -> bool:
        return self.status == 200

    def __str__(self) -> str:
        if self.status is not None:
            return f"answers {self.status}"
        return "refuses connections" if self.refused else "does not answer"


def health_client() -> aiohttp.ClientSession:
    """A client that opens a connection for every check."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))


async def check_health(client: aiohttp.ClientSession, url: str, seconds: float) -> HealthCheck:
    """Request the health path at this URL, with a timeout in seconds."""
    try:
        async with within(seconds, client, url) as response:
            return HealthCheck(status=response.status)
    except aiohttp.ClientConnectorError as error:
        return HealthCheck(refused=error.os_error.errno == errno.ECONNREFUSED)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return HealthCheck()
