"""Writes an answer as a message of content blocks, whole or as Anthropic's events."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.gateway.apis.messages.failures import failure
from tierwise.spec import turns
from tierwise.spec.errors import Garbled
from tierwise.spec.json import Fields, Json

if TYPE_CHECKING:
    from tierwise.gateway.apis.messages.schema import MessagesRequest
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Chunk, Completion
    from tierwise.spec.errors import TierwiseError

_encode = msgspec.json.Encoder().encode

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
LARGE_TEXT = 64 * 1024
"""Characters of an answer that is written in turn."""


def _event(kind: str, **fields: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **fields}))


_PING = _event("ping")


@dataclass(slots=True)
class _Calling:
    """A tool call whose block is open, or waits until the block before it is complete."""

    index: int
    """The call's own, in the deltas."""
    id: str
    name: str
    waiting: list[str] = field(default_factory=list)
    given: list[str] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether its input is a JSON object, so that no more can follow."""
        given = "".join(self.given)
        return bool(given.strip()) and _object(given) is not None


@dataclass(slots=True)
class MessagesWriter:
    """Writes one answer.

    Blocks follow each other, as Anthropic's clients expect: tool calls whose deltas alternate wait for the one that
    began first.
    """

    action: str
    request: MessagesRequest
    _has_begun: bool = False
    _count: int = 0
    """Blocks that were begun."""
    _open: str = ""
    """The kind of the open block; empty if none is."""
    _thought: Any = None
    """The checksum of the open block's thinking."""
    _calls: list[_Calling] = field(default_factory=list)
    """The call whose block is open, and those that wait."""
    _ended: set[int] = field(default_factory=set)
    """Indices of the calls whose blocks are complete."""

    def chunk(self, choice: int, chunk: Chunk) -> bytes:  # noqa: ARG002 - there is one
        """The events for a chunk."""
        if not chunk.is_output:
            return b""
        events = [] if self._has_begun else [self._begin()]
        delta = chunk.delta
        if isinstance(thought := delta.get("reasoning_content"), str) and thought:
            events += self._thinking(thought)
        for name in ("content", "refusal"):
            if isinstance(text := delta.get(name), str) and text:
                events += self._text(text)
        calls = delta.get("tool_calls")
        for piece in calls if isinstance(calls, list) else ():
            if isinstance(piece, dict):
                events += self._tool(piece)
        return b"".join(events)

    def draft(self, choice: int, number: int, tier: str, chunk: Chunk) -> bytes:  # noqa: ARG002 - it has none
        """Drafts have no event."""
        return b""

    def beat(self) -> bytes:
        """`ping`, as Anthropic sends it."""
        return _PING

    def ended(self, answers: list[Answer], usage: Json) -> bytes:
        """The last events of a stream."""
        events = [] if self._has_begun else [self._begin()]
        while self._calls:
            events += self._next_call()
        events += self._close()
        reason, sequence = self._stop(answers[0].completion)
        delta: Json = {"stop_reason": reason, "stop_sequence": sequence}
        return b"".join([*events, _event("message_delta", delta=delta, usage=_usage(usage)), _event("message_stop")])

    def failed(self, error: TierwiseError, usage: Json = None) -> bytes:
        """The event that ends a stream with an error."""
        return b"event: error\ndata: %b\n\n" % _encode(failure(error, usage, self.action))

    async def whole(self, answers: list[Answer], usage: Json) -> bytes:
        """The complete message.

        Raises:
            Garbled: a tool was called with input that is no JSON object.
            UnicodeEncodeError: it has a lone surrogate, which is not Unicode.
        """
        said = answers[0].completion
        is_large = len(said.text) + len(said.reasoning) > LARGE_TEXT
        return await turns.made(lambda: self._whole(said, usage), is_large=is_large)

    def _whole(self, said: Completion, usage: Json) -> bytes:
        blocks: list[Json] = []
        if said.reasoning:
            shown = "" if self._omits_thinking else said.reasoning
            blocks.append({"type": "thinking", "thinking": shown, "signature": _signature(_checksum(said.reasoning))})
        refusal = said.extra.get("refusal")
        if text := said.text + (refusal if isinstance(refusal, str) else ""):
            blocks.append({"type": "text", "text": text})
        for call in said.tool_calls:
            id_, name, given = _called(call)
            if (value := _object(given)) is None:
                raise Garbled(f"the model called the tool {name!r} with input that is no JSON object: {given[:120]!r}")
            blocks.append({"type": "tool_use", "id": id_, "name": name, "input": value})
        reason, sequence = self._stop(said)
        stop: dict[str, Json] = {"stop_reason": reason, "stop_sequence": sequence}
        return _encode({**self._message(blocks), **stop, "usage": _usage(usage)})

    @property
    def _omits_thinking(self) -> bool:
        return getattr(self.request.thinking, "display", None) == "omitted"

    def _message(self, blocks: list[Json]) -> dict[str, Json]:
        return {
            "id": f"msg_{self.action}",
            "type": "message",
            "role": "assistant",
            "model": self.request.model,
            "content": blocks,
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _begin(self) -> bytes:
        self._has_begun = True
        return _event("message_start", message={**self._message([]), "usage": _usage(None)}) + _PING

    def _start(self, kind: str, block: Json) -> list[bytes]:
        events = self._close()
        self._open = kind
        self._count += 1
        return [*events, _event("content_block_start", index=self._count - 1, content_block=block)]

    def _delta(self, kind: str, **fields: Json) -> bytes:
        return _event("content_block_delta", index=self._count - 1, delta={"type": kind, **fields})

    def _close(self) -> list[bytes]:
        if not self._open:
            return []
        events = []
        if self._open == "thinking":
            events.append(self._delta("signature_delta", signature=_signature(self._thought)))
        self._open = ""
        return [*events, _event("content_block_stop", index=self._count - 1)]

    def _thinking(self, thought: str) -> list[bytes]:
        events = self._finished_calls()
        if self._open != "thinking":
            events += self._start("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._thought = _checksum("")
        self._thought.update(thought.encode())
        return events if self._omits_thinking else [*events, self._delta("thinking_delta", thinking=thought)]

    def _text(self, text: str) -> list[bytes]:
        events = self._finished_calls()
        if self._open != "text":
            events += self._start("text", {"type": "text", "text": ""})
        return [*events, self._delta("text_delta", text=text)]

    def _tool(self, piece: dict[str, Any]) -> list[bytes]:
        index = piece.get("index", 0)
        if index in self._ended:  # its input is complete: only blanks can follow
            return []
        id_, name, given = _called(piece)
        call = next((one for one in self._calls if one.index == index), None)
        if call is None:
            call = _Calling(index, id_, name)
            self._calls.append(call)
        call.waiting.append(given)
        events = self._current()
        while len(self._calls) > 1 and self._calls[0].is_complete:
            events += self._next_call()
            events += self._current()
        return events

    def _current(self) -> list[bytes]:
        """Write what the first call has waiting; its block begins with its first piece."""
        call, events = self._calls[0], []
        if self._open != f"tool {call.index}":
            block: Json = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            events = self._start(f"tool {call.index}", block)
        given, call.waiting = "".join(call.waiting), []
        if given:
            call.given.append(given)
            events.append(self._delta("input_json_delta", partial_json=given))
        return events

    def _next_call(self) -> list[bytes]:
        """End the first call, whose block is written as far as it came."""
        events = self._current()
        self._ended.add(self._calls.pop(0).index)
        return [*events, *self._close()]

    def _finished_calls(self) -> list[bytes]:
        """End all calls, because another block follows."""
        events: list[bytes] = []
        while self._calls:
            events += self._next_call()
        return events

    def _stop(self, said: Completion) -> tuple[str, str | None]:
        """Why the answer ended, and with which of the client's stop sequences, where the server says so."""
        if said.tool_calls and said.finish != "length":
            return "tool_use", None
        if said.extra.get("refusal"):
            return "refusal", None
        reason = _REASONS.get(said.finish, "end_turn")
        for name in ("stop_reason", "matched_stop"):  # vLLM's and SGLang's field
            sequence = (said.response or {}).get(name)
            if reason == "end_turn" and isinstance(sequence, str) and sequence in (self.request.stop_sequences or ()):
                return "stop_sequence", sequence
        return reason, None


def _called(call: Fields) -> tuple[str, str, str]:
    """The id, the name and the input of a tool call or a piece of one."""
    inner = call.get("function")
    if not isinstance(inner, dict):
        inner = {}
    id_, name, given = call.get("id"), inner.get("name"), inner.get("arguments")
    return str(id_ or ""), str(name or ""), given if isinstance(given, str) else ""


def _object(text: str) -> dict[str, Json] | None:
    """The JSON object of a tool's input; a tool without parameters may get none."""
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _checksum(thought: str) -> Any:
    return hashlib.sha256(thought.encode())


def _signature(checksum: Any) -> str:
    """A checksum of the thinking. Clients send it back, and nobody relies on it."""
    return f"tierwise-{checksum.hexdigest()}"


def _usage(usage: Json) -> dict[str, Json]:
    """Anthropic's usage of OpenAI's: tokens from a cache are not among `input_tokens`. Ours stay under `tierwise`."""
    found: Any = usage if isinstance(usage, dict) else {}
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    named: dict[str, Json] = {
        "input_tokens": found.get("prompt_tokens", 0) - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": found.get("completion_tokens", 0),
    }
    for name in ("cost", "tierwise"):
        if name in found:
            named[name] = found[name]
    return named
