"""Parses the responses of OpenAI-compatible servers. Engines differ only in what they omit or add.

Only the delta must have OpenAI's types. Of the other fields, what cannot be read is ignored: a complete answer is never
lost to one of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from tierwise.engines.openai.counts import WireProgress, WireTimings, read_usage
from tierwise.engines.openai.failure import Failure, read_failure, status_inside
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.deltas import whole_characters
from tierwise.spec.json import Json

if TYPE_CHECKING:
    from tierwise.engines.openai.events import Batch

LLAMA_CPP_COUNTS = {"timings_per_token": True, "return_progress": True}
"""Fields that make llama.cpp send its token counts with every chunk and every batch of the prompt, so that the usage of
an aborted pass is known."""

NO_REASON = "did not say why its answer ended"
"""The remark on an answer that ended without a finish reason."""

_FINISHES = {
    **{name: name for name in ("stop", "length", "tool_calls", "content_filter", "function_call")},
    **dict.fromkeys(("eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("max_tokens", "max_length"), "length"),
    "tool_use": "tool_calls",
}
"""Finish reasons in lower case, with OpenAI's name for them. An unknown one is kept."""

_NO_ANSWER = frozenset(
    {"abort", "aborted", "error", "failed", "cancelled", "canceled", "timeout", "insufficient_system_resource"}
)
"""Finish reasons of a pass that the server did not complete (vLLM, SGLang, DeepSeek and others)."""

_LEAST_LOGPROB = -9999.0
"""What OpenAI and vLLM send for the log-probability of a token whose probability is 0."""

_MOST_DIGITS = 400

RESPONSE_FIELDS = ("system_fingerprint", "service_tier", "stop_reason", "matched_stop")
"""Fields besides the message that clients get as the server sends them."""
_LONGEST_FIELD = 1000

S = TypeVar("S", WireTimings, WireProgress)


class WireChoice(msgspec.Struct):
    index: Any = 0
    delta: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    text: Any = None
    """Of a completion without a chat template, in place of the message."""
    finish_reason: Any = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    """SGLang's name for it."""


class WireChunk(msgspec.Struct):
    """One event of a streamed chat completion, or a whole one."""

    choices: list[WireChoice] | None = None
    usage: Any = None
    timings: Any = None
    prompt_progress: Any = None
    error: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    id: Any = None
    model: Any = None

    @property
    def is_failure(self) -> bool:
        if self.error or self.object == "error":
            return True
        if self.choices is not None or self.usage is not None:
            return False
        return isinstance(self.message, str) or isinstance(self.detail, str)

    @property
    def plain(self) -> dict[str, Any] | None:
        """The delta of an event that has nothing else but counts and names, as nearly all; None for any other."""
        choices = self.choices
        if choices is None or len(choices) != 1 or self.object != "chat.completion.chunk":
            return None
        choice = choices[0]
        if (
            choice.finish_reason is None
            and choice.index == 0
            and choice.logprobs is None
            and choice.stop_reason is None
            and choice.matched_stop is None
            and self.error is None
            and self.prompt_progress is None
        ):
            return choice.delta
        return None

    def having(self, delta: dict[str, Any], tokens: int = 1) -> Chunk:
        """The chunk of a plain event with another delta: its own, or what it and the `tokens` events before it say."""
        pass_id, model = self.id if isinstance(self.id, str) else "", self.model if isinstance(self.model, str) else ""
        response = None
        if self.system_fingerprint is not None or self.service_tier is not None:
            assert self.choices  # noqa: S101 - else it is not plain
            response = self._response(self.choices[0])
        elif self.usage is None and self.timings is None:
            return Chunk(delta=delta, tokens=tokens, completion_id=pass_id, model=model)
        return Chunk(
            delta=delta, tokens=tokens, usage=self._usage(), response=response, completion_id=pass_id, model=model
        )

    def has_text(self, choice: WireChoice) -> bool:
        """Whether it answers a prompt without a chat template, with a text in place of a message."""
        return self.object == "text_completion" and isinstance(choice.text, str)

    def read(self) -> Chunk | Failure:
        """The choice with index 0; Tierwise never requests a second one."""
        if self.prompt_progress is not None and (progress := _side(self.prompt_progress, WireProgress)) is not None:
            return Chunk(usage=progress.read())  # its delta only repeats the role
        choices = self.choices
        if choices and choices[0].index == 0:
            choice = choices[0]
        else:
            first = next((one for one in choices or () if one.index in (None, "0", 0)), None)
            if first is None:
                return Chunk(usage=self._usage())
            choice = first
        delta = choice.delta
        if delta is None:
            delta = {"content": choice.text} if self.has_text(choice) else choice.message or {}
            if isinstance(calls := delta.get("tool_calls"), list):
                delta = {**delta, "tool_calls": numbered(calls)}
        finish, remark = None, ""
        if choice.finish_reason is not None:
            finish, remark = read_finish(choice.finish_reason)
            if finish in _NO_ANSWER:
                return Failure(status=500, message="the pass was not completed", ended_as=finish)
        return Chunk(
            delta=delta,
            logprobs=choice.logprobs if isinstance(choice.logprobs, dict) else None,
            finish=finish,
            usage=None if self.usage is None and self.timings is None else self._usage(),
            response=self._response(choice),
            completion_id=self.id if isinstance(self.id, str) else "",
            model=self.model if isinstance(self.model, str) else "",
            remark=remark,
        )

    def _response(self, choice: WireChoice) -> dict[str, Json] | None:
        """What clients may want to know besides the message; None if there is nothing."""
        if (
            self.system_fingerprint is None
            and self.service_tier is None
            and choice.stop_reason is None
            and choice.matched_stop is None
            and not self.has_text(choice)
        ):
            return None  # nearly every chunk
        given = (self.system_fingerprint, self.service_tier, choice.stop_reason, choice.matched_stop)
        named = zip(RESPONSE_FIELDS, given, strict=True)
        found: dict[str, Json] = {name: value for name, value in named if _is_plain(value)}
        if self.has_text(choice) and isinstance(choice.logprobs, dict):
            return {**found, "logprobs": choice.logprobs}  # of a form of its own, with lists side by side
        return found or None

    def _usage(self) -> Usage | None:
        if self.usage is not None and (usage := read_usage(self.usage)) is not None:
            return usage
        return None if (timings := _side(self.timings, WireTimings)) is None else timings.read()


def _is_plain(value: Any) -> bool:
    """Whether it is a short text or a number of a token."""
    if isinstance(value, str):
        return len(value) <= _LONGEST_FIELD and whole_characters(value) == value
    return type(value) is int and abs(value) < 2**63


def _side(value: Any, kind: type[S]) -> S | None:
    """A field of llama.cpp's; None if it is missing or cannot be read."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, type=kind)
    except msgspec.ValidationError:
        return None


def read_event(event: bytes) -> Chunk | Failure:
    """Parse one event of a stream. Servers also report errors there after a status of 200.

    Raises:
        ValueError: the event is not the JSON of a chat completion.
    """
    wire = _read(event)
    if wire.is_failure:
        return read_failure(status_inside(wire.error or json_of(event)), event, {})
    return wire.read()


def read_plain(event: bytes) -> Chunk | None:
    """Parse an event with a delta and nothing else but counts and names; None for any other."""
    try:
        wire = _decode(event)
    except (ValueError, RecursionError):
        return None
    return None if (delta := wire.plain) is None else wire.having(delta)


def read_batch(batch: Batch, *, joins: bool) -> list[Chunk] | None:
    """Parse the events of a batch at once; None where `read_event` has to read each, because one of them is none that
    we expect.

    Args:
        batch: the events.
        joins: whether texts that follow each other become one chunk.
    """
    if batch.events == 1:
        return None if (only := read_plain(batch.joined)) is None else [only]
    try:
        wires = _decode_all(b"[%b]" % batch.joined)
    except (ValueError, RecursionError):
        return None
    if len(wires) != batch.events:
        return None
    chunks: list[Chunk] = []
    texts: list[str] = []
    last = wires[0]
    for wire in wires:
        delta = wire.plain
        if (
            joins
            and delta is not None
            and len(delta) == 1
            and type(text := delta.get("content")) is str
            and text
            and (not texts or wire.system_fingerprint == last.system_fingerprint)
        ):
            texts.append(text)
            last = wire
            continue
        if texts:
            chunks.append(last.having({"content": "".join(texts)}, len(texts)))
            texts = []
        if delta is not None:
            chunks.append(wire.having(delta))
        elif wire.is_failure or isinstance(chunk := wire.read(), Failure):
            return None
        else:
            chunks.append(chunk)
    if texts:
        chunks.append(last.having({"content": "".join(texts)}, len(texts)))
    return chunks


def read_whole(body: bytes) -> Chunk | Failure:
    """The body of a chat completion that is not streamed, as one chunk: the first choice.

    Raises:
        ValueError: it is not the JSON of a chat completion.
    """
    wire = _read(body)
    if wire.is_failure:
        return read_failure(status_inside(wire.error or json_of(body)), body, {})
    if not wire.choices or (wire.choices[0].message is None and not wire.has_text(wire.choices[0])):
        raise ValueError("it has no choice with a message")
    chunk = wire.read()
    if isinstance(chunk, Failure):
        return chunk
    if chunk.usage is not None and chunk.is_output:
        chunk = doubted(chunk, chunk.usage)
    if chunk.finish is not None:
        return chunk
    return msgspec.structs.replace(chunk, finish="stop", remark=NO_REASON)


class _Vectors(msgspec.Struct):
    data: Annotated[list[Any], msgspec.Meta(min_length=1)]
    usage: Any = None
    model: Any = None


def read_vectors(body: bytes) -> Chunk | Failure:
    """The body of a response with embeddings, as one chunk whose `response` has them as `data`.

    Raises:
        ValueError: it has none.
    """
    try:
        found = msgspec.json.decode(body, type=_Vectors)
    except msgspec.ValidationError as error:
        wire = _read(body)
        if wire.is_failure:
            return read_failure(status_inside(wire.error or json_of(body)), body, {})
        raise ValueError(f"it has no embeddings: {error}") from error
    usage = read_usage(found.usage)
    return Chunk(response={"data": found.data}, usage=usage, finish="stop")


def doubted(chunk: Chunk, usage: Usage) -> Chunk:
    """A chunk of an answer with output. A count of no tokens is not exact."""
    return chunk if usage.completion else msgspec.structs.replace(chunk, usage=replace(usage, exact=False))


def read_finish(reason: Any) -> tuple[str | None, str]:
    """OpenAI's name for a finish reason, and a remark on one that cannot be read.

    Such a reason does not end the answer, because some servers send a number with every chunk.
    """
    if isinstance(reason, dict):  # SGLang's own API
        reason = reason.get("type")
    if isinstance(reason, str):
        named = reason.strip().lower()
        if named in ("", "null", "none"):
            return None, ""
        return (named if named in _NO_ANSWER else _FINISHES.get(named, reason)), ""
    if reason is None or reason is False:
        return None, ""
    return None, f"gave {reason!r} as finish reason"


def numbered(calls: list[Any]) -> list[dict[str, Any]]:
    """The tool calls of a message as those of a delta, each with its index."""
    return [{**call, "index": index} for index, call in enumerate(calls) if isinstance(call, dict)]


def json_of(data: bytes) -> Any:
    """Decode JSON, including what some servers send although it is none: NaN and infinities, half characters, and
    numbers without end.

    Raises:
        ValueError: it is not JSON even so.
    """
    try:
        return msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return _json_of(data)


def _read(data: bytes) -> WireChunk:
    try:
        return _decode(data)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    except ValueError as error:
        try:
            return msgspec.convert(_json_of(data), type=WireChunk)
        except (ValueError, RecursionError):
            raise error from None


_decode = msgspec.json.Decoder(WireChunk).decode
_decode_all = msgspec.json.Decoder(list[WireChunk]).decode


def _json_of(data: bytes) -> Any:
    found = json.loads(data.decode(), parse_constant=lambda _: None, parse_int=_int_of, parse_float=_float_of)
    return _cleaned(found, in_delta=False)


def _int_of(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


def _float_of(digits: str) -> float | None:
    return value if math.isfinite(value := float(digits)) else None


def _cleaned(value: Any, *, in_delta: bool) -> Any:
    """The value with whole characters, except in a delta, where the other half may come with the next one."""
    if isinstance(value, dict):
        found = {
            whole_characters(name): _cleaned(one, in_delta=in_delta or name == "delta") for name, one in value.items()
        }
        if "token" in found and found.get("logprob", 0) is None:
            found["logprob"] = _LEAST_LOGPROB
        return found
    if isinstance(value, list):
        return [_cleaned(one, in_delta=in_delta) for one in value]
    return whole_characters(value) if isinstance(value, str) and not in_delta else value
