"""The response of one pass: its events, and whether the answer in them is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from tierwise.engines.openai.events import EventParser
from tierwise.engines.openai.wire import NO_REASON, doubted
from tierwise.spec.call import Chunk

LARGE_BYTES = 64 * 1024
"""Larger events are read in turn."""


class Exchange:
    """Reads the chunks of one response.

    Args:
        read: parses an event.
        linger_seconds: the longest wait for more after the finish reason.

    Attributes:
        is_finished: whether the answer is complete.
        ends_at: the time of the event loop after which nothing more is expected; None before the finish reason.
    """

    def __init__(self, read: Callable[[bytes], Chunk], *, linger_seconds: float) -> None:
        self.is_finished = False
        self.ends_at: float | None = None
        self._read = read
        self._linger = linger_seconds
        self._events = EventParser()
        self._has_output = False
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

    def feed(self, block: bytes) -> Iterator[Chunk]:
        """The chunks that a block completes."""
        return map(self._seen, self._events.feed(block))

    def rest(self) -> Iterator[Chunk]:
        """The chunks at the end of the response, which ended normally.

        An answer with usage and `[DONE]`, or with a finish reason that cannot be read, is complete too.
        """
        yield from map(self._seen, self._events.rest())
        if self.is_finished:
            return
        if self._remark or (self.is_done and self._is_counted and self._has_output):
            self.is_finished = True
            yield Chunk(finish="stop", remark=self._remark or NO_REASON)

    def _seen(self, event: bytes) -> Chunk:
        chunk = self._read(event)
        is_output = chunk.is_output
        self._has_output |= is_output
        if chunk.usage is not None and self._has_output:
            chunk = doubted(chunk, chunk.usage)
        self._is_counted = chunk.usage is not None and not chunk.delta
        if chunk.finish is not None:
            self.is_finished = True
        elif chunk.remark:
            self._remark = chunk.remark
        if self.is_finished and (chunk.finish is not None or is_output):
            self.ends_at = asyncio.get_running_loop().time() + self._linger
        return chunk


def advice_on_url(base_url: str) -> str:
    """What to try if a URL has no API; empty if its path names a version."""
    path = urlsplit(base_url).path.rstrip("/")
    return "" if path.rpartition("/")[2].startswith("v") else f"; `url` has no /v1: try {base_url.rstrip('/')}/v1"
