"""How late events arrive when many streams are open: an upstream that says when it sent each event, and a client.

    python benchmarks/many_streams.py upstream    serve the upstream; prints its URL

Both clocks are the machine's monotonic one. Every stream opens a connection of its own, all at once, as newcomers do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import httptools
import uvloop

from processes import listen

SENT = re.compile(rb'"content": ?"t=([0-9.]+)')
DONE = b"data: [DONE]"
MOST_SECONDS = 90.0
ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
LISTING = {"object": "list", "data": [{"id": "fast", "object": "model", "owned_by": "vllm"}]}
"""Routers ask for the models."""


# ── the upstream ────────────────────────────────────────────────────────
class Paced(asyncio.Protocol):
    """Streams `max_tokens` events, one every `x_pace` seconds, each with the time at which it was sent."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start()

    def _start(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body: dict[str, Any] = json.loads(self._body) if self._body else {}
        self._start()
        if not body.get("stream"):
            text = json.dumps(ANSWER if body else LISTING).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(head % len(text) + text)
            return
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        self._transport.write(head)
        began, pace = self._loop.time(), body.get("x_pace", 0.02)
        self._next(0, body["max_tokens"], began, pace)

    def _next(self, number: int, count: int, began: float, pace: float) -> None:
        if self._transport.is_closing():
            return
        if number < count:
            self._say({"delta": {"content": f"t={time.monotonic():.6f}"}, "finish_reason": None})
            self._loop.call_at(began + (number + 1) * pace, self._next, number + 1, count, began, pace)
            return
        usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
        self._say({"delta": {}, "finish_reason": "stop"}, usage=usage)
        self._write(DONE + b"\n\n", last=b"0\r\n\r\n")

    def _say(self, choice: dict[str, Any], **fields: Any) -> None:
        event = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}], **fields}
        self._write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _write(self, data: bytes, last: bytes = b"") -> None:
        self._transport.write(b"%x\r\n%b\r\n%b" % (len(data), data, last))


async def serve() -> None:
    listener, url = listen()
    server = await asyncio.get_running_loop().create_server(Paced, sock=listener)
    print(url, flush=True)
    await server.serve_forever()


# ── the client ──────────────────────────────────────────────────────────
@dataclass(slots=True)
class Streams:
    """What the clients of one block saw."""

    delays: list[float] = field(default_factory=list)
    """Seconds of each event after the first of its stream, from the upstream to the client."""
    firsts: list[float] = field(default_factory=list)
    """Seconds to the first event of each stream, from before its connection."""
    refused: int = 0
    """Streams that got no connection, another status than 200, or no end."""
    stalled: int = 0
    """Streams with 10 s between two events, or before the first."""

    def p99(self, which: str) -> float:
        found = sorted(getattr(self, which))
        return found[min(len(found) - 1, int(0.99 * len(found)))] if found else float("nan")


class Watcher(asyncio.Protocol):
    """One stream on a connection of its own."""

    def __init__(self, request: bytes, began: float, seen: Streams) -> None:
        self._request, self._began, self._seen = request, began, seen
        self._last = began
        self._is_first = self._is_slow = True
        self._is_slow = False
        self._rest = b""
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        text = self._rest + data
        end = text.rfind(b"\n") + 1
        for sent in SENT.findall(text, 0, end):
            self._is_slow |= now - self._last > 10.0
            self._last = now
            if self._is_first:
                self._seen.firsts.append(now - self._began)
                self._is_first = False
            else:
                self._seen.delays.append(now - float(sent))
        if DONE in text:
            self._finish(is_whole=True)
        self._rest = text[end:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._finish(is_whole=False)

    def _finish(self, *, is_whole: bool) -> None:
        if not self.done.done():
            self._seen.stalled += self._is_slow
            self.done.set_result(is_whole)
            self._transport.abort()


async def watch(url: str, *, streams: int, events: int, pace: float) -> Streams:
    """Open `streams` streams at once, and read them to their ends."""
    body = {
        "model": "fast",
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": events,
        "stream": True,
        "x_pace": pace,
    }
    content, parts = json.dumps(body).encode(), urlsplit(url)
    head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(content)}\r\n\r\n".encode() + content
    seen, loop = Streams(), asyncio.get_running_loop()

    async def one() -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(MOST_SECONDS):
                made = await loop.create_connection(
                    lambda: Watcher(request, began, seen), parts.hostname or "", parts.port or 80
                )
                is_whole = await made[1].done
        except (OSError, TimeoutError):
            is_whole = False
        seen.refused += not is_whole

    await asyncio.gather(*(one() for _ in range(streams)))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=["upstream"])
    parser.parse_args()
    uvloop.run(serve())


if __name__ == "__main__":
    main()
