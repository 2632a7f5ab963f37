"""The actions that wait for their turn to be observed.

Which of them are observed must not depend on what they say, or the detectors would see other traffic than there is. So
nothing here looks at an action: those that the reference tier answered itself wait like the others, one that had to
yield goes to the end, and where there are too many, chance chooses who leaves.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.shadowing.labels import Labels

if TYPE_CHECKING:
    from tierwise.shadowing.answered import Answered

MOST_WAITING = 100
"""Actions that wait for a quiet moment, at most."""
MOST_CHARACTERS = 64 * 2**20
"""Characters of the requests that wait, at most."""
LONGEST_SECONDS = 86_400.0
"""How long an action waits: a day, so that the quiet hours of each are among it."""


@dataclass(eq=False, slots=True, kw_only=True)
class Waiting:
    """An action that is to be observed."""

    answered: Answered
    is_own: bool
    """Whether the reference tier answered it, so that nothing is asked."""
    size: int
    """Characters of its request."""
    since: float
    """When it was answered, in seconds of a monotonic clock."""
    tries: int = 0
    """How often its shadow has begun."""
    labels: Labels = field(default_factory=Labels)
    """Those that came before it was observed."""


class WaitingActions:
    """Actions in the order of their turns.

    Args:
        chance: draws an integer from 0 to one below its argument.
    """

    def __init__(self, chance: Callable[[int], int] = random.randrange) -> None:
        self._chance = chance
        self._waiting: list[Waiting] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        """All, next first."""
        return iter(list(self._waiting))

    def add(self, one: Waiting) -> list[Waiting]:
        """Let an action wait behind the others. Returns those that leave because there are too many."""
        self._waiting.append(one)
        left = []
        while len(self._waiting) > MOST_WAITING or sum(each.size for each in self._waiting) > MOST_CHARACTERS:
            left.append(self._waiting.pop(self._chance(len(self._waiting))))
        return left

    def named(self, action: str) -> Waiting | None:
        """The action with this id, if it waits."""
        return next((one for one in self._waiting if one.answered.action == action), None)

    def remove(self, one: Waiting) -> None:
        """It is its turn."""
        self._waiting.remove(one)

    def take_old(self, now: float) -> list[Waiting]:
        """Remove those that have waited for too long."""
        return self._take([one for one in self._waiting if now - one.since > LONGEST_SECONDS])

    def take_all(self) -> list[Waiting]:
        """Remove all."""
        return self._take(self._waiting)

    def _take(self, these: list[Waiting]) -> list[Waiting]:
        taken = list(these)
        self._waiting = [one for one in self._waiting if one not in taken]
        return taken
