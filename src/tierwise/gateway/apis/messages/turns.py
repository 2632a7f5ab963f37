"""The turns of a Messages conversation as messages of chat completions."""

from __future__ import annotations

from typing import Any

import msgspec

from tierwise.gateway.apis.messages.schema import (
    Base64Source,
    ImageBlock,
    Message,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)
from tierwise.spec.errors import SpecError
from tierwise.spec.json import Json

Parts = list[dict[str, Json]]


def chat_messages(system: str | list[TextBlock] | None, messages: list[Message]) -> list[dict[str, Json]]:
    """The conversation as chat messages.

    Text blocks of one turn are joined with a line break, as engines do with text parts. Turns of the user that follow
    each other are one, as in Anthropic's API. A system message within the conversation, which most chat templates
    refuse, is told to the model by the user's turn in `<system-reminder>` tags.

    Raises:
        SpecError: a block is where it cannot be.
    """
    found: list[dict[str, Json]] = []
    if system := _joined(system, "\n\n"):
        found.append({"role": "system", "content": system})
    for number, message in enumerate(messages):
        place = f"messages[{number}]"
        if message.role == "assistant":
            found.append(_assistant(message, place))
        else:
            for added in _user(message, place):
                _append(found, added)
    if messages[-1].role == "assistant":
        field = f"messages[{len(messages) - 1}].role"
        raise SpecError(
            f"{field}: the last message is the assistant's, and an answer that it begins cannot be continued here; "
            "end with a message of the user",
            field=field,
        )
    return found


def without_thinking(messages: list[dict[str, Json]], turns: int) -> list[dict[str, Json]]:
    """The conversation with thinking in the last turns only.

    Args:
        messages: of chat completions.
        turns: how many turns of the assistant keep their thinking.
    """
    kept, left = [], turns
    for message in reversed(messages):
        if "reasoning_content" in message:
            if left <= 0:
                message = {name: value for name, value in message.items() if name not in _THOUGHT}  # noqa: PLW2901
            left -= 1
        kept.append(message)
    return kept[::-1]


_THOUGHT = ("reasoning_content", "reasoning")


def _joined(text: str | list[TextBlock] | None, between: str) -> str:
    return text if isinstance(text, str) else between.join(block.text for block in text or ())


def _append(found: list[dict[str, Json]], added: dict[str, Any]) -> None:
    """Add a message, joined with the one before if both are the user's."""
    before: Any = found[-1] if found else None
    if added["role"] != "user" or before is None or before["role"] != "user":
        found.append(added)
        return
    one, other = before["content"], added["content"]
    if isinstance(one, str) and isinstance(other, str):
        found[-1] = {"role": "user", "content": f"{one}\n{other}"}
    else:
        found[-1] = {"role": "user", "content": [*_as_parts(one), *_as_parts(other)]}


def _as_parts(content: Any) -> Parts:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _assistant(message: Message, place: str) -> dict[str, Json]:
    if isinstance(message.content, str):
        return {"role": "assistant", "content": message.content}
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Json] = []
    for number, block in enumerate(message.content):
        match block:
            case TextBlock():
                texts.append(block.text)
            case ThinkingBlock():
                thoughts.append(block.thinking)
            case RedactedThinkingBlock():
                pass  # sealed for the server that wrote it: no model of ours can read it
            case ToolUseBlock():
                given = msgspec.json.encode(block.input).decode()
                calls.append({"id": block.id, "type": "function", "function": {"name": block.name, "arguments": given}})
            case _:
                raise _misplaced(block, f"{place}.content[{number}]", message.role)
    said: dict[str, Json] = {"role": "assistant", "content": "\n".join(texts) if texts or not calls else None}
    if thought := "\n".join(thoughts):
        said["reasoning_content"] = said["reasoning"] = thought  # both names that servers read
    if calls:
        said["tool_calls"] = calls
    return said


def _user(message: Message, place: str) -> list[dict[str, Json]]:
    """A turn of the user, or a system message: the results of tools, then what is said."""
    is_system = message.role == "system"
    if isinstance(message.content, str):
        text = _reminder(message.content) if is_system else message.content
        return [{"role": "user", "content": text}]
    results: list[dict[str, Json]] = []
    parts: Parts = []
    has_spoken = False
    for number, block in enumerate(message.content):
        where = f"{place}.content[{number}]"
        match block:
            case TextBlock():
                has_spoken = True
                parts.append({"type": "text", "text": _reminder(block.text) if is_system else block.text})
            case ImageBlock() if not is_system:
                has_spoken = True
                parts.append(_image(block))
            case ToolResultBlock() if not is_system:
                if has_spoken:
                    raise SpecError(f"{where}: results of tools come before all other blocks", field=where)
                result, images = _result(block)
                results.append(result)
                parts += images
            case _:
                raise _misplaced(block, where, message.role)
    if not parts:
        return results or [{"role": "user", "content": ""}]
    return [*results, {"role": "user", "content": _simplest(parts)}]


def _simplest(parts: Parts) -> Json:
    """Text alone as a string, which every chat template reads."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(str(part["text"]) for part in parts)
    return list(parts)


def _result(block: ToolResultBlock) -> tuple[dict[str, Json], Parts]:
    """The message of a tool, and its images, which only the user's message can show."""
    images: Parts = []
    if isinstance(block.content, list):
        text = "\n".join(one.text for one in block.content if isinstance(one, TextBlock))
        shown = [_image(one) for one in block.content if isinstance(one, ImageBlock)]
        if shown:
            images = [{"type": "text", "text": f"Images in the result of tool call {block.tool_use_id}:"}, *shown]
    else:
        text = block.content or ""
    if block.is_error and not text.lower().startswith(("error", "<tool_use_error>")):
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}, images


def _image(block: ImageBlock) -> dict[str, Json]:
    source = block.source
    url = f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Source) else source.url
    return {"type": "image_url", "image_url": {"url": url}}


def _reminder(text: str) -> str:
    return f"<system-reminder>\n{text}\n</system-reminder>"


def _misplaced(block: object, field: str, role: str) -> SpecError:
    kind = type(block).__struct_config__.tag  # type: ignore[attr-defined]
    return SpecError(
        f"{field}.type: a message of the role {role} has no block of the type {kind}", field=f"{field}.type"
    )
