"""Errors in Anthropic's format, with its types and statuses."""

from __future__ import annotations

from tierwise.gateway.failures import body_of, status_of
from tierwise.spec.errors import Overloaded, TierwiseError
from tierwise.spec.json import Json

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Anthropic's types of errors by status. Any other below 500 is an `invalid_request_error`, else an `api_error`."""


def status(error: TierwiseError) -> int:
    """The HTTP status: an engine without room is 529, because 429 is about the caller's own limits."""
    return 529 if isinstance(error, Overloaded) else status_of(error).http


def failure(error: TierwiseError, usage: Json = None, request: str = "") -> dict[str, Json]:
    """The body of an error.

    Args:
        error: what happened.
        usage: OpenAI's usage object of the spending so far, with ours under `tierwise`.
        request: the id of the request; empty if it has none.
    """
    code = status(error)
    said = body_of(error)["error"]
    message = said["message"] if isinstance(said, dict) else str(error)
    kind = _TYPES.get(code) or ("invalid_request_error" if code < 500 else "api_error")
    body: dict[str, Json] = {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request or None,
    }
    return body if usage is None else {**body, "usage": usage}
