"""Parses the responses of OpenAI-compatible servers. Engines differ only in what they omit or add."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from tierwise.spec.call import Chunk, Usage
from tierwise.spec.errors import Broken, EngineError, Overloaded, Refused, TimedOut, TooLong

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.spec.json import Json

LLAMA_CPP_COUNTS = {"timings_per_token": True, "return_progress": True}
"""Fields that make llama.cpp send its token counts with every chunk and every batch of the prompt, so that the usage of
an aborted pass is known."""

_TOO_LONG = re.compile(
    r"context[ _-](length|size|window|limit)|exceed_context|n_ctx"
    r"|maximum (allowed )?(model|input|prompt|sequence) length"
    r"|(prompt|input|request|messages?|length) (is |are |was |were )?too (long|large)|prompt_too_long"
    r"|`inputs` (must have less than|tokens \+ `max_new_tokens` must be <=) \d+"
    r"|too many (input |prompt )?tokens|exceeds? the (configured )?limit of|reduce the length",
    re.IGNORECASE,
)
"""Messages of llama.cpp, vLLM, SGLang, TGI and hosted servers for a prompt that does not fit."""

_NOT_FOR_THIS_MODEL = re.compile(r"(image|audio|video) input is not supported", re.IGNORECASE)
"""llama.cpp reports this as its own failure (500), but the request is at fault."""

_STATUSES = {
    "rate_limit": 429,
    "overloaded": 429,
    "unavailable": 503,
    "timeout": 504,
    "context_length": 400,
    "invalid_request": 400,
    "bad_request": 400,
    "badrequest": 400,
    "authentication": 401,
    "permission": 403,
    "not_found": 404,
}
"""Parts of the types and codes of errors inside a stream, which have no HTTP status, and their status."""


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """`usage` as OpenAI, vLLM, SGLang and llama.cpp report it."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    reasoning_tokens: int | None = None
    """Where SGLang reports them."""

    def read(self) -> Usage:
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None
        reasoning = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else None
        return Usage(
            prompt=self.prompt_tokens,
            cached=cached or 0,
            completion=self.completion_tokens or 0,
            reasoning=reasoning or self.reasoning_tokens or 0,
        )


class WireTimings(msgspec.Struct):
    """llama.cpp's running counts, sent with every chunk if `timings_per_token` is set."""

    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0

    def read(self) -> Usage:
        return Usage(prompt=self.cache_n + self.prompt_n, cached=self.cache_n, completion=self.predicted_n)


class WireProgress(msgspec.Struct):
    """llama.cpp's progress on a prompt, sent before each batch if `return_progress` is set."""

    UNSTOPPABLE: ClassVar[int] = 2 * 2048
    """Tokens that it still processes after a disconnect: the current batch and the next (measured with b11549)."""

    total: int = 0
    cache: int = 0
    processed: int = 0

    def read(self) -> Usage:
        """The usage if the client disconnects now."""
        begun = min(self.total, self.processed + self.UNSTOPPABLE)
        return Usage(prompt=begun, cached=self.cache, exact=self.processed == self.total)


class WireChoice(msgspec.Struct):
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class WireChunk(msgspec.Struct):
    """One event of a streamed chat completion."""

    choices: list[WireChoice] | None = None
    usage: WireUsage | None = None
    timings: WireTimings | None = None
    prompt_progress: WireProgress | None = None
    error: Any = None
    object: str | None = None

    def read(self) -> Chunk:
        """The first choice; Tierwise never requests a second one."""
        if self.prompt_progress is not None:  # its delta only repeats the role
            return Chunk(usage=self.prompt_progress.read())
        choice = self.choices[0] if self.choices else WireChoice()
        return Chunk(
            delta=choice.delta or {},
            logprobs=choice.logprobs,
            finish=choice.finish_reason or None,
            usage=self._usage(),
        )

    def _usage(self) -> Usage | None:
        if self.usage is not None:
            return self.usage.read()
        return self.timings.read() if self.timings is not None else None


def read_event(event: bytes) -> Chunk | Failure:
    """Parse one event of a stream. Servers also report errors there after a status of 200.

    Raises:
        ValueError: the event is not the JSON of a chat completion.
    """
    try:
        wire = _decode(event)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if wire.error or wire.object == "error":
        return read_failure(_status_inside(wire.error or msgspec.json.decode(event)), event, {})
    return wire.read()


_decode = msgspec.json.Decoder(WireChunk).decode


class _WholeChoice(msgspec.Struct):
    message: dict[str, Any]
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class _WholeAnswer(msgspec.Struct):
    choices: list[_WholeChoice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    object: str | None = None


def read_whole(body: bytes) -> Chunk | Failure:
    """The body of a chat completion that is not streamed, as one chunk: the first choice.

    Raises:
        ValueError: it is not the JSON of a chat completion.
    """
    try:
        whole = msgspec.json.decode(body, type=_WholeAnswer)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if whole.error or whole.object == "error":
        return read_failure(_status_inside(whole.error or msgspec.json.decode(body)), body, {})
    if not whole.choices:
        raise ValueError("it has no choice")
    choice = whole.choices[0]
    delta = dict(choice.message)
    if isinstance(calls := delta.get("tool_calls"), list):
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls) if isinstance(call, dict)]
    usage = None if whole.usage is None else whole.usage.read()
    return Chunk(delta=delta, logprobs=choice.logprobs, finish=choice.finish_reason or "stop", usage=usage)


def _status_inside(error: Json) -> int:
    """The HTTP status of an error inside a stream, from its code or type."""
    match error:
        case {"code": int(status)} if not isinstance(status, bool):
            return status
        case {"code": str(text)} if text.isdecimal():
            return int(text)
        case _:
            named = _name(error).lower()
            return next((status for name, status in _STATUSES.items() if name in named), 500)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error from a server."""

    status: int
    message: str
    name: str = ""
    """Its code and type, if given."""
    retry_after: float | None = None

    def blame(self, engine: str) -> EngineError:
        """The corresponding Tierwise error."""
        match self.status:
            case 429 | 503 | 529:
                kind: type[EngineError] = Overloaded
            case 408 | 504:
                kind = TimedOut
            case 400 | 413 | 422 if _TOO_LONG.search(f"{self.name} {self.message}"):
                kind = TooLong
            case 400 | 413 | 415 | 422:
                kind = Refused
            case 500 if _NOT_FOR_THIS_MODEL.search(self.message):
                kind = Refused
            case _:
                kind = Broken
        text = (
            self.message
            if kind in (TooLong, Refused)
            else f"deployment {engine!r} answered {self.status}: {self.message}"
        )
        return kind(text, engine=engine, retry_after=self.retry_after)


def read_failure(status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
    """The message in an error body of any common shape, or else the body's text."""
    try:
        value = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        value = None
    wait = headers.get("Retry-After", "")
    return Failure(
        status=status,
        message=_message(value) or body.decode(errors="replace").strip()[:500] or "no reason given",
        name=_name(value),
        retry_after=float(wait) if re.fullmatch(r"\d+(\.\d+)?", wait) else None,
    )


def _message(value: Json) -> str:
    match value:
        case {"error": {"message": str(text)}} | {"message": str(text)} | {"error": str(text)} | {"detail": str(text)}:
            return text
        case {"error": dict() | list() as inner} | {"detail": list() as inner}:
            return msgspec.json.encode(inner).decode()[:500]
        case _:
            return ""


def _name(value: Json) -> str:
    match value:
        case {"error": dict() as inner}:
            return _name(inner)
        case dict():
            return f"{value.get('code', '')} {value.get('type', '')}".strip()
        case _:
            return ""
