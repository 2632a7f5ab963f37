"""Everything that can go wrong, as a map in which each region has one owner.

    TierwiseError
    ├─ SpecError        the caller asked for something impossible           400
    │  ├─ NotFound      … for a thing that does not exist                   404
    │  └─ BodyTooLarge  … with more bytes than we take                      413
    ├─ EngineError      an engine let us down; carries engine and pass
    │  ├─ Overloaded    it has no room now                                  429
    │  ├─ TimedOut      it did not answer in time                           504
    │  ├─ TooLong       the prompt does not fit its context                 400
    │  ├─ Refused       it rejected the request as wrong                    400
    │  ├─ Broken        it died, cannot be reached, or failed inside        502
    │  └─ Garbled       it answered what cannot be read                     502
    ├─ BudgetError      nothing could be answered within the budget         504
    ├─ PolicyError      our own decision code broke; carries policy         500
    └─ LedgerError      we could not remember: serve the answer, alarm      (never a status)

The gateway alone turns these into statuses; an exhaustive test holds the two maps together.
"""

from __future__ import annotations


class TierwiseError(Exception):
    """Any failure that Tierwise names. The text says what was seen, what is allowed, what to do next."""


class SpecError(TierwiseError):
    """The caller asked for something impossible.

    Args:
        message: what was seen and what is allowed.
        field: path of the offending field (`messages[2].role`, `tiers.max.policy`), empty when there is none.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFound(SpecError):
    """The request names a model, action, file or member that does not exist."""


class BodyTooLarge(SpecError):
    """The request has more bytes than we take."""


class ConfigErrors(SpecError):
    """Everything that is wrong with a file, at once."""

    def __init__(self, errors: list[SpecError]) -> None:
        super().__init__("\n".join(f"{error.field}: {error}" if error.field else str(error) for error in errors))
        self.errors = errors


class EngineError(TierwiseError):
    """An engine let us down.

    Args:
        message: the engine's own words where it had any.
        engine: the deployment's name.
        retry_after: seconds that the engine asked us to wait, where it did.
    """

    def __init__(self, message: str, *, engine: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.engine = engine
        self.was_shown = False
        """Whether the user had already seen a part of the pass that failed."""
        self.retry_after = retry_after


class Overloaded(EngineError):
    """The engine has no room for another pass now."""


class TimedOut(EngineError):
    """The engine did not answer in time."""


class TooLong(EngineError):
    """The prompt does not fit the engine's context."""


class Refused(EngineError):
    """The engine rejected the request as wrong, for a reason of its own."""


class Broken(EngineError):
    """The engine died, cannot be reached, or failed inside."""


class Garbled(EngineError):
    """The engine answered something that cannot be read."""


class BudgetError(TierwiseError):
    """Nothing could be answered within the budget."""


class PolicyError(TierwiseError):
    """Our own decision code broke."""

    def __init__(self, message: str, *, policy: str = "") -> None:
        super().__init__(message)
        self.policy = policy


class LedgerError(TierwiseError):
    """An action could not be remembered."""
