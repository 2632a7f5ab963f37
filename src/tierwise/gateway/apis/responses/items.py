"""Translates the input items of a request into the messages of a chat request.

Reasoning, a message and function calls that follow each other are one turn of the assistant, and become one message.
The instructions and the system and developer messages before the first other item become one system message: many
chat templates allow one, and only first. What labels an item and is not shown to a model (`id`, `status`, `phase`,
annotations, log-probabilities) is not sent.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from tierwise.gateway.apis.responses.reading import kind_of, read, refuse
from tierwise.gateway.apis.responses.tools import INPUT, chat_name
from tierwise.spec.json import Json

_SEALED = "tierwise:"
"""Begins `encrypted_content` of ours."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

_WITHOUT_CONTENT = {"tool_calls", "refusal"}
"""Fields of an assistant's message that may stand without content."""


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]]
    type: str | None = None
    id: str | None = None
    status: str | None = None
    phase: str | None = None


class _Text(msgspec.Struct):
    type: str
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class _Refusal(msgspec.Struct):
    type: str
    refusal: str


class _Image(msgspec.Struct):
    type: str
    image_url: str | None = None
    detail: str | None = None


class _File(msgspec.Struct):
    type: str
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _Audio(msgspec.Struct):
    type: str
    input_audio: dict[str, Any]


class _Call(msgspec.Struct):
    type: str
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None
    id: str | None = None
    status: str | None = None


class _CustomCall(msgspec.Struct):
    type: str
    call_id: str
    name: str
    input: str
    namespace: str | None = None
    id: str | None = None
    status: str | None = None


class _Output(msgspec.Struct):
    type: str
    call_id: str
    output: str | list[dict[str, Any]]
    name: str | None = None
    id: str | None = None
    status: str | None = None


class _Reasoning(msgspec.Struct):
    type: str
    summary: list[dict[str, Any]] = []
    content: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: str | None = None


def sealed(thinking: str) -> str:
    """Thinking as `encrypted_content`, with which a client that keeps no other part of it sends it back. It is encoded
    and not encrypted: the client was sent the same text.
    """
    return _SEALED + base64.b64encode(thinking.encode()).decode()


class Messages:
    """The messages of a chat request, as items add to them."""

    def __init__(self) -> None:
        self._system: list[str] = []
        """Texts of the first system message."""
        self._messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None
        """The assistant's turn under way."""

    def instruct(self, text: str) -> None:
        """Add the instructions, before any item."""
        self._system.append(text)

    def list(self) -> list[dict[str, Any]]:
        """The messages."""
        for message in self._messages:
            if message["role"] == "assistant" and message["content"] is None and not (_WITHOUT_CONTENT & set(message)):
                message["content"] = ""  # only thinking: engines want null beside tool calls only
        first = [{"role": "system", "content": "\n\n".join(self._system)}] if self._system else []
        return [*first, *self._messages]

    def add(self, item: Any, where: str) -> None:
        """Translate one item.

        Raises:
            SpecError: it has no counterpart in a chat request; the error names its field.
        """
        default = "message" if isinstance(item, dict) and "role" in item else ""
        match kind := kind_of(item, where, default):
            case "message":
                self._message(read(item, _Message, where), where)
            case "function_call":
                call = read(item, _Call, where)
                self._call(call.call_id, chat_name(call.name, call.namespace or ""), call.arguments)
            case "custom_tool_call":
                custom = read(item, _CustomCall, where)
                arguments = msgspec.json.encode({INPUT: custom.input}).decode()
                self._call(custom.call_id, chat_name(custom.name, custom.namespace or ""), arguments)
            case "function_call_output" | "custom_tool_call_output":
                output = read(item, _Output, where)
                content = _content(output.output, f"{where}.output")
                self._say({"role": "tool", "tool_call_id": output.call_id, "content": content})
            case "reasoning":
                self._think(_thinking(read(item, _Reasoning, where), where))
            case _:
                raise refuse(
                    f"{where}.type",
                    f"{kind!r} is not translated into a chat request; allowed: message, function_call, "
                    "function_call_output, custom_tool_call, custom_tool_call_output, reasoning, item_reference",
                )

    def _message(self, message: _Message, where: str) -> None:
        role = _ROLES.get(message.role)
        if role is None:
            raise refuse(f"{where}.role", f"{message.role!r} is not allowed; allowed: {', '.join(_ROLES)}")
        if role == "assistant":
            self._answer(message, where)
            return
        content = _content(message.content, f"{where}.content")
        if role == "system" and not self._messages and (text := _only_text(content)) is not None:
            self._system.append(text)
            return
        self._say({"role": role, "content": content})

    def _answer(self, message: _Message, where: str) -> None:
        """A message of the assistant, in the turn under way if that has no content yet."""
        parts = message.content
        refusal = ""
        if isinstance(parts, list):
            said = [part for part in parts if kind_of(part, f"{where}.content") != "refusal"]
            refused = [part for part in parts if part["type"] == "refusal"]
            refusal = "".join(read(part, _Refusal, f"{where}.content").refusal for part in refused)
            parts = said
        content = _content(parts, f"{where}.content") or None
        if self._turn is None or self._turn["content"] is not None or "refusal" in self._turn:
            self._begin()
        assert self._turn is not None  # noqa: S101 - begun above
        self._turn["content"] = content if content is not None or refusal else ""
        if refusal:
            self._turn["refusal"] = refusal

    def _call(self, call: str, name: str, arguments: str) -> None:
        if self._turn is None:
            self._begin()
        assert self._turn is not None  # noqa: S101 - begun above
        function = {"name": name, "arguments": arguments}
        self._turn.setdefault("tool_calls", []).append({"id": call, "type": "function", "function": function})

    def _think(self, thinking: str) -> None:
        if not thinking:
            return
        if self._turn is None or self._turn["content"] is not None or "tool_calls" in self._turn:
            self._begin()
        assert self._turn is not None  # noqa: S101 - begun above
        before = self._turn.get("reasoning_content")
        self._turn["reasoning_content"] = f"{before}\n\n{thinking}" if before else thinking

    def _begin(self) -> None:
        turn = {"role": "assistant", "content": None}
        self._say(turn)
        self._turn = turn

    def _say(self, message: dict[str, Any]) -> None:
        self._turn = None
        self._messages.append(message)


def _content(content: str | list[dict[str, Any]], where: str) -> Any:
    """Content as a chat message has it: a string, or a list of parts. One part of text is a string."""
    if isinstance(content, str):
        return content
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return parts[0]["text"]
    return parts or ""


def _part(part: Any, where: str) -> dict[str, Json]:
    match kind := kind_of(part, where):
        case "input_text" | "output_text" | "text":
            return {"type": "text", "text": read(part, _Text, where).text}
        case "input_image":
            image = read(part, _Image, where)
            if image.image_url is None:
                raise refuse(f"{where}.image_url", "is missing; send a URL, or data:image/png;base64,…")
            url: dict[str, Json] = {"url": image.image_url}
            if image.detail is not None:
                url["detail"] = image.detail
            return {"type": "image_url", "image_url": url}
        case "input_file":
            file = read(part, _File, where)
            given = {name: getattr(file, name) for name in ("file_data", "file_id", "filename")}
            return {"type": "file", "file": {name: value for name, value in given.items() if value is not None}}
        case "input_audio":
            return {"type": "input_audio", "input_audio": read(part, _Audio, where).input_audio}
        case _:
            allowed = "input_text, output_text, input_image, input_file, input_audio, and refusal of the assistant"
            raise refuse(f"{where}.type", f"{kind!r} is not allowed; allowed: {allowed}")


def _only_text(content: Any) -> str | None:
    """Content as one text, or None if it is not only text."""
    if isinstance(content, str):
        return content
    texts = [part["text"] for part in content if part["type"] == "text"]
    return "\n\n".join(texts) if len(texts) == len(content) else None


def _thinking(item: _Reasoning, where: str) -> str:
    """The thinking of a reasoning item: all of it if the item has it, else its summary."""
    content = [_text_of(part, f"{where}.content", "reasoning_text") for part in item.content or ()]
    summary = [_text_of(part, f"{where}.summary", "summary_text") for part in item.summary]
    if item.encrypted_content:
        opened = _opened(item.encrypted_content, f"{where}.encrypted_content")
        return "".join(content) or opened
    return "".join(content) or "\n\n".join(summary)


def _text_of(part: dict[str, Any], where: str, kind: str) -> str:
    if kind_of(part, where) != kind:
        raise refuse(f"{where}.type", f"{part['type']!r} is not allowed; allowed: {kind}")
    text: str = read(part, _Text, where).text
    return text


def _opened(content: str, where: str) -> str:
    if not content.startswith(_SEALED):
        raise refuse(where, "was not made by Tierwise, so it cannot be read; leave the item out")
    try:
        return base64.b64decode(content.removeprefix(_SEALED), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refuse(where, f"was altered: {error}; leave the item out") from error
