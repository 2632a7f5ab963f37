"""Responses of all APIs: one JSON body, or server-sent events whose headers do not wait for the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Self

import msgspec

from tierwise.gateway.failures import body_of
from tierwise.spec.call import Chunk
from tierwise.spec.errors import TierwiseError
from tierwise.spec.json import Json

if TYPE_CHECKING:
    from tierwise.gateway.exchange import Exchange

FIRST_BYTES_SECONDS = 10.0
"""Maximum delay of a stream's headers while a pass is shown, in which an error can still set the HTTP status. Below the
idle limits of common proxies (30 s and more).
"""
NOTHING_TO_SHOW_SECONDS = 0.15
"""The same while no pass is shown: the policy may need long, and its user should know that it works."""
KEEP_ALIVE_SECONDS = 5.0
"""Interval of keep-alive comments while there is no output. Below the idle limits of common proxies, as above."""
MOST_WAITING = 256
"""Maximum queued events for a slow reader."""

_EVENT_STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would hold events back
}

_encode = msgspec.json.Encoder().encode


def encoded(body: Json) -> bytes:
    """A body as JSON.

    Raises:
        UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
    """
    return _encode(body)


async def send_encoded(exchange: Exchange, status: int, content: bytes, headers: Mapping[str, str]) -> None:
    """Send one complete response."""
    await exchange.respond(status, {**headers, "content-type": "application/json"}, content)


def failure(error: TierwiseError, usage: Json = None) -> Json:
    """An error in OpenAI's format; `usage` is the spending so far."""
    return body_of(error) if usage is None else {**body_of(error), "usage": usage}


DONE = b"data: [DONE]\n\n"
"""The event that ends a stream of OpenAI's chat completions and completions."""


def error_event(error: TierwiseError, usage: Json = None) -> bytes:
    """The event that ends such a stream with an error."""
    return b"data: %b\n\n" % encoded(failure(error, usage))


class EventStream:
    """A streamed answer. Its headers wait for its first content, so that an error before that has a status of its own.

    They wait at most `first_bytes` while a pass is shown, and `NOTHING_TO_SHOW_SECONDS` otherwise; a comment follows
    them then. Events wait for `flush`, and while the client reads slowly; those that wait are sent together. The first
    wait for the end of the turn of the event loop: an answer that is whole has the headers of a whole one.

    Args:
        exchange: what is answered.
        written: makes the event of a chunk of a choice, given the choice's index.
        headers: called when the headers are sent.
        progress: returns what keeps the stream alive while there is no output: a comment, and events that say nothing.
        is_showing: returns whether a pass is shown as it comes.
        first_bytes: seconds.
    """

    __slots__ = (
        "_began",
        "_beginning",
        "_exchange",
        "_first_bytes",
        "_has_begun",
        "_headers",
        "_held",
        "_is_showing",
        "_is_silent",
        "_loop",
        "_progress",
        "_timer",
        "_waiting",
        "_written",
    )

    def __init__(
        self,
        exchange: Exchange,
        written: Callable[[int, Chunk], bytes],
        headers: Callable[[], Mapping[str, str]],
        progress: Callable[[], bytes],
        *,
        is_showing: Callable[[], bool],
        first_bytes: float,
    ) -> None:
        self._exchange = exchange
        self._written = written
        self._headers = headers
        self._progress = progress
        self._is_showing = is_showing
        self._first_bytes = first_bytes
        self._held: dict[int, list[bytes]] = {}
        """Events without content before the first one with content, by choice."""
        self._waiting: list[bytes] = []
        self._beginning: asyncio.Handle | None = None
        self._is_silent = True
        self._has_begun = False
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        self._exchange.when_writable = self._write
        self._began = self._loop.time()
        self._timer = self._loop.call_later(min(NOTHING_TO_SHOW_SECONDS, self._first_bytes), self._beat)
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._exchange.when_writable = None
        if self._beginning is not None:
            self._beginning.cancel()
        # These lead back here: all of the request would be left to the garbage collector.
        del self._timer, self._beginning, self._written, self._headers, self._progress, self._is_showing

    def chunks(self, choice: int, chunks: Sequence[Chunk]) -> bool:
        """Add the events of chunks that came together, and `flush`. Events before the first content wait for it."""
        written = self._written
        for chunk in chunks:
            event = written(choice, chunk)
            if not event:
                continue
            if self._has_begun:  # nothing is held back any more
                self._waiting.append(event)
                self._is_silent = False
            elif chunk.is_output:
                self.event(event)
            elif "role" in chunk.delta:  # of a pass that replaces one which failed
                self._held[choice] = [event]
            else:
                self._held.setdefault(choice, []).append(event)
        return self.flush()

    def event(self, event: bytes) -> None:
        """Add one event."""
        self._is_silent = False
        self._take_held()
        self._waiting.append(event)

    def flush(self) -> bool:
        """Write what waits, unless the client reads slowly; then it is written when the client has caught up.

        Returns:
            Whether more events may be added; if not, wait for `caught_up`.
        """
        waiting = self._waiting
        if not self._exchange.response_started:
            self._beginning = self._beginning or self._loop.call_soon(self._write)
        elif waiting and self._exchange.write(waiting[0] if len(waiting) == 1 else b"".join(waiting)):
            waiting.clear()
        return len(waiting) < MOST_WAITING

    def _write(self) -> None:
        if self._waiting and self._exchange.is_writable:
            self._begin()
            self.flush()

    async def caught_up(self) -> None:
        """Wait until the client, which reads slowly, has taken what waits."""
        await self._exchange.writable()
        self._write()

    @property
    def has_begun(self) -> bool:
        """Whether something was sent, so that an error is no response of its own."""
        return self._has_begun

    async def done(self, events: bytes) -> None:
        """End the stream with its last events."""
        self._take_held()
        await self._exchange.writable()
        self._begin()
        data = b"".join((*self._waiting, events))
        self._waiting.clear()
        await self._exchange.end(data)

    def _take_held(self) -> None:
        self._has_begun = True
        if self._held:
            self._waiting += chain.from_iterable(self._held.values())
            self._held = {}

    def _begin(self) -> None:
        if not self._exchange.response_started:
            self._exchange.begin(200, {**_EVENT_STREAM, **self._headers()})

    def _beat(self) -> None:
        """Send what keeps the stream alive, unless the headers still wait."""
        left = self._began + self._first_bytes - self._loop.time()
        if not self._has_begun and left > 0 and self._is_showing():
            self._timer = self._loop.call_later(min(NOTHING_TO_SHOW_SECONDS, left), self._beat)
            return
        if self._is_silent and not self._waiting:
            self.event(self._progress())
            self.flush()
        self._is_silent = True
        self._timer = self._loop.call_later(KEEP_ALIVE_SECONDS, self._beat)
