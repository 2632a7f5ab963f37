"""The error hierarchy, with HTTP status codes.

    TierwiseError
    ├─ SpecError        the request or file is invalid                      400
    │  ├─ NotFound      it names something that does not exist              404
    │  │  └─ NoSuchModel  it names a tier or route that does not exist      404
    │  ├─ NoSuchResponse  it continues a response that is not stored        400
    │  ├─ AlreadyKnown  it labels an answer whose label is known            409
    │  ├─ TooLate       it labels an action that waits no longer            410
    │  ├─ BodyTooLarge  the request body is too large                       413
    │  └─ NotJson       the body is not declared as JSON                    415
    ├─ AccessError      the caller may not use the endpoint
    │  ├─ Unauthorized  its key is missing or wrong                         401
    │  ├─ Forbidden     it is a web page, or means another host             403
    │  └─ ModelForbidden  its key may not use the model                     403
    ├─ LimitError       a limit of the caller's key or team is reached
    │  ├─ RateLimited   too many requests or tokens at this time            429
    │  └─ OutOfQuota    too few dollars of a budget are left                429
    ├─ KeysUnavailable  keys or budgets cannot be checked now               503
    ├─ EngineError      an engine failed; carries the engine's name
    │  ├─ Overloaded    it has no free capacity                             429
    │  ├─ TimedOut      it did not answer in time                           504
    │  ├─ TooLong       the prompt does not fit its context                 400
    │  ├─ Refused       it rejected the request as wrong                    400
    │  ├─ Misconfigured it rejects our own settings: key, URL, model …      502
    │  ├─ Broken        it crashed, is unreachable, or failed internally    502
    │  └─ Garbled       its response cannot be parsed                       502
    ├─ BudgetError      no answer was possible within the budget            504
    ├─ Stopping         the endpoint stops before the answer is complete    503
    ├─ PolicyError      a policy has a bug; carries the policy's name       500
    └─ LedgerError      an action could not be recorded: alert only         (never a status)

Only the gateway maps these to status codes; a test checks that the mapping is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType


class TierwiseError(Exception):
    """Base class of all Tierwise errors. Messages state what was seen, what is allowed, and what to do next."""


class SpecError(TierwiseError):
    """The request or file is invalid.

    Args:
        message: what was seen and what is allowed.
        field: path of the offending field (`messages[2].role`, `tiers.max.policy`); empty if none.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFound(SpecError):
    """The request names a model, action, file or member that does not exist."""


class NoSuchModel(NotFound):
    """The request names a model that is neither a tier nor a route."""


class NoSuchResponse(SpecError):
    """The request continues a response that is not stored, or no longer."""


class AlreadyKnown(SpecError):
    """The request labels an answer that has a label, or an action whose loss is known."""


class TooLate(SpecError):
    """The request labels an action that has waited for labels for too long."""


class BodyTooLarge(SpecError):
    """The request body exceeds the size limit."""


class NotJson(SpecError):
    """The request body is not declared as JSON, or is encoded in a way that is not read."""


class AccessError(TierwiseError):
    """The caller may not use the endpoint."""


class Unauthorized(AccessError):
    """The endpoint has a key, and the caller did not send it."""


class Forbidden(AccessError):
    """The request comes from a web page that is not allowed, or is for a host that is not this endpoint."""


class ModelForbidden(AccessError):
    """The caller's key may not use the model."""


class LimitError(TierwiseError):
    """A limit of the caller's key or team is reached.

    Args:
        message: what was seen and what is allowed.
        headers: response headers that say the same to programs.
        retry_after: seconds until it may be admitted; None if that is not known.
    """

    def __init__(
        self, message: str, *, headers: Mapping[str, str] = MappingProxyType({}), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.headers = headers
        self.retry_after = retry_after


class RateLimited(LimitError):
    """There were too many requests or tokens in this minute, or too many actions run."""


class OutOfQuota(LimitError):
    """Too few dollars of a budget are left for what the request may cost."""


class KeysUnavailable(TierwiseError):
    """Keys or budgets cannot be checked now, because their database is away: nobody is let in."""


class ConfigErrors(SpecError):
    """All errors found in a file."""

    def __init__(self, errors: list[SpecError]) -> None:
        super().__init__("\n".join(f"{error.field}: {error}" if error.field else str(error) for error in errors))
        self.errors = errors


class EngineError(TierwiseError):
    """An engine failed.

    Args:
        message: the engine's own message, if it gave one.
        engine: the deployment's name.
        retry_after: seconds to wait, if the engine asked for it.
    """

    def __init__(self, message: str, *, engine: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.engine = engine
        self.was_shown = False
        """Whether the user has already seen part of the failed pass."""
        self.retry_after = retry_after


class Overloaded(EngineError):
    """The engine has no free capacity for another pass."""


class TimedOut(EngineError):
    """The engine did not answer in time."""


class TooLong(EngineError):
    """The prompt does not fit the engine's context."""


class Refused(EngineError):
    """The engine rejected the request as invalid."""


class Misconfigured(EngineError):
    """The engine rejected our own settings, such as the key, the URL or the model. Only a change of them helps."""


class Broken(EngineError):
    """The engine crashed, is unreachable, or failed internally."""


class Garbled(EngineError):
    """The engine's response cannot be parsed."""


class BudgetError(TierwiseError):
    """No answer was possible within the budget."""


class Stopping(TierwiseError):
    """The endpoint was stopped before the answer was complete."""


class PolicyError(TierwiseError):
    """A policy has a bug."""

    def __init__(self, message: str, *, policy: str = "") -> None:
        super().__init__(message)
        self.policy = policy


class LedgerError(TierwiseError):
    """An action could not be recorded."""
