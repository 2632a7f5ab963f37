"""The response of one pass: its events, and whether the answer in them is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import urlsplit

from tierwise.engines.http1 import HttpResponse
from tierwise.engines.openai.alike import AlikeEvents
from tierwise.engines.openai.events import LARGE_BYTES, EventParser
from tierwise.engines.openai.wire import NO_REASON, doubted, read_batch, read_plain
from tierwise.spec.call import Chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.engines.engine import PassOn


class Exchange:
    """Reads the chunks of one response.

    Args:
        read: parses an event.
        batches: whether events that came together may be parsed at once, as `read_event` parses each.
        joins: whether texts that come together may become one chunk.
        linger_seconds: the longest wait for more after the finish reason.

    Attributes:
        is_finished: whether the answer is complete.
        has_output: whether a chunk had output.
        ends_at: the time of the event loop after which nothing more is expected; None before the finish reason.
    """

    __slots__ = (
        "_alike",
        "_batches",
        "_error",
        "_events",
        "_is_counted",
        "_joins",
        "_linger",
        "_read",
        "_remark",
        "ends_at",
        "has_output",
        "is_finished",
    )

    def __init__(
        self, read: Callable[[bytes], Chunk], *, batches: bool, joins: bool = False, linger_seconds: float
    ) -> None:
        self.is_finished = False
        self.ends_at: float | None = None
        self._read = read
        self._linger = linger_seconds
        self._events = EventParser()
        self._alike = AlikeEvents()
        self._batches, self._joins = batches, joins
        self._error: Exception | None = None
        self.has_output = False
        self._is_counted = False
        """Whether the last event was usage alone."""
        self._remark = ""
        """On a finish reason that cannot be read."""

    @property
    def is_done(self) -> bool:
        """Whether `[DONE]` was received."""
        return self._events.is_done

    @property
    def has_begun(self) -> bool:
        """Whether an event was received."""
        return self._events.has_any

    @property
    def foreign(self) -> bytes:
        """The first line that is not part of an event stream."""
        return self._events.foreign

    @property
    def document(self) -> bytes | None:
        """The response, if it is a document instead of a stream of events."""
        return self._events.document

    def is_large(self, block: bytes) -> bool:
        """Whether a block completes an event that takes long to read."""
        return self._events.held + len(block) > LARGE_BYTES and b"\n" in block

    def feed(self, block: bytes) -> list[Chunk]:
        """The chunks that a block completes; if an event cannot be read, those before it. Then `require` raises."""
        batch = self._events.batch(block)
        if batch is None:
            try:
                return self._each(self._events.feed(block))
            except ValueError as error:
                self._error = error
                return []
        if self._batches:
            try:
                chunks = read_batch(batch, joins=self._joins)
            except Exception:  # noqa: BLE001 - each is read then, and `require` raises what is wrong with one
                chunks = None
            if chunks is not None:
                return list(map(self._seen, chunks))
        return self._each(batch.each())

    def output(self, block: bytes) -> Sequence[Chunk]:
        """The chunks of a block whose events are output with nothing else but counts and names, as nearly all are after
        the first: of events that are like one before, or of one that comes alone. None of any other block, which `feed`
        then reads.
        """
        if not (self._batches and self._events.is_between):
            return ()
        chunks: Sequence[Chunk] | None = self._alike.read(block)
        if not chunks:
            if not (event := self._events.alone(block)) or (chunk := read_plain(event)) is None:
                return ()
            if not chunk.delta or (chunk.usage is not None and not chunk.usage.completion):
                return ()
            self._alike.note(event, chunk)
            chunks = (chunk,)
        self._is_counted = False
        return chunks

    def last(self, block: bytes) -> list[Chunk]:
        """The chunks of the last block of a pass that was aborted, as far as they can be read."""
        return self.feed(block) if block else []

    @property
    def goes_on(self) -> bool:
        """Whether there was output, and more of it may be all that comes."""
        return self.has_output and self.ends_at is None and self._error is None and not self.is_done

    def require(self) -> None:
        """Raise the error of an event that could not be read."""
        if self._error is not None:
            raise self._error

    def _each(self, events: list[bytes]) -> list[Chunk]:
        found: list[Chunk] = []
        try:
            found.extend(self._seen(self._read(event)) for event in events)
        except Exception as error:  # noqa: BLE001 - `require` raises it
            self._error = error
        return found

    def rest(self) -> list[Chunk]:
        """The chunks at the end of the response, which ended normally.

        An answer with usage and `[DONE]`, or with a finish reason that cannot be read, is complete too.
        """
        chunks = self._each(self._events.rest())
        if self.is_finished or self._error is not None:
            return chunks
        if self._remark or (self.is_done and self._is_counted and self.has_output):
            self.is_finished = True
            chunks.append(Chunk(finish="stop", remark=self._remark or NO_REASON))
        return chunks

    def _seen(self, chunk: Chunk) -> Chunk:
        is_output = chunk.is_output
        self.has_output |= is_output
        if chunk.usage is None and chunk.finish is None and not chunk.remark and not self.is_finished:
            self._is_counted = False
            return chunk  # nearly every one
        if chunk.usage is not None and self.has_output:
            chunk = doubted(chunk, chunk.usage)
        self._is_counted = chunk.usage is not None and not chunk.delta
        if chunk.finish is not None:
            self.is_finished = True
        elif chunk.remark:
            self._remark = chunk.remark
        if self.is_finished and (chunk.finish is not None or is_output):
            self.ends_at = asyncio.get_running_loop().time() + self._linger
        return chunk


class Relay:
    """Gives output as it comes to `pass_on`, of `engine.SendsBlocks`, while nobody waits for the chunks."""

    __slots__ = ("_exchange", "_left", "_pass_on", "_unread")

    def __init__(self, exchange: Exchange, pass_on: PassOn) -> None:
        self._exchange, self._pass_on = exchange, pass_on
        self._left: list[Chunk] = []
        self._unread = b""

    def may_take(self, answer: object) -> TypeGuard[HttpResponse]:
        """Whether what comes next of a response may be taken here."""
        if not (isinstance(answer, HttpResponse) and self._exchange.goes_on):
            return False
        return not (answer.is_inflated or answer.is_complete)

    def take(self, block: bytes) -> bool:
        """Read a block; false if the one who iterates has to go on."""
        exchange = self._exchange
        if chunks := exchange.output(block):
            return self._pass_on(chunks)
        if exchange.is_large(block):
            self._unread = block
            return False
        chunks = exchange.feed(block)
        if not exchange.goes_on:
            self._left = chunks
            return False
        return not chunks or self._pass_on(chunks)

    def unread(self) -> bytes:
        """A block that has to be read in turn; empty if there is none."""
        block, self._unread = self._unread, b""
        return block

    def left(self) -> list[Chunk]:
        """The chunks of the last block, if it was not passed on."""
        chunks, self._left = self._left, []
        return chunks


def advice_on_url(base_url: str) -> str:
    """What to try if a URL has no API; empty if its path names a version."""
    path = urlsplit(base_url).path.rstrip("/")
    return "" if path.rpartition("/")[2].startswith("v") else f"; `url` has no /v1: try {base_url.rstrip('/')}/v1"
