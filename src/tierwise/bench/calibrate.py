"""Measures the client's own timing error, against an in-process endpoint with a known delay."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tierwise.bench.client import Client
from tierwise.runs.durations import Durations
from tierwise.testing.replies import chunked
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

DELAY = 0.02
"""Seconds from the request to the first output."""

ACTIONS = 64
"""Number of actions. The first eighth only opens connections and is not counted."""

CONCURRENCY = 8


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _silence(request: HttpRequest) -> bytes:
    """A response whose text is the exact number of seconds between the request and the reply."""
    choice = {"delta": {"content": repr(time.monotonic() - request.arrived)}, "finish_reason": "stop"}
    return _HEAD + chunked(b"data: %b\n\n" % msgspec.json.encode({"choices": [choice]})) + b"0\r\n\r\n"


class _KnownDelay(FakeServer):
    """Replies after `DELAY` with the delay it measured itself."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:  # noqa: ARG002 - every request gets the same reply
        return HttpReply(response=partial(_silence, request), waits=DELAY)


async def calibrate() -> Durations:
    """The distribution of the client's delay in seeing a first output, in seconds. Takes about 0.25 s."""
    errors: list[float] = []
    numbers = iter(range(ACTIONS))

    async def ask(client: Client, numbers: Iterator[int]) -> None:
        for number in numbers:
            reply = await client.act({"model": "calibration"})
            if reply.failure is None and reply.first_output is not None and number >= ACTIONS // 8:
                errors.append(max(0.0, reply.first_output - float(reply.completion.text)))

    async with _KnownDelay() as server:
        root = server.url.removesuffix("/v1")
        async with Client(root, timeout=10.0) as client, asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(ask(client, numbers))
    return Durations.of(errors)
