"""The client against an endpoint of known delays, in this very process: what it finds too much is its own error."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import httptools
import msgspec

from tierwise.bench.client import Client
from tierwise.runs.durations import Durations

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY = 0.02
"""Seconds until the first output."""

ACTIONS = 64
"""How many are asked; those of the first eighth only open connections."""

AT_ONCE = 8

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class KnownDelay(asyncio.Protocol):
    """Says, `DELAY` after it was asked, for how many seconds exactly it was silent."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._asked = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._asked = time.monotonic()
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        asyncio.get_running_loop().call_later(DELAY, self._say)

    def _say(self) -> None:
        said = _chunk({"delta": {"content": repr(time.monotonic() - self._asked)}, "finish_reason": "stop"})
        self._transport.write(_HEAD + said + b"0\r\n\r\n")


def _chunk(choice: dict[str, object]) -> bytes:
    event = b"data: %b\n\n" % msgspec.json.encode({"choices": [choice]})
    return b"%x\r\n%b\r\n" % (len(event), event)


async def calibrate() -> Durations:
    """Seconds by which a first output is seen too late; takes a quarter of a second."""
    server = await asyncio.get_running_loop().create_server(KnownDelay, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    errors: list[float] = []
    numbers = iter(range(ACTIONS))

    async def ask(client: Client, numbers: Iterator[int]) -> None:
        for number in numbers:
            reply = await client.act({"model": "calibration"})
            if reply.failure is None and reply.first_output is not None and number >= ACTIONS // 8:
                errors.append(max(0.0, reply.first_output - float(reply.completion.text)))

    try:
        async with Client(f"http://127.0.0.1:{port}", timeout=10.0) as client, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(ask(client, numbers))
    finally:
        server.close()
        await server.wait_closed()
    return Durations.of(errors)
