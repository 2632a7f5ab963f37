"""What one process holds, has reserved and has spent of each budget and rate, in memory.

What is reserved is always held in the database (`leases.py`), so neither a crash nor another process can spend it
again.
Dollars are counted in billionths, as integers: sums are exact in any order.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tierwise.keys.leases import Lease

if TYPE_CHECKING:
    from tierwise.keys.leases import LeaseBook

NANO = 1_000_000_000
"""Units of a dollar."""
_PARTS = 20
"""A process takes at most this part of a budget at a time more than it needs."""
_AHEAD = 16
"""How many times the need it takes ahead."""
IDLE_SECONDS = 3.0
"""After so long without a reservation, what is held and not reserved is given back."""


def nano(dollars: float) -> int:
    """Dollars in billionths, rounded up."""
    return math.ceil(dollars * NANO - 1e-6)


@dataclass(frozen=True, slots=True)
class Bound:
    """One limit of a key or team: an account, and what it allows per period."""

    account: str
    """`key:ID|30d`, `team:NAME|once`, `key:ID|MODEL|30d`, `key:ID|rpm` …: no name has a bar, so none is another's."""
    kind: Literal["dollars", "requests", "tokens"]
    limit: int
    """In units of the account."""
    seconds: int
    """The period; 0 for one that never ends."""
    anchor: float
    """When the first period began, in seconds since 1970."""
    words: str
    """Whose limit it is, for messages: `key 0a1b…`, `team red` …"""

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
        return self.kind != "dollars"


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
    is_dirty: bool = False
    """Whether the database does not know what was spent."""
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

    def settle(self, reserved: int, spent: int) -> None:
        """Turn a reservation into what was spent; more than was reserved is counted too."""
        with self.lock:
            self.reserved -= reserved
            self.spent += spent
            self.held = max(self.held, self.spent + self.reserved)
            self.is_dirty = True

    def trim(self) -> None:
        """Give back what is not reserved, with the next lease that is written."""
        with self.lock:
            self.held = self.spent + self.reserved
            self.is_dirty = True

    def rebind(self, bound: Bound) -> None:
        """Count under another limit from now on."""
        if bound.limit < self.bound.limit:
            self.trim()  # what was taken ahead under the limit before must not be spent under this one
        self.bound = bound

    @property
    def lease(self) -> Lease:
        with self.lock:
            return Lease(self.bound.account, self.period, self.held, self.spent)

    @property
    def remaining(self) -> int:
        """What may still be reserved, as far as this process knows."""
        return max(0, self.bound.limit - self.others - self.spent - self.reserved)


class Accounts:
    """The accounts of one process.

    Args:
        book: its leases.
        clock: seconds since 1970.
    """

    def __init__(self, book: LeaseBook, *, clock: Callable[[], float] = time.time) -> None:
        self._book, self._clock = book, clock
        self._open: dict[tuple[str, int], Account] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="budgets")
        self._is_closed = False

    def now(self) -> float:
        return self._clock()

    def of(self, bound: Bound) -> Account:
        """The account of a bound in the present period."""
        place = (bound.account, bound.period(self._clock()))
        found = self._open.get(place)
        if found is None:
            found = self._open[place] = Account(bound, place[1])
        elif found.bound != bound:
            found.rebind(bound)
        return found

    def rebind(self, bounds: Iterable[Bound]) -> None:
        """Give open accounts the limits of these bounds, so that what runs takes no more under limits of before."""
        named = {bound.account: bound for bound in bounds}
        for account in list(self._open.values()):
            bound = named.get(account.bound.account)
            if bound is not None and bound != account.bound:
                account.rebind(bound)

    async def reserve(self, account: Account, amount: int) -> bool:
        """Reserve an amount, which is in the database as held before this returns. Returns whether there was as much.

        Raises:
            KeysUnavailable: more had to be taken, and the database is away.
        """
        if account.try_reserve(amount):
            return True
        async with account.taking:
            if account.try_reserve(amount):
                return True
            loop = asyncio.get_running_loop()
            # Shielded: if the client hangs up meanwhile, what was taken must still be known here.
            await asyncio.shield(loop.run_in_executor(self._thread, self._take, account, amount))
            return account.try_reserve(amount)

    def _take(self, account: Account, amount: int) -> None:
        with account.lock:
            need = amount - (account.held - account.spent - account.reserved)
            lease = Lease(account.bound.account, account.period, account.held, account.spent)
        limit = account.bound.limit
        wish = max(need, min(_AHEAD * amount, limit // _PARTS))
        held, others = self._book.take(lease, limit=limit, need=need, wish=wish)
        with account.lock:
            account.held = max(account.spent + account.reserved, account.held + held - lease.held)
            account.others = others

    def flush(self, *, everything: bool = False) -> None:
        """Write what was spent, and give back what idles; called by another thread. `everything` gives all back that
        is not reserved.

        Raises:
            KeysUnavailable: the database is away; the next call tries again.
        """
        if not self._is_closed:
            self._thread.submit(self._flush, everything=everything).result()

    def _flush(self, *, everything: bool) -> None:
        now, moment = time.monotonic(), self._clock()
        changed: list[Account] = []
        for account in list(self._open.values()):
            idles = everything or now - account.used_at > IDLE_SECONDS
            if idles and account.held > account.spent + account.reserved:
                account.trim()
            if account.is_dirty:
                account.is_dirty = False
                changed.append(account)
        if changed:
            try:
                self._book.settle([account.lease for account in changed])
            except BaseException:
                for account in changed:
                    account.is_dirty = True
                raise
        self._forget(moment)

    def _forget(self, moment: float) -> None:
        """Drop rates of minutes that are over. Budgets stay: a clock that jumps back must find what was spent."""
        rates: list[tuple[str, int]] = []
        for place, account in list(self._open.items()):
            is_over = account.period < account.bound.period(moment)
            if account.bound.is_rate and is_over and not account.reserved and not account.is_dirty:
                rates.append((account.bound.account, account.period + 1))
                del self._open[place]
        if rates:
            self._book.forget(rates)

    def close(self) -> None:
        """Give back all that is not spent.

        Raises:
            KeysUnavailable: the database is away: what is held counts as spent.
        """
        try:
            self.flush(everything=True)
        finally:
            self._is_closed = True
            self._thread.shutdown()
            self._book.close()
