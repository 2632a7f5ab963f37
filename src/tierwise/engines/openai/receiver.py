"""Reads the response of one pass block by block, to its end or until the pass is aborted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tierwise.engines.openai.exchange import Exchange, Relay
from tierwise.spec import turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.engines.engine import PassOn
    from tierwise.engines.http1 import HttpResponse
    from tierwise.engines.openai.receive import Body
    from tierwise.spec.call import Chunk


class Receiver:
    """Reads one response.

    Args:
        exchange: makes chunks of the blocks.
        answer: the body.
        at_once: as of `engine.SendsBlocks`.
        pass_on: as of `engine.SendsBlocks`.
    """

    __slots__ = ("_aborted", "_answer", "_at_once", "_exchange", "_large", "_relay")

    def __init__(
        self, exchange: Exchange, answer: Body | HttpResponse, *, at_once: bool, pass_on: PassOn | None
    ) -> None:
        self._exchange, self._answer, self._at_once = exchange, answer, at_once
        self._relay = None if pass_on is None else Relay(exchange, pass_on)
        self._large = b""
        """A block that waits for its turn."""
        self._aborted: asyncio.CancelledError | None = None

    async def chunks(self) -> Sequence[Chunk] | None:
        """The chunks that come next; None at the end of the answer or of the response. They are empty if all was passed
        on, and whoever took it wants to be waited for.

        Raises:
            asyncio.CancelledError: the pass was aborted. If something had come that was not read, so that it is
                counted, that is returned first, and the next call raises.
            aiohttp.ClientError: as `HttpResponse.next`.
            ValueError, EngineError: an event cannot be read, or is an error.
        """
        if self._aborted is not None:
            raise self._aborted
        try:
            return await self._next()
        except asyncio.CancelledError as error:
            if not (came := self._came()):
                raise
            self._aborted = error
            return came

    async def _next(self) -> Sequence[Chunk] | None:
        exchange, answer, relay = self._exchange, self._answer, self._relay
        while not exchange.is_done:
            if relay is not None and relay.may_take(answer):
                await answer.each(relay.take)
                if not (block := relay.unread()):
                    return relay.left()
            else:
                gathers = self._at_once and exchange.goes_on
                block = await (answer.gathered() if gathers else answer.next(exchange.ends_at))
                if not block:
                    return None
            if chunks := await self._read(block):
                return chunks
            exchange.require()
        return None

    async def _read(self, block: bytes) -> list[Chunk]:
        if not self._exchange.is_large(block):
            return self._exchange.feed(block)
        self._large = block
        async with turns.turn():
            self._large = b""
            return self._exchange.feed(block)

    def _came(self) -> list[Chunk]:
        """The chunks of all that has come and was not read, as far as they can be read."""
        chunks: list[Chunk] = []
        if self._relay is not None:
            chunks += self._relay.left()
            chunks += self._exchange.last(self._relay.unread())
        chunks += self._exchange.last(self._large)
        chunks += self._exchange.last(self._answer.taken())
        return chunks
