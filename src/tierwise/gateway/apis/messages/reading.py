"""Reads a Messages request into the value of a chat completion, or refuses it by the name of a field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tierwise.gateway.apis.messages.schema import (
    AnyTool,
    Auto,
    Counted,
    MessagesRequest,
    Named,
    No,
    ThinkingOff,
    ThinkingOn,
    Tool,
)
from tierwise.gateway.apis.messages.turns import chat_messages, without_thinking
from tierwise.gateway.wire import invalid
from tierwise.spec.errors import SpecError
from tierwise.spec.json import Json

WISHES = frozenset({"thinking", "thinking_tokens", "reasoning_effort"})
"""Fields of a chat completion that an engine may refuse without losing the answer. Anthropic calls the budget of
thinking a target, and Claude Code sends an effort with every request."""

_LIST_OF_TYPES = {
    "content": "text, image, tool_use, tool_result, thinking, redacted_thinking",
    "source": "base64, url",
    "tools": "custom: other tools run on Anthropic's servers",
    "edits": "clear_thinking_20251015",
}

_Read = TypeVar("_Read", bound=Counted)


def converted(value: dict[str, Any], kind: type[_Read]) -> _Read:
    """The fields of a request.

    Raises:
        SpecError: one is invalid or unknown; the error names it.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _named(error) from error
    except (RecursionError, MemoryError) as error:
        raise SpecError(f"the request cannot be read: {error!r}; send a smaller or flatter one") from error


def chat_value(request: Counted) -> dict[str, Any]:
    """The value of a chat completion that says the same.

    Raises:
        SpecError: it has no chat completion.
    """
    messages = chat_messages(request.system, request.messages)
    for edit in request.context_management.edits if request.context_management else ():
        if edit.keep != "all":
            messages = without_thinking(messages, edit.keep.value if edit.keep else 1)
    value: dict[str, Any] = {"model": request.model, "messages": messages}
    if request.tools:
        value["tools"] = [_tool(tool) for tool in request.tools]
    value.update(_tool_choice(request))
    match request.thinking:
        case ThinkingOn(budget_tokens=budget):
            value.update(thinking=True, thinking_tokens=budget)
        case ThinkingOff():
            value["thinking"] = False
    if (output := request.output_config) is not None:
        if output.effort is not None:
            value["reasoning_effort"] = output.effort
        if output.format is not None:
            schema = {"name": "output", "schema": output.format.schema, "strict": True}
            value["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.tierwise is not None:
        value["tierwise"] = request.tierwise
    if isinstance(request, MessagesRequest):
        value.update(_sampling(request))
    return value


def _sampling(request: MessagesRequest) -> dict[str, Any]:
    named = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": request.stop_sequences or None,
        "user": request.metadata.user_id if request.metadata else None,
        "stream": request.stream,
        "service_tier": None if request.service_tier in _ANY_SERVICE else request.service_tier,
    }
    return {name: value for name, value in named.items() if value is not None}


_ANY_SERVICE = ("auto", "standard_only")
"""Anthropic's own values: about capacity that a customer of theirs has bought."""


def _tool(tool: Tool) -> dict[str, Json]:
    function: dict[str, Json] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(request: Counted) -> dict[str, Json]:
    choice = request.tool_choice
    said: dict[str, Json] = {}
    match choice:
        case None:
            return said
        case Auto():
            said["tool_choice"] = "auto"
        case AnyTool():
            said["tool_choice"] = "required"
        case No():
            said["tool_choice"] = "none"
        case Named(name=name):
            if name not in (tools := [tool.name for tool in request.tools or ()]):
                allowed = ", ".join(tools) or "none, because there are no tools"
                field = "tool_choice.name"
                raise SpecError(f"{field}: there is no tool {name!r}; allowed: {allowed}", field=field)
            said["tool_choice"] = {"type": "function", "function": {"name": name}}
    if choice.disable_parallel_tool_use:
        said["parallel_tool_calls"] = False
    return said


def _named(error: msgspec.ValidationError) -> SpecError:
    """What is wrong, with the field's own name and, for a type, those that are allowed."""
    found = invalid(error)
    message, field = str(found), found.field
    if "contains unknown field `" in message:
        return SpecError(f"{field}: this field has no meaning here that could be kept; remove it", field=field)
    of = field.rsplit(".", 2)[-2].partition("[")[0] if field.endswith(".type") else field.rpartition(".")[2]
    if field.endswith(".type") and (allowed := _LIST_OF_TYPES.get(of)):
        message = f"{message}; allowed: {allowed}"
    return SpecError(message, field=field)
