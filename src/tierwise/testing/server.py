"""A fake OpenAI-compatible server on the loopback interface: real HTTP with scripted answers and faults. Public.

It tests HTTP clients: engines that use HTTP, and gateways.

    async with FakeServer("the first answer", HttpReply(status=429, headers={"Retry-After": "2"})) as server:
        ...  # talk to server.url

`python -m tierwise.testing.server [--delay SECONDS]` runs one in a separate process, for benchmarks. It prints its URL,
answers with `max_tokens` words, one every `x_pace` seconds if the request has that field, and serves until it is
stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self, cast

import httptools
import msgspec
import uvloop

from tierwise.spec.call import Usage
from tierwise.testing.replies import HttpReply, HttpRequest, ScriptedAnswer, blocks, chunked, head

__all__ = ["FakeServer", "HttpReply", "HttpRequest", "in_a_thread", "serve"]


class FakeServer:
    """Answers requests with the script's replies, in the order of arrival; the last reply repeats.

    It supports `max_tokens`, `stop`, `logprobs` and `stream`. Subclasses can override `reply_to` to use the request.

    Attributes:
        requests: every request so far, in order.
        running: number of answers being sent.
        connections: open connections.
        accepted: number of connections accepted so far.
        hangups: event loop times at which a client disconnected during an answer.
        drops_reused: whether it closes a connection on its second request, like a server whose keep-alive timeout
            expires at that moment.
        keeps_requests: whether `requests` is filled; off in benchmarks, where memory would grow.
    """

    keeps_requests = True

    def __init__(self, *replies: str | HttpReply, prompt_tokens: int = 3) -> None:
        scripted = [HttpReply(text=reply) if isinstance(reply, str) else reply for reply in replies]
        self._replies = scripted or [HttpReply()]
        self._listener: asyncio.Server | None = None
        self.prompt_tokens = prompt_tokens
        self.connections: set[_Connection] = set()
        self.requests: list[HttpRequest] = []
        self._produced = [0, 0]
        self.running = 0
        self.accepted = 0
        self.hangups: list[float] = []
        self.drops_reused = False
        self._count = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def listen(self, port: int = 0) -> None:
        """Accept connections; port 0 chooses a free one."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=1024)

    async def close(self) -> None:
        """Stop listening and cut all connections."""
        if self._listener is not None:
            self._listener.close()
            for connection in list(self.connections):
                connection.cut()
            await self._listener.wait_closed()
            self._listener = None
            await asyncio.sleep(0)

    @property
    def produced(self) -> Usage:
        """Tokens of all events written so far."""
        return Usage(prompt=self._produced[0], completion=self._produced[1])

    def _produce(self, prompt: int, completion: int) -> None:
        self._produced[0] += prompt
        self._produced[1] += completion

    @property
    def port(self) -> int:
        if self._listener is None:
            raise RuntimeError("the server is not listening; use it in `async with`")
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its base URL, with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:  # noqa: ARG002 - subclasses look at the request
        """The reply to request number `number`, from 0."""
        return self._replies[min(number, len(self._replies) - 1)]

    def _reply(self, request: HttpRequest) -> HttpReply:
        number, self._count = self._count, self._count + 1
        if self.keeps_requests:
            self.requests.append(request)
        return self.reply_to(number, request)


@contextlib.contextmanager
def in_a_thread(server: FakeServer) -> Iterator[FakeServer]:
    """Run the server in a separate thread, for tests without an event loop."""
    is_listening, is_over = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with server:
            is_listening.set()
            await is_over.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        if not is_listening.wait(10):
            raise RuntimeError("the fake server did not start")
        yield server
    finally:
        loops[0].call_soon_threadsafe(is_over.set)
        thread.join()


class _Connection(asyncio.Protocol):
    """One connection: reads requests and answers them in turn. Uses callbacks instead of tasks for speed."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._target, self._body = b"", b""
        self._headers: dict[str, str] = {}
        self._waiting: list[HttpRequest] = []
        self._answered = 0
        self._steps: Iterator[tuple[float | None, bytes]] | None = None
        """Remaining steps of the current answer: seconds to wait, then bytes to write. After a step with 0 seconds the
        next step runs in the next iteration of the event loop, so that a client in the same loop reads its bytes
        separately. None seconds: the next step follows at once."""
        self._closes = False
        self._number = 0
        self._arrived = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._number = self._server.accepted
        self._server.accepted += 1
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.connections.discard(self)
        if self._steps is not None:
            self._server.hangups.append(self._loop.time())
            self._end()

    def data_received(self, data: bytes) -> None:
        self._arrived = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.cut()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        request = HttpRequest(
            method=self._parser.get_method().decode(),
            target=self._target.decode("latin-1"),
            headers=self._headers,
            body=msgspec.json.decode(self._body) if self._body else None,
            connection=self._number,
            arrived=self._arrived,
        )
        self._target, self._body, self._headers = b"", b"", {}
        self._waiting.append(request)
        self._next()

    def cut(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        if self._steps is not None or not self._waiting:
            return
        request = self._waiting.pop(0)
        if self._server.drops_reused and self._answered:
            self.cut()
            return
        reply = self._server._reply(request)  # noqa: SLF001 - same module
        self._server.running += 1
        asks_to_close = request.headers.get("connection", "").lower() == "close"
        self._closes = reply.closes or asks_to_close
        self._steps = self._answer(request, reply, {"Connection": "close"} if asks_to_close else {})
        self._go_on()

    def _go_on(self) -> None:
        """Run steps of the answer until one waits or the answer ends."""
        while self._steps is not None:
            pause, block = next(self._steps, (None, None))
            if block is None:
                self._end()
                self._answered += 1
                if self._closes:
                    self._transport.close()
                else:
                    self._loop.call_soon(self._next)
            elif pause:
                self._loop.call_later(pause, self._resume, block)
                return
            else:
                self._transport.write(block)
                if pause is not None:
                    self._loop.call_soon(self._go_on)
                    return

    def _resume(self, block: bytes) -> None:
        if self._steps is not None and block:
            self._transport.write(block)
        self._go_on()

    def _end(self) -> None:
        self._steps = None
        self._server.running -= 1

    def _answer(
        self, request: HttpRequest, reply: HttpReply, more: Mapping[str, str]
    ) -> Iterator[tuple[float | None, bytes]]:
        if reply.waits:
            yield reply.waits, b""
        if reply.response is not None:
            yield None, reply.response()
            return
        body = request.body if isinstance(request.body, dict) else {}
        if reply.body is not None or not body.get("stream"):
            yield None, self._whole(body, reply, more)
            return
        yield None, head(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked", **more})
        if reply.raw is not None:
            for block in reply.raw:
                yield 0.0, chunked(block)
        else:
            yield from self._events(body, reply)
        if reply.stays_open:
            yield _FOR_EVER, b""
        yield None, b"0\r\n\r\n"

    def _whole(self, asked: Mapping[str, Any], reply: HttpReply, more: Mapping[str, str]) -> bytes:
        body = reply.body
        if body is None:
            answer = ScriptedAnswer(asked, reply, self._server.prompt_tokens)
            body = answer.whole()
            self._server._produce(answer.usage.prompt, answer.usage.completion)  # noqa: SLF001 - same module
        return head(reply, {"Content-Type": "application/json", "Content-Length": str(len(body)), **more}) + body

    def _events(self, asked: Mapping[str, Any], reply: HttpReply) -> Iterator[tuple[float | None, bytes]]:
        answer = ScriptedAnswer(asked, reply, self._server.prompt_tokens)
        produced = 0
        for number, (tokens, data) in enumerate(answer.events()):
            if number == reply.silent_after:
                yield _FOR_EVER, b""
            if number == reply.dies_after:
                self.cut()
                yield _FOR_EVER, b""
            if tokens:
                pause = reply.first if produced == 0 and reply.first is not None else reply.step
                if pause:
                    yield pause, b""
                self._server._produce(0 if produced else answer.prompt_tokens, tokens)  # noqa: SLF001
                produced += tokens
            for block in blocks(data if isinstance(data, bytes) else data(), reply):
                yield 0.0, block


_FOR_EVER = 1e9
"""Seconds."""


_LISTING = b'{"object":"list","data":[{"id":"fast","object":"model","owned_by":"vllm"}]}'


class _BenchmarkServer(FakeServer):
    """Answers with `max_tokens` words."""

    keeps_requests = False

    def __init__(self, delay: float) -> None:
        super().__init__(prompt_tokens=12)
        self._delay = delay

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:  # noqa: ARG002 - the request decides
        if request.method == "GET":  # routers ask for /health and /v1/models
            return HttpReply(body=_LISTING)
        words = " ".join(["word"] * request.body.get("max_tokens", 16))
        return HttpReply(text=words, step=request.body.get("x_pace", 0.0), waits=self._delay)


async def serve(server: FakeServer) -> None:
    """Print the server's URL, and serve until the process is stopped."""
    async with server:
        print(server.url, flush=True)  # noqa: T201 - read by the parent process
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before an answer begins")
    delay = parser.parse_args().delay
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(_BenchmarkServer(delay)))


if __name__ == "__main__":
    main()
