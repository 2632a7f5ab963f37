"""Who occupied a deployment, and for how long: the measure behind dollars per hour."""

from __future__ import annotations


class Occupancy:
    """Shares every busy second of a deployment equally among the passes that run in it.

    The shares of all passes add up to the time during which anything ran; idle time is nobody's.
    Times are seconds of one monotonic clock that the caller reads.
    """

    def __init__(self) -> None:
        self._running = 0
        self._moment: float = 0
        self._share: float = 0  # what one pass would have been charged, had it run since the beginning

    @property
    def running(self) -> int:
        """How many passes run now."""
        return self._running

    def enter(self, now: float) -> float:
        """A pass begins. Returns the mark that `leave` wants back."""
        self._advance(now)
        self._running += 1
        return self._share

    def leave(self, mark: float, now: float) -> float:
        """The pass ends. Returns the seconds of the deployment that were its own."""
        self._advance(now)
        self._running -= 1
        return self._share - mark

    def _advance(self, now: float) -> None:
        if self._running:
            self._share += (now - self._moment) / self._running
        self._moment = now
