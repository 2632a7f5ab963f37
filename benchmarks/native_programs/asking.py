"""A client of `native_servers.py` under load: prints its requests, and the CPU seconds that they took, as JSON.

    python asking.py CLIENT URL json|stream CALLERS SECONDS

CLIENT is `httptools` (the least in Python), `aiohttp`, `tierwise` (the client of our engines) or `pyreqwest` (Rust).
Each reads all of a body; a stream is read piece by piece, as it comes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvloop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Ask = Callable[[], Awaitable[int]]
    """Sends one request; returns the bytes of the body."""

HEADERS = {"content-type": "application/json"}
WARM_SECONDS = 0.3


def body_for(kind: str) -> bytes:
    talk = [{"role": "user", "content": "Say a few words about the weather in the mountains in May."}]
    return json.dumps({"model": "fast", "messages": talk, "max_tokens": 16, "stream": kind == "stream"}).encode()


async def aiohttp_client(url: str, body: bytes) -> AsyncIterator[Ask]:
    import aiohttp  # noqa: PLC0415 - only the client that is measured

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask() -> int:
            async with session.post(url, data=body, headers=HEADERS) as answer:
                return sum([len(block) async for block in answer.content.iter_any()])

        yield ask


async def tierwise_client(url: str, body: bytes) -> AsyncIterator[Ask]:
    from tierwise.engines.http1 import HttpPool, head_lines, place_of  # noqa: PLC0415

    pool, place, head = HttpPool(), place_of(url), head_lines(HEADERS.items())
    assert place is not None

    async def ask() -> int:
        size = 0
        async with await pool.post(place, head, [body], silent_seconds=30) as answer:
            while block := await answer.next():
                size += len(block)
        return size

    yield ask
    pool.close()


async def pyreqwest_client(url: str, body: bytes) -> AsyncIterator[Ask]:
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415

    async with ClientBuilder().http1_only().build() as client:

        async def ask() -> int:
            size = 0
            request = client.post(url).headers(HEADERS).body_bytes(body).build_streamed()
            async with request as answer:
                reader = answer.body_reader
                while (block := await reader.read_chunk()) is not None:
                    size += len(block)
            return size

        yield ask


async def httptools_client(url: str, body: bytes) -> AsyncIterator[Ask]:
    import httptools  # noqa: PLC0415

    parts = urlsplit(url)
    idle: list[Any] = []
    request = f"POST {parts.path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    whole = f"{request}content-length: {len(body)}\r\n\r\n".encode() + body

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport
            self._parser = httptools.HttpResponseParser(self)

        def data_received(self, data: bytes) -> None:
            self._parser.feed_data(data)

        def on_body(self, body: bytes) -> None:
            self.size += len(body)

        def on_message_complete(self) -> None:
            self.done.set_result(self.size)

        def ask(self) -> asyncio.Future[int]:
            self.size, self.done = 0, asyncio.get_running_loop().create_future()
            self.transport.write(whole)
            return self.done

    async def ask() -> int:
        if not idle:
            place = (parts.hostname or "", parts.port or 80)
            idle.append((await asyncio.get_running_loop().create_connection(Bare, *place))[1])
        connection = idle.pop()
        size: int = await connection.ask()
        idle.append(connection)
        return size

    yield ask


CLIENTS = {
    "httptools": httptools_client,
    "aiohttp": aiohttp_client,
    "tierwise": tierwise_client,
    "pyreqwest": pyreqwest_client,
}


async def load(name: str, url: str, kind: str, callers: int, seconds: float) -> dict[str, float]:
    """A closed loop of callers, once to warm up and once measured."""
    answered = 0

    async def call(ask: Ask, until: float) -> None:
        nonlocal answered
        while time.monotonic() < until:
            size = await ask()
            assert size > 300, size
            answered += 1

    async for ask in CLIENTS[name](url, body_for(kind)):
        for lasting in (WARM_SECONDS, seconds):
            answered, used = 0, time.process_time()
            until = time.monotonic() + lasting
            await asyncio.gather(*(call(ask, until) for _ in range(callers)))
            found = {"requests": answered, "cpu": time.process_time() - used}
    return found


if __name__ == "__main__":
    name, url, kind, callers, seconds = sys.argv[1:6]
    print(json.dumps(uvloop.run(load(name, url, kind, int(callers), float(seconds)))))
