"""How much code an action has run for its candidates: over all choices and tiers, checks under way included."""

from __future__ import annotations

from tierwise.spec import limits
from tierwise.spec.clock import now


class CodeRuns:
    """The ceiling of one action. About as many sandboxes as cores run at once, so CPU time is bounded too."""

    __slots__ = ("_ends_at", "_started")

    def __init__(self) -> None:
        self._started = 0
        self._ends_at = 0.0

    def begin(self) -> float | None:
        """Count a candidate whose code is about to run.

        Returns:
            The time by which its check must end, on the clock of `spec.clock`; None if it may not run.
        """
        if not self._started:
            self._ends_at = now() + limits.CODE_SECONDS_IN_ALL
        if self._started >= limits.CODE_RUNS or now() >= self._ends_at:
            return None
        self._started += 1
        return self._ends_at


def ceiling() -> str:
    """Why a candidate's code was not run to its end."""
    runs, seconds = limits.CODE_RUNS, limits.CODE_SECONDS_IN_ALL
    return f"not run: an action runs the code of {runs} candidates, for {seconds:g} s in all, at most"
