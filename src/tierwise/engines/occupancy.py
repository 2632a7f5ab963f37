"""Attributes a deployment's busy time to passes: the basis of prices per hour."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager


class Occupancy:
    """Divides each busy second of a deployment equally among the passes that run in it.

    The shares of all passes add up to the busy time; idle time is attributed to no pass.
    Times are seconds of one monotonic clock, read by the caller.
    """

    def __init__(self) -> None:
        self._running = 0
        self._moment: float = 0
        self._share: float = 0  # the share of a pass that has run since the beginning
        self._watching: list[Callable[[], None]] = []

    @property
    def running(self) -> int:
        """Number of passes in progress."""
        return self._running

    def enter(self, now: float) -> float:
        """Begin a pass. Returns a mark to pass to `leave`."""
        self._advance(now)
        self._running += 1
        for begun in self._watching:
            begun()
        return self._share

    @contextmanager
    def watched(self, begun: Callable[[], None]) -> Generator[None]:
        """During the block, call a function whenever a pass has begun. It must be quick and must not raise."""
        self._watching = [*self._watching, begun]
        try:
            yield
        finally:
            self._watching = [one for one in self._watching if one is not begun]

    def leave(self, mark: float, now: float) -> float:
        """End a pass. Returns its share of the deployment's busy time, in seconds."""
        self._advance(now)
        self._running -= 1
        return self._share - mark

    def shared(self, now: float) -> float:
        """The share of a pass that has run since the beginning; minus a pass's mark, its share so far."""
        self._advance(now)
        return self._share

    def has_room(self, slots: int, own: int) -> bool:
        """Whether users need none of the slots that some passes have, or would have with one more if they have none.

        Args:
            slots: of the deployment.
            own: how many such passes run.
        """
        return self.running - own + max(1, own) <= slots

    def free(self, slots: int) -> int:
        """How many of the slots have no pass now, and may be used by this process."""
        return slots - self.running

    def part(self) -> PartOfOccupancy:
        """Counts some of the passes apart."""
        return PartOfOccupancy(self)

    def _advance(self, now: float) -> None:
        if self._running:
            self._share += (now - self._moment) / self._running
        self._moment = now


class PartOfOccupancy(Occupancy):
    """Some passes of a deployment, such as those of one action: they count in the whole, and are known apart.

    Args:
        whole: of the deployment.
    """

    def __init__(self, whole: Occupancy) -> None:
        super().__init__()
        self._whole = whole
        self._own = 0

    @property
    def running(self) -> int:
        """Number of passes of the deployment in progress, these included."""
        return self._whole.running

    @property
    def others(self) -> int:
        """Number of passes of the deployment in progress that are not of this part."""
        return self._whole.running - self._own

    @property
    def own(self) -> int:
        """Number of passes of this part in progress."""
        return self._own

    def enter(self, now: float) -> float:
        self._own += 1  # before the whole, which tells those that watch
        return self._whole.enter(now)

    @contextmanager
    def watched(self, begun: Callable[[], None]) -> Generator[None]:
        with self._whole.watched(begun):
            yield

    def leave(self, mark: float, now: float) -> float:
        self._own -= 1
        return self._whole.leave(mark, now)

    def shared(self, now: float) -> float:
        return self._whole.shared(now)
