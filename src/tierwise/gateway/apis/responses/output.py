"""The output items of a response, built from the chunks of an answer, with the events that say so.

Thinking, the answer and each tool call are items in the order in which they begin. Thinking and the answer end when
another item begins; calls stay open until the response ends, because their pieces may alternate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from tierwise.gateway.apis.responses.items import sealed
from tierwise.gateway.apis.responses.tools import INPUT, ToolName, Tools
from tierwise.spec.json import Fields, Json

if TYPE_CHECKING:
    from tierwise.spec.call import Chunk

Event = tuple[str, dict[str, Any]]
"""Type and fields of an event, without its number."""
Status = Literal["completed", "incomplete"]


class _Item(Protocol):
    def end(self, status: Status) -> list[Event]:
        """The last events of the item."""
        ...

    def done(self) -> dict[str, Any]:
        """The item as it is now."""
        ...


@dataclass(slots=True)
class _Reasoning:
    """Thinking: the summary of the item if the client asked for one, else its content."""

    id: str
    index: int
    is_summary: bool
    is_sealed: bool
    pieces: list[str] = field(default_factory=list)
    status: str = "in_progress"

    def begin(self) -> list[Event]:
        return [
            ("response.output_item.added", {"output_index": self.index, "item": self.done()}),
            (self._name("part.added", "content_part.added"), {**self._place(), "part": self._part("")}),
        ]

    def add(self, text: str) -> Event:
        self.pieces.append(text)
        return self._name("text.delta", "reasoning_text.delta"), {**self._place(), "delta": text}

    def end(self, status: Status) -> list[Event]:
        self.status = status
        text = "".join(self.pieces)
        return [
            (self._name("text.done", "reasoning_text.done"), {**self._place(), "text": text}),
            (self._name("part.done", "content_part.done"), {**self._place(), "part": self._part(text)}),
            ("response.output_item.done", {"output_index": self.index, "item": self.done()}),
        ]

    def done(self) -> dict[str, Any]:
        text = "".join(self.pieces)
        parts = [self._part(text)] if text else []
        item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": parts if self.is_summary else []}
        if not self.is_summary:
            item["content"] = parts
        if self.is_sealed:
            item["encrypted_content"] = sealed(text)
        return {**item, "status": self.status}

    def _name(self, of_summary: str, of_content: str) -> str:
        return f"response.reasoning_summary_{of_summary}" if self.is_summary else f"response.{of_content}"

    def _place(self) -> dict[str, Any]:
        part = "summary_index" if self.is_summary else "content_index"
        return {"item_id": self.id, "output_index": self.index, part: 0}

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "summary_text" if self.is_summary else "reasoning_text", "text": text}


@dataclass(slots=True)
class _Part:
    """Text or a refusal in a message."""

    is_refusal: bool
    pieces: list[str] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)

    def done(self) -> dict[str, Any]:
        text = "".join(self.pieces)
        if self.is_refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "annotations": [], "logprobs": list(self.logprobs), "text": text}


@dataclass(slots=True)
class _Message:
    """The answer."""

    id: str
    index: int
    parts: list[_Part] = field(default_factory=list)
    status: str = "in_progress"

    def begin(self) -> list[Event]:
        return [("response.output_item.added", {"output_index": self.index, "item": self.done()})]

    def add(self, text: str, logprobs: list[Any], *, is_refusal: bool = False) -> list[Event]:
        events: list[Event] = []
        if not self.parts or self.parts[-1].is_refusal != is_refusal:
            events += self._end_part()
            self.parts.append(_Part(is_refusal))
            events.append(("response.content_part.added", {**self._place(), "part": self.parts[-1].done()}))
        part = self.parts[-1]
        part.pieces.append(text)
        part.logprobs += logprobs
        if is_refusal:
            events.append(("response.refusal.delta", {**self._place(), "delta": text}))
        elif text:
            events.append(("response.output_text.delta", {**self._place(), "delta": text, "logprobs": logprobs}))
        return events

    def end(self, status: Status) -> list[Event]:
        self.status = status
        done: Event = ("response.output_item.done", {"output_index": self.index, "item": self.done()})
        return [*self._end_part(), done]

    def done(self) -> dict[str, Any]:
        content = [part.done() for part in self.parts]
        return {"id": self.id, "type": "message", "status": self.status, "role": "assistant", "content": content}

    def _end_part(self) -> list[Event]:
        if not self.parts:
            return []
        place, part = self._place(), self.parts[-1].done()
        if part["type"] == "refusal":
            said: Event = ("response.refusal.done", {**place, "refusal": part["refusal"]})
        else:
            said = ("response.output_text.done", {**place, "text": part["text"], "logprobs": part["logprobs"]})
        return [said, ("response.content_part.done", {**place, "part": part})]

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": len(self.parts) - 1}


@dataclass(slots=True)
class _Call:
    """A call of a function or of a custom tool, whose input is sent as one piece: it comes as JSON in pieces."""

    id: str
    index: int
    call: str
    tool: ToolName
    pieces: list[str] = field(default_factory=list)
    status: str = "in_progress"

    def begin(self) -> list[Event]:
        return [("response.output_item.added", {"output_index": self.index, "item": self.done()})]

    def add(self, arguments: str) -> list[Event]:
        self.pieces.append(arguments)
        if self.tool.is_custom:
            return []
        return [("response.function_call_arguments.delta", {**self._place(), "delta": arguments})]

    def end(self, status: Status) -> list[Event]:
        self.status = status
        text = "".join(self.pieces)
        if self.tool.is_custom:
            given = _input_of(text)
            events: list[Event] = [
                ("response.custom_tool_call_input.delta", {**self._place(), "delta": given}),
                ("response.custom_tool_call_input.done", {**self._place(), "input": given}),
            ]
        else:
            done = {**self._place(), "name": self.tool.name, "arguments": text}
            events = [("response.function_call_arguments.done", done)]
        return [*events, ("response.output_item.done", {"output_index": self.index, "item": self.done()})]

    def done(self) -> dict[str, Any]:
        space: Fields = {"namespace": self.tool.namespace} if self.tool.namespace else {}
        named = {"id": self.id, "call_id": self.call, "name": self.tool.name, **space, "status": self.status}
        text = "".join(self.pieces)
        if self.tool.is_custom:
            return {**named, "type": "custom_tool_call", "input": _input_of(text) if text else ""}
        return {**named, "type": "function_call", "arguments": text}

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index}


def _input_of(arguments: str) -> str:
    """The input of a custom tool in the arguments of its function; all of them if the model wrote something else."""
    try:
        given = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return arguments
    inner = given.get(INPUT) if isinstance(given, dict) and len(given) == 1 else None
    return inner if isinstance(inner, str) else arguments


class Output:
    """The items of one response.

    Args:
        action: the id of its action, with which the ids of items end.
        tools: what the model may call.
        is_summary: whether thinking is the summary of its item.
        is_sealed: whether reasoning items have `encrypted_content`.
        has_logprobs: whether the client asked for log-probabilities.
    """

    def __init__(self, action: str, tools: Tools, *, is_summary: bool, is_sealed: bool, has_logprobs: bool) -> None:
        self._suffix = action.removeprefix("act_")
        self._tools = tools
        self._is_summary, self._is_sealed, self._has_logprobs = is_summary, is_sealed, has_logprobs
        self._all: list[_Item] = []
        self._open: _Reasoning | _Message | None = None
        """The thinking or the answer under way."""
        self._calls: dict[int, _Call] = {}
        """By the index that the chunks give them."""

    def items(self) -> list[dict[str, Any]]:
        """The items as they are now."""
        return [item.done() for item in self._all]

    def add(self, chunk: Chunk) -> list[Event]:
        """Add a chunk. Returns the events for it."""
        delta = chunk.delta
        events: list[Event] = []
        if isinstance(thought := delta.get("reasoning_content"), str) and thought:
            events += self._reason(thought)
        if isinstance(text := delta.get("content"), str) and text:
            events += self._answer(text, self._logprobs_of(chunk))
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            events += self._answer(refusal, [], is_refusal=True)
        pieces = delta.get("tool_calls")
        for piece in pieces if isinstance(pieces, list) else ():
            if isinstance(piece, dict):
                events += self._call(piece)
        return events

    def end(self, status: Status) -> list[Event]:
        """End all items. An answer without any is an empty message. Only the last item can be incomplete."""
        events: list[Event] = []
        if not self._all:
            events += self._answer("", [])
        ending: list[_Item] = [] if self._open is None else [self._open]
        ending += self._calls.values()
        for item in sorted(ending, key=self._all.index):
            events += item.end(status if item is self._all[-1] else "completed")
        self._open, self._calls = None, {}
        return events

    def _reason(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._open, _Reasoning):
            events += self._close()
            self._open = _Reasoning(self._id("rs"), len(self._all), self._is_summary, self._is_sealed)
            self._all.append(self._open)
            events += self._open.begin()
        return [*events, self._open.add(text)]

    def _answer(self, text: str, logprobs: list[Any], *, is_refusal: bool = False) -> list[Event]:
        events: list[Event] = []
        if not isinstance(self._open, _Message):
            events += self._close()
            self._open = _Message(self._id("msg"), len(self._all))
            self._all.append(self._open)
            events += self._open.begin()
        return events + self._open.add(text, logprobs, is_refusal=is_refusal)

    def _call(self, piece: Fields) -> list[Event]:
        number = piece.get("index")
        at = number if isinstance(number, int) else 0
        inner: Any = piece.get("function") or piece.get("custom") or {}
        events: list[Event] = []
        if (call := self._calls.get(at)) is None:
            events += self._close()
            tool = self._tools.named(str(inner.get("name", "")))
            kind = "ctc" if tool.is_custom else "fc"
            call = _Call(self._id(kind), len(self._all), str(piece.get("id", "")), tool)
            self._calls[at] = call
            self._all.append(call)
            events += call.begin()
        arguments = inner.get("arguments") or inner.get("input") or ""
        return events + call.add(arguments) if isinstance(arguments, str) and arguments else events

    def _close(self) -> list[Event]:
        events = [] if self._open is None else self._open.end("completed")
        self._open = None
        return events

    def _id(self, kind: str) -> str:
        return f"{kind}_{self._suffix}_{len(self._all)}"

    def _logprobs_of(self, chunk: Chunk) -> list[Any]:
        if not self._has_logprobs or chunk.logprobs is None:
            return []
        tokens = chunk.logprobs.get("content")
        return [_logprob(token) for token in _objects(tokens)]


def _objects(values: Json) -> Iterable[Any]:
    return (value for value in values if isinstance(value, dict)) if isinstance(values, list) else ()


def _logprob(token: Fields) -> dict[str, Any]:
    """A token's record, whose bytes clients expect."""
    likely = [_of_token(one) for one in _objects(token.get("top_logprobs"))]
    return {**_of_token(token), "top_logprobs": likely}


def _of_token(token: Fields) -> dict[str, Any]:
    text = token.get("token")
    text = text if isinstance(text, str) else ""
    given = token.get("bytes")
    return {
        "token": text,
        "bytes": given if isinstance(given, list) else list(text.encode(errors="replace")),
        "logprob": token.get("logprob"),
    }
