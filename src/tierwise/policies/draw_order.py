"""Draws in draw order: how many of the first have ended, and how many may start.

Draws end in any order. A stopping rule looks at the first ones only, so that no draw is seen because it was quick.
"""

from __future__ import annotations

from collections.abc import Callable

from tierwise.spec.ask import Ask, Pace


class Ended:
    """Which draws of a prompt have ended.

    Attributes:
        first: how many of the first draws have all ended: what a stopping rule may look at.
    """

    def __init__(self) -> None:
        self.first = 0
        self._places: set[int] = set()

    def add(self, place: int) -> None:
        """Add a draw by its place in draw order, from 0."""
        self._places.add(place)
        while self.first in self._places:
            self.first += 1

    def __len__(self) -> int:
        return len(self._places)


def paced(ask: Ask, ended: Ended, needed: Callable[[], int], *, before: int, most: int) -> Pace:
    """How many draws of a panel may have started: as many as a stopping rule needs, and one for each free slot.

    On an idle engine all draws start at once. On a busy one none starts before it is known to be needed, so that
    stopping saves its tokens.

    Args:
        ask: runs them.
        ended: the draws so far, drafts included.
        needed: returns how many draws after the first ones the rule needs at least. Called on a busy engine only.
        before: drafts of cheaper tiers among the first draws.
        most: how many draws the panel has.
    """

    def pace(started: int) -> int:
        free = int((1 - ask.load) * ask.width)
        return most if started + free >= most else max(ended.first - before + needed(), started + free)

    return pace
