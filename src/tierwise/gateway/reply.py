"""Responses of all APIs: one JSON body, or server-sent events whose headers do not wait for the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Self

import msgspec

from tierwise.gateway.failures import body_of, headers_of, status_of
from tierwise.spec.call import Chunk
from tierwise.spec.errors import TierwiseError
from tierwise.spec.json import Json

if TYPE_CHECKING:
    from starlette.types import Send

FIRST_BYTES_SECONDS = 10.0
"""Maximum delay of a stream's headers while a pass is shown, in which an error can still set the HTTP status. Below the
idle limits of common proxies (30 s and more).
"""
NOTHING_TO_SHOW_SECONDS = 0.15
"""The same while no pass is shown: the policy may need long, and its user should know that it works."""
KEEP_ALIVE_SECONDS = 5.0
"""Interval of keep-alive comments while there is no output."""
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


async def send_encoded(send: Send, status: int, content: bytes, headers: Mapping[str, str]) -> None:
    """Send one complete response."""
    headers = {**headers, "content-type": "application/json", "content-length": str(len(content))}
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": content})


def failure(error: TierwiseError, usage: Json = None) -> Json:
    """An error in OpenAI's format; `usage` is the spending so far."""
    return body_of(error) if usage is None else {**body_of(error), "usage": usage}


DONE = b"data: [DONE]\n\n"
"""The event that ends a stream of OpenAI's chat completions and completions."""


def error_event(error: TierwiseError, usage: Json = None) -> bytes:
    """The event that ends such a stream with an error."""
    return b"data: %b\n\n" % encoded(failure(error, usage))


async def send_error(
    send: Send,
    error: TierwiseError,
    headers: Mapping[str, str],
    usage: Json = None,
    *,
    shape: Callable[[TierwiseError, Json], Json] = failure,
    status: int = 0,
) -> None:
    """Send an error as a complete response.

    Args:
        send: ASGI's.
        error: what is answered.
        headers: besides those of the error.
        usage: the spending so far.
        shape: the format of an API.
        status: of an API that has its own; 0 for that of the error.
    """
    await send_encoded(
        send, status or status_of(error).http, encoded(shape(error, usage)), {**headers, **headers_of(error)}
    )


class EventStream:
    """A streamed answer. Its headers wait for its first content, so that an error before that has a status of its own.

    They wait at most `first_bytes` while a pass is shown, and `NOTHING_TO_SHOW_SECONDS` otherwise; a comment follows
    them then. One task sends: events queued while it is busy are sent together, and writers block while the queue is
    full because the client reads slowly.

    Args:
        headers: called when the headers are sent.
        progress: returns the text of the keep-alive comments.
        is_showing: returns whether a pass is shown as it comes.
        first_bytes: seconds.
    """

    def __init__(
        self,
        send: Send,
        headers: Callable[[], Mapping[str, str]],
        progress: Callable[[], str],
        *,
        is_showing: Callable[[], bool],
        first_bytes: float,
    ) -> None:
        self._send = send
        self._headers = headers
        self._progress = progress
        self._is_showing = is_showing
        self._first_bytes = first_bytes
        self._held: dict[int, list[bytes]] = {}
        """Events without content before the first one with content, by choice."""
        self._waiting: list[bytes] = []
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()
        self._is_open = True
        self._is_silent = True
        self._has_begun = False

    def __enter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_all())
        self._sending.add_done_callback(lambda _: self._emptied.set())  # nobody may wait for a sender that broke
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._timer = loop.call_later(min(NOTHING_TO_SHOW_SECONDS, self._first_bytes), self._beat)
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()
        self._sending.cancel()

    async def chunk(self, choice: int, chunk: Chunk, event: bytes) -> None:
        """Send the event of a chunk, or keep it until there is content. Nothing is sent for an empty one."""
        if not event:
            return
        if self._has_begun or chunk.is_output:
            await self.event(event)
        elif "role" in chunk.delta:  # of a pass that replaces one which failed
            self._held[choice] = [event]
        else:
            self._held.setdefault(choice, []).append(event)

    async def event(self, event: bytes) -> None:
        """Send one event; blocks while the queue is full."""
        self._is_silent = False
        self._say(event)
        if len(self._waiting) >= MOST_WAITING:
            self._emptied.clear()
            await self._emptied.wait()
            if self._sending.done():
                self._sending.result()

    @property
    def has_begun(self) -> bool:
        """Whether something was sent, so that an error is no response of its own."""
        return self._has_begun

    async def done(self, events: bytes) -> None:
        """End the stream with its last events."""
        await self._end(events)

    def _say(self, event: bytes) -> None:
        self._has_begun = True
        if self._held:
            self._waiting += chain.from_iterable(self._held.values())
            self._held = {}
        self._waiting.append(event)
        self._filled.set()

    async def _end(self, event: bytes) -> None:
        self._say(event)
        self._is_open = False
        await self._sending

    def _beat(self) -> None:
        """Send a keep-alive comment, unless the headers still wait."""
        loop = asyncio.get_running_loop()
        left = self._began + self._first_bytes - loop.time()
        if not self._has_begun and left > 0 and self._is_showing():
            self._timer = loop.call_later(min(NOTHING_TO_SHOW_SECONDS, left), self._beat)
            return
        if self._is_silent and not self._waiting:
            self._say(f": {self._progress()}\n\n".encode())
        self._is_silent = True
        self._timer = loop.call_later(KEEP_ALIVE_SECONDS, self._beat)

    async def _send_all(self) -> None:
        await self._filled.wait()
        headers = {**_EVENT_STREAM, **self._headers()}
        await self._send({"type": "http.response.start", "status": 200, "headers": _raw(headers)})
        more = True
        while more:
            await self._filled.wait()
            data, more = b"".join(self._waiting), self._is_open
            self._waiting.clear()
            self._filled.clear()
            self._emptied.set()
            await self._send({"type": "http.response.body", "body": data, "more_body": more})


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
