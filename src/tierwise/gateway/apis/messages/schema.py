"""The fields of a Messages request. A field that is not here is refused by name, so nothing is lost silently.

Source: Anthropic's API reference (`anthropic-version: 2023-06-01`), and what Claude Code 2.1 sends with its betas.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from tierwise.spec import limits

Text = Annotated[str, msgspec.Meta(min_length=1)]
Cache = dict[str, Any]
"""`cache_control`: a hint, which no engine needs."""


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    """What is not named is refused."""


class _Block(_Strict, tag_field="type", kw_only=True):
    """A content block, by its type."""

    cache_control: Cache | None = None


class TextBlock(_Block, tag="text"):
    text: str
    citations: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None


class Base64Source(_Strict, tag_field="type", tag="base64"):
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(_Strict, tag_field="type", tag="url"):
    url: str


class ImageBlock(_Block, tag="image"):
    source: Base64Source | UrlSource


class DirectCaller(_Strict, tag_field="type", tag="direct"):
    """The model itself called the tool."""


class ToolUseBlock(_Block, tag="tool_use"):
    id: Text
    name: Text
    input: dict[str, Any]
    caller: DirectCaller | None = None


class ToolResultBlock(_Block, tag="tool_result"):
    tool_use_id: Text
    content: str | list[TextBlock | ImageBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(_Block, tag="thinking"):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(_Block, tag="redacted_thinking"):
    data: str


Block = TextBlock | ImageBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock


class Message(_Strict):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class Tool(_Strict, kw_only=True):
    """A tool of the client. Anthropic's own tools have another `type`, and run on its servers only."""

    name: Text
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: Cache | None = None
    eager_input_streaming: bool | None = None
    """How soon input is streamed: ours always is at once."""
    defer_loading: Literal[False] | None = None
    input_examples: Annotated[list[Any], msgspec.Meta(max_length=0)] | None = None
    allowed_callers: list[Literal["direct"]] | None = None


class _Choice(_Strict, tag_field="type", kw_only=True):
    disable_parallel_tool_use: bool = False


class Auto(_Choice, tag="auto"): ...


class AnyTool(_Choice, tag="any"): ...


class Named(_Choice, tag="tool"):
    name: Text


class No(_Choice, tag="none"): ...


Display = Literal["summarized", "omitted"]


class ThinkingOn(_Strict, tag_field="type", tag="enabled", kw_only=True):
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)]
    display: Display | None = None


class ThinkingOff(_Strict, tag_field="type", tag="disabled"): ...


class ThinkingAdaptive(_Strict, tag_field="type", tag="adaptive", kw_only=True):
    display: Display | None = None


class SchemaFormat(_Strict, tag_field="type", tag="json_schema", kw_only=True):
    schema: dict[str, Any]


class Output(_Strict, kw_only=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: SchemaFormat | None = None


class ThinkingTurns(_Strict, tag_field="type", tag="thinking_turns", kw_only=True):
    value: Annotated[int, msgspec.Meta(ge=1)]


class ClearThinking(_Strict, tag_field="type", tag="clear_thinking_20251015", kw_only=True):
    keep: Literal["all"] | ThinkingTurns | None = None
    """Without it, Anthropic keeps the thinking of the last turn."""


class ContextManagement(_Strict, kw_only=True):
    edits: list[ClearThinking] = []


class Metadata(_Strict, kw_only=True):
    user_id: Annotated[str, msgspec.Meta(max_length=512)] | None = None


class Counted(_Strict, kw_only=True):
    """The fields of a request whose prompt tokens are counted."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=limits.MESSAGES)]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: Auto | AnyTool | Named | No | None = None
    thinking: ThinkingOn | ThinkingOff | ThinkingAdaptive | None = None
    output_config: Output | None = None
    context_management: ContextManagement | None = None
    cache_control: Cache | None = None
    tierwise: dict[str, Any] | None = None


class MessagesRequest(Counted, kw_only=True):
    """A request for an answer."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)]
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    stop_sequences: list[Text] | None = None
    metadata: Metadata | None = None
    stream: bool | None = None
    service_tier: str | None = None
