"""Our errors as clients see them: the one place that knows statuses, of HTTP and of gRPC, and OpenAI's words."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from tierwise.spec.errors import (
    BodyTooLarge,
    Broken,
    BudgetError,
    EngineError,
    Garbled,
    NotFound,
    Overloaded,
    PolicyError,
    Refused,
    SpecError,
    TierwiseError,
    TimedOut,
    TooLong,
)
from tierwise.spec.json import Json


class ErrorStatus(NamedTuple):
    """What clients are told of one kind of error."""

    http: int
    """HTTP's."""
    grpc: str
    """gRPC's status by its name: gRPC is an extra, and HTTP must work without it."""
    type: str
    """OpenAI's word for the family of the error."""
    code: str
    """The word that programs can rely on."""


# The first class that fits counts, so a subclass stands before its parent.
STATUSES: dict[type[TierwiseError], ErrorStatus] = {
    NotFound: ErrorStatus(404, "NOT_FOUND", "invalid_request_error", "not_found"),
    BodyTooLarge: ErrorStatus(413, "RESOURCE_EXHAUSTED", "invalid_request_error", "body_too_large"),
    SpecError: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "invalid_value"),
    Overloaded: ErrorStatus(429, "RESOURCE_EXHAUSTED", "rate_limit_error", "engine_overloaded"),
    TimedOut: ErrorStatus(504, "DEADLINE_EXCEEDED", "server_error", "engine_timed_out"),
    TooLong: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "context_length_exceeded"),
    Refused: ErrorStatus(400, "INVALID_ARGUMENT", "invalid_request_error", "engine_refused"),
    Broken: ErrorStatus(502, "UNAVAILABLE", "server_error", "engine_broken"),
    Garbled: ErrorStatus(502, "INTERNAL", "server_error", "engine_garbled"),
    EngineError: ErrorStatus(502, "INTERNAL", "server_error", "engine_error"),
    BudgetError: ErrorStatus(504, "DEADLINE_EXCEEDED", "server_error", "budget_exhausted"),
    PolicyError: ErrorStatus(500, "INTERNAL", "server_error", "policy_broken"),
    TierwiseError: ErrorStatus(500, "INTERNAL", "server_error", "internal"),
}


def status_of(error: TierwiseError) -> ErrorStatus:
    """What clients are told of one of our errors."""
    return next(status for kind, status in STATUSES.items() if isinstance(error, kind))


def body_of(error: TierwiseError) -> dict[str, Json]:
    """The error in OpenAI's shape."""
    status = status_of(error)
    field = error.field if isinstance(error, SpecError) else ""
    return {"error": {"message": str(error), "type": status.type, "param": field or None, "code": status.code}}


def headers_of(error: TierwiseError) -> dict[str, str]:
    """`Retry-After`, where the engine asked for it."""
    wait = error.retry_after if isinstance(error, EngineError) else None
    return {} if wait is None else {"retry-after": str(ceil(wait))}  # HTTP knows whole seconds only
