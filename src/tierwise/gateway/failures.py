"""Maps errors to HTTP and gRPC statuses and to OpenAI's error format."""

from __future__ import annotations

from math import ceil, isfinite
from typing import NamedTuple

from tierwise.spec.errors import (
    AlreadyKnown,
    BodyTooLarge,
    Broken,
    BudgetError,
    EngineError,
    Forbidden,
    Garbled,
    KeysUnavailable,
    LimitError,
    Misconfigured,
    ModelForbidden,
    NoSuchModel,
    NoSuchResponse,
    NotFound,
    NotJson,
    OutOfQuota,
    Overloaded,
    PolicyError,
    RateLimited,
    Refused,
    SpecError,
    Stopping,
    TierwiseError,
    TimedOut,
    TooLate,
    TooLong,
    Unauthorized,
)
from tierwise.spec.json import Json


class ErrorStatus(NamedTuple):
    """The client-visible form of one kind of error."""

    http: int
    """HTTP's."""
    grpc: str
    """Name of the gRPC status; a string, because gRPC is an optional extra."""
    type: str
    """OpenAI's error type."""
    code: str
    """Stable error code for programs."""


# The first matching class is used, so subclasses come before their parents.
STATUSES: dict[type[TierwiseError], ErrorStatus] = {
    Unauthorized: ErrorStatus(401, "UNAUTHENTICATED", "authentication_error", "invalid_api_key"),
    Forbidden: ErrorStatus(403, "PERMISSION_DENIED", "permission_error", "forbidden"),
    ModelForbidden: ErrorStatus(403, "PERMISSION_DENIED", "permission_error", "model_not_allowed"),
    RateLimited: ErrorStatus(429, "RESOURCE_EXHAUSTED", "rate_limit_error", "rate_limit_exceeded"),
    OutOfQuota: ErrorStatus(429, "RESOURCE_EXHAUSTED", "insufficient_quota", "insufficient_quota"),
    KeysUnavailable: ErrorStatus(503, "UNAVAILABLE", "server_error", "keys_unavailable"),
    NoSuchModel: ErrorStatus(404, "NOT_FOUND", "invalid_request_error", "model_not_found"),
    NotFound: ErrorStatus(404, "NOT_FOUND", "invalid_request_error", "not_found"),
    NoSuchResponse: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "previous_response_not_found"),
    AlreadyKnown: ErrorStatus(409, "ALREADY_EXISTS", "invalid_request_error", "already_labelled"),
    TooLate: ErrorStatus(410, "FAILED_PRECONDITION", "invalid_request_error", "label_too_late"),
    BodyTooLarge: ErrorStatus(413, "RESOURCE_EXHAUSTED", "invalid_request_error", "body_too_large"),
    NotJson: ErrorStatus(415, "INVALID_ARGUMENT", "invalid_request_error", "unsupported_media_type"),
    SpecError: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "invalid_value"),
    Overloaded: ErrorStatus(429, "RESOURCE_EXHAUSTED", "rate_limit_error", "engine_overloaded"),
    TimedOut: ErrorStatus(504, "DEADLINE_EXCEEDED", "server_error", "engine_timed_out"),
    TooLong: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "context_length_exceeded"),
    Refused: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "engine_refused"),
    Misconfigured: ErrorStatus(502, "FAILED_PRECONDITION", "server_error", "engine_misconfigured"),
    Broken: ErrorStatus(502, "UNAVAILABLE", "server_error", "engine_broken"),
    Garbled: ErrorStatus(502, "INTERNAL", "server_error", "engine_garbled"),
    EngineError: ErrorStatus(502, "INTERNAL", "server_error", "engine_error"),
    BudgetError: ErrorStatus(504, "DEADLINE_EXCEEDED", "server_error", "budget_exhausted"),
    Stopping: ErrorStatus(503, "UNAVAILABLE", "server_error", "server_stopping"),
    PolicyError: ErrorStatus(500, "INTERNAL", "server_error", "policy_broken"),
    TierwiseError: ErrorStatus(500, "INTERNAL", "server_error", "internal"),
}


def status_of(error: TierwiseError) -> ErrorStatus:
    """The status of an error."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def body_of(error: TierwiseError) -> dict[str, Json]:
    """The error in OpenAI's format."""
    status = status_of(error)
    field = error.field if isinstance(error, SpecError) else ""
    message = str(error).encode(errors="replace").decode()  # an engine's words may hold half a character
    return {"error": {"message": message, "type": status.type, "param": field or None, "code": status.code}}


def headers_of(error: TierwiseError) -> dict[str, str]:
    """`Retry-After` if the engine asked for it, and how to send the key.

    `x-should-retry: false` stops OpenAI's SDKs from retrying an error that needs a change of our settings.
    """
    if isinstance(error, Misconfigured):
        return {"x-should-retry": "false"}
    if isinstance(error, Unauthorized):
        return {"www-authenticate": "Bearer"}
    if isinstance(error, LimitError):
        stop = {"x-should-retry": "false"} if isinstance(error, OutOfQuota) else {}
        return {**error.headers, **stop, **_retry_after(error.retry_after)}
    return _retry_after(error.retry_after if isinstance(error, EngineError) else None)


def _retry_after(wait: float | None) -> dict[str, str]:
    if wait is None or not isfinite(wait):
        return {}
    return {"retry-after": str(ceil(min(max(wait, 0.0), _MOST_RETRY_SECONDS)))}  # HTTP allows whole seconds only


_MOST_RETRY_SECONDS = 1e6
