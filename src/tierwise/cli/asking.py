"""A request of this process for its own endpoint, without a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tierwise.gateway.exchange import Exchange


class Posted(Exchange):
    """A POST of a JSON body, whose response goes into a queue.

    Attributes:
        status: of the response, once it has begun.
        is_stream: whether the response consists of events.
        sent: its parts.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__("", [(b"content-type", b"application/json")])
        self._body = body
        self.status, self.is_stream = 0, False
        self.sent: asyncio.Queue[bytes | None] = asyncio.Queue()

    @property
    def whole(self) -> bytes:
        return self._body

    async def part(self) -> tuple[bytes, bool]:
        return self._body, False

    async def respond(self, status: int, headers: Mapping[str, str], content: bytes) -> None:  # noqa: ARG002 - of HTTP
        self.status = status
        self.response_started = True
        await self.end(content)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - of HTTP
        self.status, self.is_stream = status, True
        self.response_started = True

    def write(self, data: bytes) -> bool:
        self.sent.put_nowait(data)
        return True

    async def end(self, data: bytes) -> None:
        self.sent.put_nowait(data)
        self.response_complete = True

    @property
    def is_writable(self) -> bool:
        return True

    async def writable(self) -> None:
        return
