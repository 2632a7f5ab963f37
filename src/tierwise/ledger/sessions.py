"""The actions of a session, with what each cost: an agent's task, as the ledger saw it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tierwise.ledger.rows import ActionRow, PassRow


class SessionAction(msgspec.Struct, frozen=True, kw_only=True):
    """One action of a session. Tokens and dollars are those of all its passes, also of aborted and failed ones."""

    id: str
    started_at: float
    """Seconds since 1970."""
    model: str
    """The tier or route that was asked for."""
    tier: str
    """The tier that answered, or that failed last."""
    tiers: tuple[str, ...]
    """The tiers that drew candidates, in the order in which they began."""
    ending: str
    """`answered`, `failed`, `disconnected` or another ending of the ledger."""
    finish: str
    error: str
    seconds: float
    first_output: float | None
    """Seconds until the first output; None without one."""
    passes: int
    prompt: int
    cached: int
    completion: int
    reasoning: int
    dollars: float
    exact: bool
    """False if tokens of a pass were counted from its stream, because the engine did not report them."""

    @property
    def escalations(self) -> int:
        """How often its route went on to another tier."""
        return max(0, len(self.tiers) - 1)


class SessionLedger(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint knows of a session: the answer of `/v1/sessions/ID`."""

    id: str
    running: int
    """Its actions that have not ended."""
    pending: int
    """Actions, of any session, that are not in the ledger's database, yet or because they were lost. If nothing
    is running or pending, `actions` are complete."""
    actions: list[SessionAction]
    """In the order in which they began."""


def of_session(action: ActionRow, passes: Sequence[PassRow]) -> SessionAction:
    """An action and its passes, in the order in which they began."""
    fields = {name: getattr(action, name) for name in _FIELDS}
    sums = {name: sum(getattr(done, name) for done in passes) for name in _COUNTS}
    return SessionAction(
        **fields,
        **sums,
        tiers=tuple(dict.fromkeys(done.tier for done in passes if done.answers_prompt)),
        passes=len(passes),
        dollars=sum(done.cost.dollars for done in passes),
        exact=all(done.exact for done in passes),
    )


_FIELDS = ("id", "started_at", "model", "tier", "ending", "finish", "error", "seconds", "first_output")
_COUNTS = ("prompt", "cached", "completion", "reasoning")
