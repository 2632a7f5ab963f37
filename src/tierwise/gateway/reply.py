"""Responses: one JSON body, or server-sent events whose headers do not wait for the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import msgspec

from tierwise.gateway.failures import body_of, headers_of, status_of
from tierwise.spec import turns
from tierwise.spec.ask import Answer
from tierwise.spec.call import Chunk, Completion
from tierwise.spec.errors import TierwiseError
from tierwise.spec.json import Fields, Json

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

LARGE_TEXT = 64 * 1024
"""Characters of a choice that is written in turn."""
_PER_LOGPROB = 100  # characters of one token's record

_OF_RESPONSE = frozenset({"system_fingerprint", "service_tier"})

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class ResponseHead:
    """The common fields of all events and bodies of one answer."""

    action: str
    model: str
    created: int
    wants_logprobs: bool
    _event: bytes = field(init=False)
    """The common prefix of all events, encoded once."""

    def __post_init__(self) -> None:
        self._event = b"data: " + _encode(self._frame("chat.completion.chunk"))[:-1] + b","

    def chunk(self, index: int, chunk: Chunk) -> bytes:
        """The event for a chunk of one choice."""
        delta = chunk.delta
        if "reasoning_content" in delta:
            delta = with_reasoning(delta)
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": chunk.finish}
        if self.wants_logprobs:
            choice["logprobs"] = chunk.logprobs
        frame = b""
        if chunk.response is not None:
            of_response, of_choice = _split(chunk.response)
            choice.update(of_choice)
            frame = b"".join(b",%b:%b" % (_encode(name), _encode(value)) for name, value in of_response.items())
        return b'%b"choices":[%b]%b}\n\n' % (self._event, _encode(choice), frame)

    def draft(self, index: int, number: int, tier: str, chunk: Chunk) -> bytes:
        """The event for a chunk of a draft. Its delta is empty, so that it adds nothing to an answer."""
        delta = {name: value for name, value in chunk.delta.items() if name != "role"}
        choice = {"index": index, "delta": {}, "finish_reason": None}
        draft = {"choice": index, "pass": number, "tier": tier, "delta": delta}
        return b'%b"choices":[%b],"tierwise":{"draft":%b}}\n\n' % (self._event, _encode(choice), _encode(draft))

    def usage(self, usage: Json) -> bytes:
        """The final event of a stream, with its totals."""
        return b'%b"choices":[],"usage":%b}\n\n' % (self._event, _encode(usage))

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete response with all choices, as JSON. Large choices are written in turn.

        Raises:
            UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
        """
        first = answers[0].completion.response if answers else None
        choices: list[Any] = []
        for index, answer in enumerate(answers):
            if _is_large(answer.completion):
                async with turns.turn():
                    choices.append(msgspec.Raw(_encode(self._choice(index, answer))))
            else:
                choices.append(self._choice(index, answer))
        return _encode({**self._frame("chat.completion"), **_split(first)[0], "choices": choices, "usage": usage})

    def _choice(self, index: int, answer: Answer) -> Json:
        said = answer.completion
        message = with_reasoning(said.message())
        choice: dict[str, Json] = {"index": index, "message": message, "finish_reason": said.finish}
        choice.update(_split(said.response)[1])
        if self.wants_logprobs:
            choice["logprobs"] = {"content": [dict(token) for token in said.logprobs]} if said.logprobs else None
        return choice

    def _frame(self, kind: str) -> dict[str, Json]:
        return {"id": self.action, "object": kind, "created": self.created, "model": self.model}


def _is_large(said: Completion) -> bool:
    """Whether a completion takes long to write."""
    if len(said.text) + len(said.reasoning) > LARGE_TEXT or len(said.logprobs) > LARGE_TEXT // _PER_LOGPROB:
        return True
    return bool(said.tool_calls) and sum(len(str(call.get("function", ""))) for call in said.tool_calls) > LARGE_TEXT


def with_reasoning(message: Fields) -> dict[str, Json]:
    """A message or delta with its thinking under both names: `reasoning_content`, and `reasoning` as vLLM sends now."""
    thought = message.get("reasoning_content")
    return {**message, "reasoning": thought} if thought else {**message}


def _split(response: Fields | None) -> tuple[dict[str, Json], dict[str, Json]]:
    """The fields of a response besides the message: those of the whole response, and those of the choice."""
    frame: dict[str, Json] = {}
    own: dict[str, Json] = {}
    for name, value in (response or {}).items():
        (frame if name in _OF_RESPONSE else own)[name] = value
    return frame, own


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


async def send_error(send: Send, error: TierwiseError, headers: Mapping[str, str], usage: Json = None) -> None:
    """Send an error as a complete response; `usage` is the spending so far."""
    status = status_of(error).http
    await send_encoded(send, status, encoded(_failure(error, usage)), {**headers, **headers_of(error)})


def _failure(error: TierwiseError, usage: Json) -> dict[str, Json]:
    return body_of(error) if usage is None else {**body_of(error), "usage": usage}


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
        """Send the event of a chunk, or keep it until there is content."""
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

    async def done(self) -> None:
        """End the stream successfully."""
        await self._end(b"data: [DONE]\n\n")

    async def failed(self, error: TierwiseError, headers: Mapping[str, str], usage: Json = None) -> None:
        """End the stream with an error: an error response if nothing was sent yet, else an error event without
        `[DONE]`.
        """
        if self._has_begun:
            await self._end(self.error_event(error, usage))
        else:
            await send_error(self._send, error, headers, usage)

    @staticmethod
    def error_event(error: TierwiseError, usage: Json = None) -> bytes:
        """The event that ends a stream with an error."""
        return b"data: %b\n\n" % encoded(_failure(error, usage))

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
