"""Messages between the supervisor and a worker, over a connected socket, in order."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

import msgspec

_LOG = logging.getLogger("tierwise")
_LENGTH = 4

Handler = Callable[[Any], Any] | Callable[[Any], Awaitable[Any]]


class Frame(msgspec.Struct, array_like=True, frozen=True):
    """One message: what it is about, and a body of plain data. A question and its answer have the same number."""

    kind: Literal["tell", "ask", "answer"]
    number: int
    about: str
    body: Any = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


class Channel:
    """One end of the connection. `run` reads until the other end is gone.

    Args:
        handlers: what is called with the body of a message, by what it is about. What it returns answers a question.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._writer: asyncio.StreamWriter | None = None
        self._early: list[bytes] | None = []
        """What was sent before the connection was there; None from then on."""

    async def run(self, connected: socket.socket) -> None:
        """Read messages until the other end is closed."""
        reader, self._writer = await asyncio.open_unix_connection(sock=connected)
        early, self._early = self._early or [], None
        self._writer.writelines(early)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
                    self._receive(_decode(await reader.readexactly(size)))
        finally:
            self._writer.close()
            self._writer = None
            for question in self._open.values():
                if not question.done():
                    question.set_result(None)

    def tell(self, about: str, body: Any = None) -> None:
        """Send a message; without effect if the other end is gone."""
        self._send(Frame("tell", 0, about, body))

    async def ask(self, about: str, body: Any = None, *, seconds: float = 2.0) -> Any:
        """Send a question. Returns its answer; None if none came in time, or the other end is gone."""
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._send(Frame("ask", number, about, body)):
                return None
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._open[number]

    def _send(self, frame: Frame) -> bool:
        data = _encode(frame)
        block = len(data).to_bytes(_LENGTH, "big") + data
        if self._early is not None:
            self._early.append(block)
        elif self._writer is None or self._writer.is_closing():
            return False
        else:
            self._writer.write(block)
        return True

    def _receive(self, frame: Frame) -> None:
        if frame.kind == "answer":
            if (question := self._open.get(frame.number)) is not None and not question.done():
                question.set_result(frame.body)
            return
        task = asyncio.create_task(self._handle(frame))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _handle(self, frame: Frame) -> None:
        answer = None
        try:
            if (handler := self._handlers.get(frame.about)) is not None:
                answer = handler(frame.body)
                if asyncio.iscoroutine(answer):
                    answer = await answer
        except Exception:  # noqa: BLE001 - one message must not end the connection
            _LOG.exception("a message about %s failed", frame.about)
            answer = None
        if frame.kind == "ask":
            self._send(Frame("answer", frame.number, frame.about, answer))
