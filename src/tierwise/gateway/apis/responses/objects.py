"""The response object, complete or under way, and its error and usage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.gateway.failures import body_of
from tierwise.spec.errors import NotFound, Overloaded, Refused, SpecError, TierwiseError, TooLong

if TYPE_CHECKING:
    from tierwise.gateway.apis.responses.fields import Asked
    from tierwise.spec.json import Json

_CODES: dict[type[TierwiseError], str] = {
    TooLong: "context_length_exceeded",
    Overloaded: "rate_limit_exceeded",
    NotFound: "server_error",
    SpecError: "invalid_prompt",
    Refused: "invalid_prompt",
    TierwiseError: "server_error",
}
"""The codes of a failed response, which are fewer than those of an error body. The first matching class is used."""


@dataclass(slots=True)
class Frame:
    """What all objects of one response have in common."""

    id: str
    created: int
    asked: Asked
    is_stored: bool
    tools: msgspec.Raw = field(init=False)
    """Encoded once: there may be many."""

    def __post_init__(self) -> None:
        self.tools = msgspec.Raw(msgspec.json.encode(self.asked.tools or []))

    def response(self, status: str, output: list[Any], usage: Json = None, **more: Any) -> dict[str, Any]:
        """The object in one state."""
        asked = self.asked
        text = {"format": {"type": "text"}, **(asked.text or {})}
        if text["format"] is None:
            text["format"] = {"type": "text"}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "max_tool_calls": asked.max_tool_calls,
            "model": asked.model,
            "output": output,
            "parallel_tool_calls": asked.parallel_tool_calls is not False,
            "previous_response_id": asked.previous_response_id,
            "prompt_cache_key": asked.prompt_cache_key,
            "reasoning": {"effort": None, "summary": None, **(asked.reasoning or {})},
            "safety_identifier": asked.safety_identifier,
            "service_tier": asked.service_tier,
            "store": self.is_stored,
            "temperature": asked.temperature,
            "text": text,
            "tool_choice": "auto" if asked.tool_choice is None else asked.tool_choice,
            "tools": self.tools,
            "top_logprobs": asked.top_logprobs or 0,
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": usage_of(usage),
            "user": asked.user,
            "metadata": asked.metadata or {},
            **more,
        }


def usage_of(usage: Json) -> Json:
    """The usage of a response for that of a chat completion; ours is under `tierwise` in both."""
    if not isinstance(usage, dict):
        return None
    given: dict[str, Any] = dict(usage)
    cached = given.pop("prompt_tokens_details")["cached_tokens"]
    thought = given.pop("completion_tokens_details")["reasoning_tokens"]
    return {
        "input_tokens": given.pop("prompt_tokens"),
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": given.pop("completion_tokens"),
        "output_tokens_details": {"reasoning_tokens": thought},
        **given,
    }


def error_of(error: TierwiseError) -> dict[str, Json]:
    """The `error` of a failed response."""
    code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
    return {"code": code, "message": _inner(error)["message"]}


def error_event(error: TierwiseError) -> dict[str, Json]:
    """The fields of an `error` event: OpenAI's, and the same as an object, by which clients notice an error."""
    inner = _inner(error)
    return {"code": inner["code"], "message": inner["message"], "param": inner["param"], "error": inner}


def _inner(error: TierwiseError) -> dict[str, Any]:
    found: Any = body_of(error)["error"]
    return dict(found)


def status_of(finish: str) -> tuple[str, Json]:
    """Status and `incomplete_details` for a finish reason."""
    match finish:
        case "length":
            return "incomplete", {"reason": "max_output_tokens"}
        case "content_filter":
            return "incomplete", {"reason": "content_filter"}
        case _:
            return "completed", None
