"""Joins the deltas of a stream into a message, as OpenAI's clients do, and puts each into the form that clients expect.

Servers repeat, omit and split what OpenAI sends once. Both the message and the deltas shown to a client come from here,
so they are equally well-formed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from tierwise.spec.json import Fields, Json

_SURROGATE = re.compile("[\ud800-\udfff]")
_PAYLOADS = {"function": "arguments", "custom": "input"}
"""The fields that hold the name of a called tool, each with the field of its input."""
_ONCE = frozenset({"id", "type", "name", "index", "format"})
"""Fields whose strings are not pieces of a text. The first value is kept."""


class DeltaJoiner:
    """Joins deltas. `add` and `end` return what a client is shown of them.

    Attributes:
        extra: message fields without a field in `Completion`.
    """

    __slots__ = ("_calls", "_others", "_reasoning", "_text", "extra")

    def __init__(self) -> None:
        self._text, self._reasoning = _TextField(), _TextField()
        self._others: dict[str, _TextField] = {}
        self._calls = _ToolCalls()
        self.extra: dict[str, Json] = {}

    @property
    def text(self) -> str:
        return self._text.joined

    @property
    def reasoning(self) -> str:
        return self._reasoning.joined

    @property
    def tool_calls(self) -> tuple[Fields, ...]:
        """The calls in the order in which they began; a call without a name or any input is none."""
        return tuple(call.message() for call in self._calls.begun)

    def add(self, delta: Fields) -> Fields:
        """Join a delta.

        Returns:
            The same delta as a client is shown it: without the role, nulls and empty texts, with content as text,
            with thinking as `reasoning_content`, and with every tool call at an index of its own.
        """
        if len(delta) == 1 and isinstance(content := delta.get("content"), str):  # nearly every delta
            field = self._text
            if content and content.isascii() and not field.half:
                field.pieces.append(content)
                return delta
            piece = field.add(content)
            if not piece:
                return {}
            return delta if piece is content else {"content": piece}
        for name, value in delta.items():
            if (value and name != "role") or name not in _JOINED_ABOVE:
                break
        else:
            return {}  # as the first, which names the role
        shown: dict[str, Json] = {}
        text, thought = _read_content(delta.get("content"))
        named = delta.get("reasoning_content") or delta.get("reasoning")  # some servers send the same text in both
        thought = "".join(_read_content(named)) or thought
        if piece := self._text.add(text):
            shown["content"] = piece
        if piece := self._reasoning.add(thought):
            shown["reasoning_content"] = piece
        if pieces := self._calls.add(delta.get("tool_calls")):
            shown["tool_calls"] = pieces
        for name, value in delta.items():
            if name not in _JOINED_ABOVE:
                new = self._add_other(name, value)
                if new is not None and new != "":
                    shown[name] = new
        return shown

    def end(self) -> dict[str, Json]:
        """What was held back until now: half a character, a tool call without a name or id. May be called twice."""
        shown: dict[str, Json] = {}
        if piece := self._text.end():
            shown["content"] = piece
        if piece := self._reasoning.end():
            shown["reasoning_content"] = piece
        if pieces := self._calls.end():
            shown["tool_calls"] = pieces
        for name, other in self._others.items():
            if piece := other.end():
                shown[name] = piece
                self.extra[name] = other.joined
        return shown

    def _add_other(self, name: str, value: Json) -> Json:
        """Join a field of the message that is no field of ours. Returns what is shown of it."""
        before = self.extra.get(name)
        if isinstance(value, str) and name not in _ONCE and (before is None or name in self._others):
            text = self._others.setdefault(name, _TextField())
            value = text.add(value)
            self.extra[name] = text.joined
            return value
        if isinstance(before, dict) and isinstance(value, dict):
            value = {key: piece for key, piece in value.items() if key not in _ONCE or not before.get(key)}
        self.extra[name] = joined(before, value, name)
        return value


_JOINED_ABOVE = frozenset({"role", "content", "reasoning_content", "reasoning", "tool_calls"})


def joined(before: Json, piece: Json, name: str = "") -> Json:
    """Merge a delta's value into a field: texts and lists are concatenated, objects are merged, an id, type or name is
    set once, and null and `""` change nothing.
    """
    if before is None or before == "":
        return piece if piece is not None else before
    if piece is None or piece == "" or (name in _ONCE and isinstance(before, str)):
        return before
    if isinstance(before, str) and isinstance(piece, str):
        return before + piece
    if isinstance(before, list) and isinstance(piece, list):
        return [*before, *piece]
    if isinstance(before, dict) and isinstance(piece, dict):
        return {**before, **{key: joined(before.get(key), value, key) for key, value in piece.items()}}
    return piece


def _read_content(value: Any) -> tuple[str, str]:
    """Text and thinking of a content field: a text, or a list of parts."""
    if isinstance(value, str):
        return value, ""
    text, thought = "", ""
    for part in value if isinstance(value, list) else [value]:
        match part:
            case str() | {"type": "text" | "output_text", "text": str()}:
                text += part if isinstance(part, str) else part["text"]
            case {"type": "thinking" | "reasoning", "thinking": inner} | {
                "type": "thinking" | "reasoning",
                "text": inner,
            }:
                thought += _read_content(inner)[0]
            case {"text": str(piece)} if "type" not in part:
                text += piece
    return text, thought


class _TextField:
    """A text that comes in pieces. Half a character at the end of a piece waits for the other half."""

    __slots__ = ("half", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.half = ""

    @property
    def joined(self) -> str:
        if len(self.pieces) > 1:
            self.pieces = ["".join(self.pieces)]
        return self.pieces[0] if self.pieces else ""

    def add(self, piece: str) -> str:
        """Returns what can be shown now."""
        if self.half or not piece.isascii():
            piece = self._whole(piece)
        if piece:
            self.pieces.append(piece)
        return piece

    def end(self) -> str:
        half, self.half = self.half, ""
        return self.add("\ufffd") if half else ""

    def _whole(self, piece: str) -> str:
        if not piece:
            return ""
        piece, self.half = self.half + piece, ""
        if _SURROGATE.search(piece) is None:
            return piece
        if "\ud800" <= piece[-1] <= "\udbff":
            piece, self.half = piece[:-1], piece[-1]
        return whole_characters(piece)


def whole_characters(text: str) -> str:
    """The text with pairs of surrogates as one character, and with U+FFFD for a surrogate without its other half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _ToolCall:
    """One call under way."""

    __slots__ = ("_inner", "_outer", "_payload", "id", "index", "input", "is_shown", "name", "type")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.type = ""
        self.name = ""
        self.input = _TextField()
        self.is_shown = False
        self._payload = ""
        """The field that holds name and input, once known."""
        self._inner: dict[str, Json] = {}
        """Other fields of the payload."""
        self._outer: dict[str, Json] = {}
        """Other fields of the call."""

    @property
    def is_known(self) -> bool:
        return bool(self.id and self.name)

    @property
    def is_empty(self) -> bool:
        return not (self.name or self.input.joined)

    @property
    def has_whole_input(self) -> bool:
        """Whether its input so far is a JSON object, so that more input cannot belong to it."""
        text = self.input.joined.strip()
        if not (text.startswith("{") and text.endswith("}")):
            return False
        try:
            return isinstance(msgspec.json.decode(text), dict)
        except (ValueError, RecursionError):
            return False

    def add(self, piece: Fields) -> dict[str, Json]:
        """Join a piece. Returns the fields to show of it once the call is announced."""
        shown: dict[str, Json] = {}
        self.id = self.id or _id_of(piece)
        kind = piece.get("type")
        self.type = self.type or (kind if isinstance(kind, str) else "")
        for name, value in piece.items():
            if name in _PAYLOADS:
                if isinstance(value, dict) and (payload := self._add_payload(name, value)):
                    shown[self._payload] = payload
            elif name not in ("index", "id", "type") and (new := _merge(self._outer, name, value)) is not None:
                shown[name] = new
        return shown

    def end(self) -> dict[str, Json]:
        """The fields to show of what was held back."""
        half = self.input.end()
        return {self._payload: {_PAYLOADS[self._payload]: half}} if half else {}

    def message(self) -> dict[str, Json]:
        """The call as in a message."""
        self.id = self.id or f"call_{random.getrandbits(96):024x}"  # clients answer a call by its id
        payload = self._payload or "function"
        inner: Json = {"name": self.name, _PAYLOADS[payload]: self.input.joined, **self._inner}
        return {"id": self.id, "type": self.type or payload, payload: inner, **self._outer}

    def _add_payload(self, payload: str, fields: Fields) -> dict[str, Json]:
        self._payload = self._payload or payload
        text = _PAYLOADS[self._payload]
        shown: dict[str, Json] = {}
        for name, value in fields.items():
            if name == "name":
                self.name = self.name or (whole_characters(value) if isinstance(value, str) else "")
            elif name == text:
                given = msgspec.json.encode(value).decode() if isinstance(value, dict | list) else value
                if isinstance(given, str) and (piece := self.input.add(given)):
                    shown[text] = piece
            elif (new := _merge(self._inner, name, value)) is not None:
                shown[name] = new
        return shown


def _merge(fields: dict[str, Json], name: str, value: Json) -> Json:
    """Join a value into a field. Returns what is new; None if nothing is."""
    before = fields.get(name)
    after = joined(before, value, name)
    if after is None or after == before:
        return None
    fields[name] = after
    return value


class _ToolCalls:
    """The calls of one message."""

    __slots__ = ("_at", "_calls", "_current")

    def __init__(self) -> None:
        self._calls: list[_ToolCall] = []
        self._at: dict[int, _ToolCall] = {}
        """The call under way at each of the server's indices."""
        self._current: _ToolCall | None = None

    @property
    def begun(self) -> Iterable[_ToolCall]:
        return (call for call in self._calls if not call.is_empty)

    def add(self, pieces: Any) -> list[Json]:
        """Join the pieces of a delta. Returns those to show."""
        if not pieces:
            return []
        shown: list[Json] = []
        seen: set[int] = set()
        for piece in [pieces] if isinstance(pieces, dict) else pieces if isinstance(pieces, list) else []:
            if not isinstance(piece, dict) or not any(piece.get(name) for name in piece if name != "index"):
                continue
            call = self._call_of(piece, seen)
            seen.add(call.index)
            if self._current is not None and self._current is not call:
                shown += self._announced(self._current)
            self._current = call
            fields = call.add(piece)
            if call.is_shown:
                if fields:
                    shown.append({"index": call.index, **fields})
            elif call.is_known:
                shown += self._announced(call)
        return shown

    def end(self) -> list[Json]:
        """What is not shown yet."""
        shown: list[Json] = []
        for call in self._calls:
            shown += self._announced(call)
            if rest := call.end():
                shown.append({"index": call.index, **rest})
        return shown

    def _announced(self, call: _ToolCall) -> list[Json]:
        """The first piece of a call, with all that is known of it; nothing where it was shown, or is no call."""
        if call.is_shown or call.is_empty:
            return []
        call.is_shown = True
        return [{"index": call.index, **call.message()}]

    def _call_of(self, piece: Fields, seen: set[int]) -> _ToolCall:
        """The call that a piece belongs to.

        A new id begins a new call. Without an id, the piece belongs to the call under way at its index, or to the last
        one if it has no index; unless it names a tool and that call is complete or calls another tool.

        Args:
            piece: of a call.
            seen: indices of the calls with an earlier piece in the same delta.
        """
        index, id_ = _index_of(piece), _id_of(piece)
        under_way = self._current if index is None else self._at.get(index)
        name, has_input = _named(piece)
        if id_:
            if under_way is not None and under_way.id == id_:
                return under_way
            same = next((call for call in self._calls if call.id == id_), None)
            if same is not None and (under_way is not None or index is None or not name):
                return self._remember(same, index)
            if under_way is None or under_way.id:
                return self._remember(None, index)
        elif under_way is None:
            return self._remember(None, index)
        is_repeated = index is None and not under_way.id and under_way.index in seen
        is_other = bool(name and under_way.name) and (
            is_repeated or (under_way.has_whole_input and (has_input or name != under_way.name))
        )
        return self._remember(None, index) if is_other else under_way

    def _remember(self, call: _ToolCall | None, index: int | None) -> _ToolCall:
        """Make a call, new if it is None, the one under way at a server's index."""
        if call is None:
            call = _ToolCall(len(self._calls))
            self._calls.append(call)
        if index is not None:
            self._at[index] = call
        return call


def _id_of(piece: Fields) -> str:
    value = piece.get("id")
    return whole_characters(value) if isinstance(value, str) else str(value) if type(value) is int else ""


def _index_of(piece: Fields) -> int | None:
    value = piece.get("index")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _named(piece: Fields) -> tuple[str, bool]:
    """The tool that a piece names, and whether it has input."""
    for name, field in _PAYLOADS.items():
        if isinstance(payload := piece.get(name), dict):
            called = payload.get("name")
            return called if isinstance(called, str) else "", bool(payload.get(field))
    return "", False
