"""A fake OpenAI-compatible server on the loopback, public: real HTTP, scripted answers, and every fault we have met.

Apart from the other fakes, because it speaks bytes: what it tests is a client, an engine over HTTP, or a gateway.

    async with FakeServer("the first answer", HttpReply(status=429, headers={"Retry-After": "2"})) as server:
        ...  # talk to server.url
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec

from tierwise.spec.call import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from tierwise.spec.json import Json

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What a fake server does with one request: says `text` word by word, one token each, unless told otherwise."""

    text: str = "ok"
    step: float = 0.0
    """Seconds before each word."""
    finish: str = "stop"
    deltas: Sequence[Mapping[str, Json]] = ()
    """Sent as they stand instead of words, one token each."""
    usage: bool = True
    """Whether it counts tokens at the end, as it was asked to."""
    error: Json = None
    """Sent as `{"error": …}` inside the stream instead of finishing."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """A whole body instead of a stream."""
    raw: Sequence[bytes] | None = None
    """Bytes instead of events; each item is written, and arrives, by itself."""
    line_end: str = "\n"
    block: int | None = None
    """Bytes to a block, however odd the places are at which that cuts events and characters."""
    comment: str = ""
    """Sent before every event, as proxies do to keep a connection alive."""
    waits: float = 0.0
    """Seconds before the first byte."""
    silent_after: int | None = None
    """Events after which nothing comes any more."""
    dies_after: int | None = None
    """Events after which the connection is cut, as if the server had been killed."""
    closes: bool = False
    """Whether it closes the connection after an answer that promised to keep it."""
    stays_open: bool = False
    """Whether it never ends the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """Decoded JSON; None when there was none."""
    connection: int
    """Counts connections from 0."""


class FakeServer:
    """Gives the script's replies to requests in the order in which they arrive; the last one repeats for ever.

    It honours `max_tokens`, `stop`, `logprobs` and `stream`. Subclasses may look at the request: see `reply_to`.

    Attributes:
        requests: every request that came, in order.
        produced: tokens of every event that was written.
        running: answers that are being given at this moment.
        connections: those that are open at this moment.
        accepted: how many connections there ever were.
        hangups: times of the loop's clock at which a client left in the middle of an answer.
        drops_reused: whether a second request on a connection finds it closed, as when both sides act at once.
    """

    def __init__(self, *replies: str | HttpReply, prompt_tokens: int = 3) -> None:
        scripted = [HttpReply(text=reply) if isinstance(reply, str) else reply for reply in replies]
        self._replies = scripted or [HttpReply()]
        self._listener: asyncio.Server | None = None
        self.prompt_tokens = prompt_tokens
        self.connections: set[_Connection] = set()
        self.requests: list[HttpRequest] = []
        self.produced = Usage()
        self.running = 0
        self.accepted = 0
        self.hangups: list[float] = []
        self.drops_reused = False

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def listen(self, port: int = 0) -> None:
        """Accept connections, on a port that is free where none is given."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Connection(self), "127.0.0.1", port)

    async def close(self) -> None:
        """Stop listening, and cut every connection."""
        if self._listener is not None:
            self._listener.close()
            for connection in list(self.connections):
                connection.cut()
            await self._listener.wait_closed()
            self._listener = None
            await asyncio.sleep(0)

    @property
    def port(self) -> int:
        if self._listener is None:
            raise RuntimeError("it does not listen; use it in `async with`")
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its base URL, with `/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:  # noqa: ARG002 - subclasses look at the request
        """What request number `number` gets."""
        return self._replies[min(number, len(self._replies) - 1)]


class _Connection(asyncio.Protocol):
    """One connection: reads a request, gives its answer, reads the next one."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._received = b""
        self._answered = 0
        self._answering: asyncio.Task[None] | None = None
        self._number = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._number = self._server.accepted
        self._server.accepted += 1
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._server.connections.discard(self)
        if self._answering is not None and not self._answering.done():
            self._server.hangups.append(asyncio.get_running_loop().time())
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def cut(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end or (self._answering is not None and not self._answering.done()):
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        body, self._received = rest[:length], rest[length:]
        if self._server.drops_reused and self._answered:
            self.cut()
            return
        method, target, _ = request_line.split(" ")
        request = HttpRequest(
            method=method,
            target=target,
            headers=headers,
            body=msgspec.json.decode(body) if body else None,
            connection=self._number,
        )
        self._server.requests.append(request)
        reply = self._server.reply_to(len(self._server.requests) - 1, request)
        self._answering = asyncio.get_running_loop().create_task(self._answer(request, reply))

    async def _answer(self, request: HttpRequest, reply: HttpReply) -> None:
        self._server.running += 1
        try:
            await asyncio.sleep(reply.waits)
            wants_stream = isinstance(request.body, dict) and request.body.get("stream")
            if reply.body is not None or not wants_stream:
                self._write_whole(request, reply)
            else:
                await self._write_stream(request, reply)
        finally:
            self._server.running -= 1
        self._answered += 1
        if reply.closes:
            self._transport.close()
        else:
            asyncio.get_running_loop().call_soon(self._next)

    def _write_head(self, reply: HttpReply, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Whatever')}"]
        lines += [f"{name}: {value}" for name, value in {**headers, **reply.headers}.items()]
        self._transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def _write_whole(self, request: HttpRequest, reply: HttpReply) -> None:
        body = reply.body
        if body is None:
            answer = _Said(request.body or {}, reply, self._server.prompt_tokens)
            self._server.produced += answer.usage
            body = msgspec.json.encode(answer.whole())
        self._write_head(reply, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self._transport.write(body)

    async def _write_stream(self, request: HttpRequest, reply: HttpReply) -> None:
        self._write_head(reply, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        if reply.raw is not None:
            for block in reply.raw:
                await self._write(block)
        else:
            await self._write_events(request, reply)
        if reply.stays_open:
            await asyncio.Event().wait()
        self._transport.write(b"0\r\n\r\n")

    async def _write_events(self, request: HttpRequest, reply: HttpReply) -> None:
        answer = _Said(request.body, reply, self._server.prompt_tokens)
        for number, (tokens, event) in enumerate(answer.events()):
            if number == reply.silent_after:
                await asyncio.Event().wait()
            if number == reply.dies_after:
                self.cut()
                await asyncio.Event().wait()
            if tokens:
                await asyncio.sleep(reply.step)
                self._server.produced += Usage(prompt=answer.prompt_tokens if number == 1 else 0, completion=tokens)
            comment = f": {reply.comment}{reply.line_end}" if reply.comment else ""
            data = f"{comment}data: {event}{reply.line_end * 2}".encode()
            size = reply.block or len(data)
            for start in range(0, len(data), size):
                await self._write(data[start : start + size])

    async def _write(self, block: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(block), block))
        await asyncio.sleep(0)  # lets a client in the same loop read it by itself


class _Said:
    """One answer, as the request bounds it."""

    def __init__(self, body: Mapping[str, Any], reply: HttpReply, prompt_tokens: int) -> None:
        words = [word if number == 0 else f" {word}" for number, word in enumerate(reply.text.split(" "))]
        deltas = list(reply.deltas) or [{"content": word} for word in words]
        self.finish = reply.finish
        if not reply.deltas and (stops := _listed(body.get("stop"))):
            kept = _before(words, stops)
            deltas, self.finish = [{"content": word} for word in kept], "stop" if kept != words else reply.finish
        bound = body.get("max_completion_tokens", body.get("max_tokens"))
        if isinstance(bound, int) and bound < len(deltas):
            deltas, self.finish = deltas[:bound], "length"
        self.deltas: list[Mapping[str, Json]] = deltas
        self.prompt_tokens = prompt_tokens
        self._reply = reply
        self._body = body

    @property
    def usage(self) -> Usage:
        return Usage(prompt=self.prompt_tokens, completion=len(self.deltas))

    def events(self) -> Iterator[tuple[int, str]]:
        """The tokens that each event brings, and its data."""
        yield 0, self._event({"role": "assistant", "content": None})
        for delta in self.deltas:
            yield 1, self._event(delta)
        if self._reply.error is not None:
            yield 0, _text({"error": self._reply.error})
            return
        yield 0, self._event({}, self.finish)
        if self._reply.usage and (self._body.get("stream_options") or {}).get("include_usage"):
            yield 0, _text({"object": "chat.completion.chunk", "choices": [], "usage": self._counted()})
        yield 0, "[DONE]"

    def whole(self) -> dict[str, Json]:
        """The same as one body."""
        text = "".join(str(delta.get("content") or "") for delta in self.deltas)
        message: Json = {"role": "assistant", "content": text}
        choice: Json = {"index": 0, "message": message, "finish_reason": self.finish}
        return {"object": "chat.completion", "model": "fake", "choices": [choice], "usage": self._counted()}

    def _event(self, delta: Mapping[str, Json], finish: str | None = None) -> str:
        choice: dict[str, Json] = {"index": 0, "delta": dict(delta), "finish_reason": finish}
        if self._body.get("logprobs") and (text := delta.get("content")):
            choice["logprobs"] = {"content": [{"token": text, "logprob": -0.5, "top_logprobs": []}]}
        return _text({"id": "fake", "object": "chat.completion.chunk", "model": "fake", "choices": [choice]})

    def _counted(self) -> Json:
        usage = self.usage
        total = usage.prompt + usage.completion
        return {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": total}


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _before(words: list[str], stops: list[str]) -> list[str]:
    """The words before the first of these texts."""
    text = "".join(words)
    end = min((place for place in (text.find(stop) for stop in stops) if place >= 0), default=len(text))
    kept: list[str] = []
    for word in words:
        if end > 0:
            kept.append(word[:end])
        end -= len(word)
    return kept


def _text(value: Json) -> str:
    return msgspec.json.encode(value).decode()
