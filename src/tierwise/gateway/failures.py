"""Our errors as OpenAI's: the one place that knows HTTP status codes."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from tierwise.spec.json import Json

# The first class that fits counts, so a subclass stands before its parent: status, OpenAI type, code.
STATUSES: dict[type[TierwiseError], tuple[int, str, str]] = {
    NotFound: (404, "invalid_request_error", "not_found"),
    BodyTooLarge: (413, "invalid_request_error", "body_too_large"),
    SpecError: (400, "invalid_request_error", "invalid_value"),
    Overloaded: (429, "rate_limit_error", "engine_overloaded"),
    TimedOut: (504, "server_error", "engine_timed_out"),
    TooLong: (400, "invalid_request_error", "context_length_exceeded"),
    Refused: (400, "invalid_request_error", "engine_refused"),
    Broken: (502, "server_error", "engine_broken"),
    Garbled: (502, "server_error", "engine_garbled"),
    EngineError: (502, "server_error", "engine_error"),
    BudgetError: (504, "server_error", "budget_exhausted"),
    PolicyError: (500, "server_error", "policy_broken"),
}


def status_of(error: TierwiseError) -> int:
    """The HTTP status of one of our errors."""
    return _row(error)[0]


def code_of(error: TierwiseError) -> str:
    """The word for one of our errors that programs can rely on."""
    return _row(error)[2]


def body_of(error: TierwiseError) -> dict[str, Json]:
    """The error in OpenAI's shape."""
    _, kind, code = _row(error)
    field = error.field if isinstance(error, SpecError) else ""
    return {"error": {"message": str(error), "type": kind, "param": field or None, "code": code}}


def headers_of(error: TierwiseError) -> dict[str, str]:
    """`Retry-After`, where the engine asked for it."""
    wait = error.retry_after if isinstance(error, EngineError) else None
    return {} if wait is None else {"retry-after": str(ceil(wait))}  # HTTP knows whole seconds only


def _row(error: TierwiseError) -> tuple[int, str, str]:
    return next((row for kind, row in STATUSES.items() if isinstance(error, kind)), (500, "server_error", "internal"))
