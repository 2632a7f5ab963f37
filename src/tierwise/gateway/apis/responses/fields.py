"""The fields of a request besides its input: validated, and translated into those of a chat request."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from tierwise.gateway.apis.responses.reading import kind_of, read, refuse
from tierwise.gateway.apis.responses.tools import Tools
from tierwise.spec import limits
from tierwise.spec.errors import SpecError
from tierwise.spec.json import Json

LOGPROBS = "message.output_text.logprobs"
SEALED = "reasoning.encrypted_content"
_INCLUDES = (LOGPROBS, SEALED, "web_search_call.action.sources", "web_search_call.results")
"""What `include` may ask. Web searches never happen, so they have no sources."""

_PASSED = ("temperature", "top_p", "service_tier", "user", "safety_identifier", "prompt_cache_key")
"""Fields that a chat request has under the same name."""
_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format.json_schema": "text.format.schema",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""Fields of a chat request by the names that they have here."""

Text64 = Annotated[str, msgspec.Meta(max_length=64)]
Text512 = Annotated[str, msgspec.Meta(max_length=512)]


class _StreamOptions(msgspec.Struct):
    include_obfuscation: bool | None = None


class _Reasoning(msgspec.Struct):
    effort: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    summary: str | None = None


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Format(msgspec.Struct):
    type: str
    name: str
    schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None


class Asked(msgspec.Struct):
    """A request, with the fields that have their meaning here. A field that is null is not there."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    input: str | Annotated[list[Any], msgspec.Meta(max_length=limits.MESSAGES)] = ""
    instructions: str | None = None
    previous_response_id: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_tool_calls: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """A limit on calls of hosted tools, of which there are none."""
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    service_tier: str | None = None
    metadata: Annotated[dict[Text64, Text512], msgspec.Meta(max_length=16)] | None = None
    client_metadata: dict[str, str] | None = None
    """What Codex says about itself; it is not sent on."""
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    truncation: str | None = None
    background: bool | None = None
    tierwise: dict[str, Any] | None = None

    @property
    def sends_sealed(self) -> bool:
        """Whether reasoning items have `encrypted_content`."""
        return SEALED in (self.include or ())

    @property
    def sends_summary(self) -> bool:
        """Whether thinking is sent as the summary of a reasoning item, and not as its content."""
        return bool(self.reasoning and self.reasoning.get("summary"))

    @property
    def wants_logprobs(self) -> bool:
        return LOGPROBS in (self.include or ())


ALLOWED = frozenset(one.encode_name for one in msgspec.structs.fields(Asked))


def validated(value: dict[str, Any]) -> Asked:
    """The fields of a request.

    Raises:
        SpecError: a field is unknown or invalid, or asks for what no chat request can say.
    """
    for name in ("max_output_tokens", "max_tool_calls", "top_logprobs"):
        if type(number := value.get(name)) is float and number.is_integer():
            value[name] = int(number)
    present = {name: given for name, given in value.items() if given is not None}
    for name in present:
        if name not in ALLOWED:
            field = name[:100]
            allowed = ", ".join(sorted(ALLOWED))
            raise refuse(field, f"unknown field, or one that cannot be served here; allowed: {allowed}")
    try:
        asked = msgspec.convert(present, Asked)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.strip(".`") or what.partition("missing required field `")[2].rstrip("`")
        raise SpecError(f"{field}: {what}", field=field) from error
    except (RecursionError, MemoryError) as error:
        raise SpecError(f"the request cannot be read: {error!r}; send a smaller or flatter one") from error
    if asked.background:
        raise refuse("background", "true is not allowed: a response ends with its request; leave it out")
    if asked.truncation not in (None, "disabled"):
        raise refuse(
            "truncation", f"{asked.truncation!r} is not allowed: no item is dropped silently; allowed: disabled"
        )
    if asked.stream_options is not None:
        options = read(asked.stream_options, _StreamOptions, "stream_options")
        if options.include_obfuscation:
            raise refuse("stream_options.include_obfuscation", "true is not allowed: events are not padded; send false")
    for index, name in enumerate(asked.include or ()):
        if name not in _INCLUDES:
            raise refuse(f"include[{index}]", f"{name!r} is not allowed; allowed: {', '.join(_INCLUDES)}")
    if asked.tierwise and asked.tierwise.get("drafts"):
        raise refuse(
            "tierwise.drafts", "true is not allowed: no event of a response shows drafts; use chat completions"
        )
    return asked


def chat_fields(asked: Asked, tools: Tools) -> dict[str, Any]:
    """The fields of the chat request, without its messages.

    Raises:
        SpecError: a field has no counterpart there.
    """
    chosen = tools.choose(asked.tool_choice) if asked.tool_choice is not None else None
    fields: dict[str, Any] = {"model": asked.model, "stream": bool(asked.stream)}
    for name in _PASSED:
        if (given := getattr(asked, name)) is not None:
            fields[name] = given
    if asked.max_output_tokens is not None:
        fields["max_completion_tokens"] = asked.max_output_tokens
    if asked.wants_logprobs:
        fields["logprobs"] = True
        if asked.top_logprobs is not None:
            fields["top_logprobs"] = asked.top_logprobs
    if tools.functions:
        fields["tools"] = tools.functions
        if chosen is not None:
            fields["tool_choice"] = chosen
        if asked.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = asked.parallel_tool_calls
    if asked.reasoning is not None:
        effort = read(asked.reasoning, _Reasoning, "reasoning").effort
        if effort is not None:
            fields["reasoning_effort"] = effort
    if asked.text is not None:
        text = read(asked.text, _Text, "text")
        if text.verbosity is not None:
            fields["verbosity"] = text.verbosity
        if text.format is not None and (form := _format(text.format)) is not None:
            fields["response_format"] = form
    if asked.tierwise is not None:
        fields["tierwise"] = asked.tierwise
    return fields


def _format(given: dict[str, Any]) -> Json:
    """The `response_format` for a `text.format`; None for text."""
    where = "text.format"
    match kind := kind_of(given, where):
        case "text":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            asked = read(given, _Format, where)
            schema = {name: getattr(asked, name) for name in ("name", "schema", "description", "strict")}
            return {"type": kind, "json_schema": {name: one for name, one in schema.items() if one is not None}}
        case _:
            raise refuse(f"{where}.type", f"{kind!r} is not allowed; allowed: text, json_object, json_schema")


def renamed(error: SpecError) -> SpecError:
    """An error of the chat request, with the names of the fields of this API."""
    for chat, here in _NAMES.items():
        if error.field == chat or error.field.startswith((f"{chat}.", f"{chat}[")):
            field = here + error.field.removeprefix(chat)
            message = str(error).removeprefix(f"{error.field}: ")
            return type(error)(f"{field}: {message}", field=field)
    return error
