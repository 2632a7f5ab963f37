"""Scripted replies of the fake server, and their encoding as HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import msgspec

from tierwise.spec.call import Usage
from tierwise.spec.json import Json

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A fake server's reply to one request: streams `text` word by word, one token each, unless set otherwise."""

    text: str = "ok"
    first: float | None = None
    """Seconds before the first word; `step` if None."""
    step: float = 0.0
    """Seconds before each word."""
    finish: str = "stop"
    deltas: Sequence[Mapping[str, Json] | Callable[[], Mapping[str, Json]]] = ()
    """Sent unchanged instead of words, one token each. Functions are called when they are sent."""
    usage: bool = True
    """Whether it sends usage at the end if the request asks for it."""
    account: Callable[[], Mapping[str, Json]] | None = None
    """Returns more fields of `usage`; called when usage is sent."""
    error: Json = None
    """Sent as `{"error": …}` inside the stream instead of finishing."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    """A complete body instead of a stream."""
    raw: Sequence[bytes] | None = None
    """Bytes instead of events; each item is written separately, and arrives separately."""
    response: Callable[[], bytes] | None = None
    """Returns the whole response including status line and headers; called when it is written."""
    line_end: str = "\n"
    block: int | None = None
    """Block size in bytes; blocks may split events and characters anywhere."""
    comment: str = ""
    """SSE comment before every event, as sent by proxies to keep connections alive."""
    waits: float = 0.0
    """Seconds before the first byte."""
    silent_after: int | None = None
    """Number of events after which nothing more is sent."""
    dies_after: int | None = None
    """Number of events after which the connection is cut, as if the server had been killed."""
    closes: bool = False
    """Whether it closes the connection after the answer, although it announced keep-alive."""
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
    """Decoded JSON; None without a body."""
    connection: int
    """Number of its connection, from 0."""
    arrived: float
    """`time.monotonic()` when its last byte arrived."""


class ScriptedAnswer:
    """A scripted answer, with the `stop` and `max_tokens` of the request applied."""

    def __init__(self, asked: Mapping[str, Any], reply: HttpReply, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self._asked = asked
        self._reply = reply
        self._deltas, self._finish = reply.deltas, reply.finish
        if not reply.deltas:
            self._deltas, is_stopped = _words(reply.text, tuple(_listed(asked.get("stop"))))
            self._finish = "stop" if is_stopped else reply.finish
        bound = asked.get("max_completion_tokens", asked.get("max_tokens"))
        if isinstance(bound, int) and bound < len(self._deltas):
            self._deltas, self._finish = self._deltas[:bound], "length"

    @property
    def usage(self) -> Usage:
        return Usage(prompt=self.prompt_tokens, completion=len(self._deltas))

    def events(self) -> Iterator[tuple[int, bytes | Callable[[], bytes]]]:
        """For each event: its number of tokens, and its data or a function that returns the data when it is sent."""
        yield 0, _BEGIN
        with_logprobs = bool(self._asked.get("logprobs"))
        for delta in self._deltas:
            yield 1, partial(_later, delta, with_logprobs) if callable(delta) else _event(delta, with_logprobs)
        if self._reply.error is not None:
            yield 0, msgspec.json.encode({"error": self._reply.error})
            return
        yield 0, _chunk({}, self._finish)
        if self._reply.usage and (self._asked.get("stream_options") or {}).get("include_usage"):
            yield 0, self._count
        yield 0, b"[DONE]"

    def whole(self) -> bytes:
        """The answer as one body, without streaming."""
        deltas = [delta() if callable(delta) else delta for delta in self._deltas]
        text = "".join(str(delta.get("content") or "") for delta in deltas)
        message: Json = {"role": "assistant", "content": text}
        choice: Json = {"index": 0, "message": message, "finish_reason": self._finish}
        body = {"object": "chat.completion", "model": "fake", "choices": [choice], "usage": self._counted()}
        return msgspec.json.encode(body)

    def _count(self) -> bytes:
        return msgspec.json.encode({"object": "chat.completion.chunk", "choices": [], "usage": self._counted()})

    def _counted(self) -> Json:
        usage = self.usage
        more = {} if self._reply.account is None else self._reply.account()
        total = usage.prompt + usage.completion
        counted = {"prompt_tokens": usage.prompt, "completion_tokens": usage.completion, "total_tokens": total}
        return {**counted, **more}


def _chunk(delta: Mapping[str, Json], finish: str | None = None, logprobs: Json = None) -> bytes:
    choice: dict[str, Json] = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    if logprobs is not None:
        choice["logprobs"] = logprobs
    return msgspec.json.encode({"id": "fake", "object": "chat.completion.chunk", "model": "fake", "choices": [choice]})


_BEGIN = _chunk({"role": "assistant", "content": None})


def _event(delta: Mapping[str, Json], with_logprobs: bool) -> bytes:
    text = delta.get("content")
    if isinstance(text, str) and len(delta) == 1:
        return _word_event(text, with_logprobs)
    return _chunk(delta, None, _logprobs(text) if with_logprobs and text else None)


def _later(delta: Callable[[], Mapping[str, Json]], with_logprobs: bool) -> bytes:
    return _event(delta(), with_logprobs)


@lru_cache(maxsize=1024)
def _word_event(text: str, with_logprobs: bool) -> bytes:
    return _chunk({"content": text}, None, _logprobs(text) if with_logprobs and text else None)


def _logprobs(text: Json) -> Json:
    return {"content": [{"token": text, "logprob": -0.5, "top_logprobs": []}]}


@lru_cache(maxsize=64)
def _words(text: str, stops: tuple[str, ...]) -> tuple[Sequence[Mapping[str, Json]], bool]:
    """One delta per word, and whether a stop string ended the text."""
    words = [word if number == 0 else f" {word}" for number, word in enumerate(text.split(" "))]
    kept = _before(words, stops) if stops else words
    return [{"content": word} for word in kept], kept != words


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _before(words: Sequence[str], stops: Sequence[str]) -> list[str]:
    """The words before the first occurrence of a stop string."""
    text = "".join(words)
    end = min((place for place in (text.find(stop) for stop in stops) if place >= 0), default=len(text))
    kept: list[str] = []
    for word in words:
        if end > 0:
            kept.append(word[:end])
        end -= len(word)
    return kept


def head(reply: HttpReply, headers: Mapping[str, str]) -> bytes:
    """Status line and headers."""
    return _head(reply.status, tuple({**headers, **reply.headers}.items()))


@lru_cache(maxsize=64)
def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunked(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def blocks(data: bytes, reply: HttpReply) -> Sequence[bytes]:
    """An event as written to the socket; normally one block."""
    if reply.line_end == "\n" and not reply.comment and reply.block is None:
        return _plain(data)
    comment = f": {reply.comment}{reply.line_end}" if reply.comment else ""
    event = f"{comment}data: ".encode() + data + reply.line_end.encode() * 2
    size = reply.block or len(event)
    return [chunked(event[start : start + size]) for start in range(0, len(event), size)]


@lru_cache(maxsize=1024)
def _plain(data: bytes) -> tuple[bytes]:
    return (chunked(b"data: %b\n\n" % data),)
