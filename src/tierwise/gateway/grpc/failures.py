"""Our errors as gRPC's statuses: the one place that knows them."""

from __future__ import annotations

from grpc import StatusCode

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

# The first class that fits counts, so a subclass stands before its parent.
STATUSES: dict[type[TierwiseError], StatusCode] = {
    NotFound: StatusCode.NOT_FOUND,
    BodyTooLarge: StatusCode.RESOURCE_EXHAUSTED,
    SpecError: StatusCode.INVALID_ARGUMENT,
    Overloaded: StatusCode.RESOURCE_EXHAUSTED,
    TimedOut: StatusCode.DEADLINE_EXCEEDED,
    TooLong: StatusCode.INVALID_ARGUMENT,
    Refused: StatusCode.INVALID_ARGUMENT,
    Broken: StatusCode.UNAVAILABLE,
    Garbled: StatusCode.INTERNAL,
    EngineError: StatusCode.INTERNAL,
    BudgetError: StatusCode.DEADLINE_EXCEEDED,
    PolicyError: StatusCode.INTERNAL,
}


def status_of(error: TierwiseError) -> StatusCode:
    """The gRPC status of one of our errors."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), StatusCode.INTERNAL)
