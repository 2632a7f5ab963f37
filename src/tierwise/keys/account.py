"""One limit of a key, a team or a session, and what one process holds, has reserved and has spent of it.

Dollars are counted in billionths, as integers: sums are exact in any order.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

from tierwise.keys.leases import Lease

NANO = 1_000_000_000
"""Units of a dollar."""
_AHEAD = 16
"""How many times the need is taken ahead at first; more whenever that was used up before `_SOON_SECONDS`, as much as
would have lasted so long."""
_SOON_SECONDS = 1.0
_MOST_GROWTH = 16
"""By how many times more is taken at once than before."""
_MOST_AHEAD = 1 << 16


def nano(dollars: float) -> int:
    """Dollars in billionths, rounded up."""
    return math.ceil(dollars * NANO - 1e-6)


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit of a key or team: an account, and what it allows per period."""

    account: str
    """`key:ID|30d`, `team:NAME|once`, `key:ID|MODEL|30d`, `key:ID|rpm` …: no name has a bar, so none is another's.
    Of a session `session-dollars:KEY|ID`: only the id, which is last, may have bars.
    """
    kind: Literal["dollars", "requests", "tokens", "passes", "places"]
    limit: int
    """In units of the account."""
    seconds: int
    """The period; 0 for one that never ends."""
    anchor: float
    """When the first period began, in seconds since 1970."""
    words: str
    """Whose limit it is, for messages: `key 0a1b…`, `team red` …"""
    fades: bool = False
    """Whether its account is closed when it idles: there are as many sessions as clients name."""

    def period(self, moment: float) -> int:
        """The period that a moment (seconds since 1970) is in."""
        return 0 if not self.seconds else math.floor((moment - self.anchor) / self.seconds)

    def left(self, moment: float) -> float | None:
        """Seconds until the next period; None if there is none."""
        if not self.seconds:
            return None
        return self.anchor + (self.period(moment) + 1) * self.seconds - moment

    @property
    def is_rate(self) -> bool:
        return self.kind in ("requests", "tokens")


@dataclass(eq=False, slots=True)
class Account:
    """One bound in one period. The event loop reserves and settles; the thread of the database changes `held`."""

    bound: Bound
    period: int
    held: int = 0
    spent: int = 0
    reserved: int = 0
    others: int = 0
    """What other processes held when that was last read."""
    used_at: float = 0.0
    """Moment of the last reservation on the monotonic clock."""
    taken_at: float = 0.0
    """Moment when more was taken, likewise."""
    ahead: int = _AHEAD
    """How many times the need is taken ahead."""
    is_dirty: bool = False
    """Whether the database does not know what was spent."""
    is_lowered: bool = False
    """Whether all that is held may be more than the limit, which was lowered: then what is free is given up."""
    users: int = 0
    """Actions that may still reserve or settle; of a session's only."""
    is_closed: bool = False
    is_leaving: bool = False
    """Whether its free places are about to be given back."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)

    def try_reserve(self, amount: int) -> bool:
        """Reserve from what is held."""
        with self.lock:
            self.used_at = time.monotonic()
            if self.held - self.spent - self.reserved < amount:
                return False
            self.reserved += amount
            return True

    def reserve_part(self, least: int, most: int) -> int:
        """Reserve as much as is held, at most `most`; 0 and nothing if that is less than `least`."""
        with self.lock:
            self.used_at = time.monotonic()
            amount = min(most, self.held - self.spent - self.reserved)
            if amount < least:
                return 0
            self.reserved += amount
            return amount

    def enter(self) -> bool:
        """Begin to use it. Returns whether it is still open."""
        with self.lock:
            self.used_at = time.monotonic()
            self.users += not self.is_closed
            return not self.is_closed

    def leave(self) -> None:
        """End what `enter` began."""
        with self.lock:
            self.users -= 1

    def settle(self, reserved: int, spent: int) -> None:
        """Turn a reservation into what was spent; more than was reserved is counted too."""
        with self.lock:
            self.reserved -= reserved
            self.spent += spent
            used = self.spent + self.reserved
            self.held = used if self.is_lowered else max(self.held, used)
            self.is_dirty = True

    def plan_ahead(self, now: float) -> None:
        """More is to be taken: decide how much of it ahead, by how long what was taken before has lasted."""
        lasted, self.taken_at = now - self.taken_at, now
        if lasted >= _SOON_SECONDS:
            self.ahead = max(_AHEAD, self.ahead // 2)
            return
        growth = min(_MOST_GROWTH, max(2, round(_SOON_SECONDS / max(lasted, 1e-3))))
        self.ahead = min(self.ahead * growth, _MOST_AHEAD)

    def trim(self) -> None:
        """Give back what is not reserved, with the next lease that is written."""
        with self.lock:
            self.held = self.spent + self.reserved
            self.is_dirty = True

    def rebind(self, bound: Bound) -> None:
        """Count under another limit from now on."""
        if bound.limit < self.bound.limit:
            self.is_lowered = True
            self.trim()  # what was taken ahead under the limit before must not be spent under this one
        self.bound = bound

    @property
    def lease(self) -> Lease:
        with self.lock:
            return Lease(self.bound.account, self.period, self.held, self.spent)

    @property
    def free(self) -> int:
        """What is held and not reserved."""
        return self.held - self.spent - self.reserved

    @property
    def remaining(self) -> int:
        """What may still be reserved, as far as this process knows."""
        return max(0, self.bound.limit - self.others - self.spent - self.reserved)
