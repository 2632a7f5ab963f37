"""What answers requests, from one reload to the next: each request keeps the service that it began with."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tierwise.gateway.app import Endpoint
    from tierwise.gateway.exchange import Answering, Exchange

T = TypeVar("T")


class Generation(Generic[T]):
    """Something that answers, and the requests that began with it.

    Args:
        answering: what answers them.
    """

    def __init__(self, answering: T) -> None:
        self.answering = answering
        self.running = 0
        self._is_left = asyncio.Event()

    def begin(self) -> T:
        """A request begins."""
        self.running += 1
        return self.answering

    def end(self) -> None:
        """It has ended."""
        self.running -= 1
        if not self.running:
            self._is_left.set()

    async def left(self) -> None:
        """Wait until none of its requests runs. Call it once no new ones come."""
        while self.running:
            self._is_left.clear()
            await self._is_left.wait()


class Front:
    """The endpoint as one application over all reloads: of ASGI, and of the exchanges that the APIs answer.

    Args:
        app: what answers until the first reload.
    """

    def __init__(self, app: Endpoint) -> None:
        self.now = Generation(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        generation = self.now
        app = generation.begin()
        try:
            await app(scope, receive, send)
        finally:
            generation.end()

    def answering(self, path: str) -> Answering | None:
        """What answers a POST to a path; None if it is not that of an API."""
        return None if self.now.answering.answering(path) is None else self._answer

    async def _answer(self, exchange: Exchange) -> None:
        generation = self.now
        app = generation.begin()
        try:
            await app.answer(exchange)
        finally:
            generation.end()

    def use(self, app: Endpoint) -> Generation[Endpoint]:
        """Let another application answer new requests. Returns the generation before."""
        before, self.now = self.now, Generation(app)
        return before

    def drain(self) -> None:
        """The endpoint is not ready from now on, because it stops."""
        self.now.answering.state.draining = True
