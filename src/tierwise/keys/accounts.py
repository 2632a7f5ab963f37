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
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from tierwise.keys.leases import LeaseBook

NANO = 1_000_000_000
"""Units of a dollar."""
_PARTS = 20
"""A process takes at most this part of a budget at a time more than it needs."""
_AHEAD = 16
"""How many times the need it takes ahead at first; twice as much whenever that was used up within a second."""
_SOON_SECONDS = 1.0
_MOST_AHEAD = 1 << 16
IDLE_SECONDS = 3.0
"""After so long without a reservation, what is held and not reserved is given back."""
FADING_SECONDS = 60.0
"""After so long without a reservation, the account of a session is closed."""
_ATTEMPTS = 8
"""How often what was taken may be reserved by others first."""
LINGER_SECONDS = 0.25
"""So long a place that is free again is kept for the next action, where other processes may want it."""


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
        self._fading: dict[tuple[str, int], Account] = {}
        """Accounts that are closed here, and not yet in the database."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="budgets")
        self._is_closed = False

    def now(self) -> float:
        return self._clock()

    @property
    def are_used(self) -> bool:
        """Whether there are any."""
        return bool(self._open or self._fading)

    def entered(self, bound: Bound) -> Account:
        """The account of a session, which stays open until `leave`."""
        while not (account := self.of(bound)).enter():
            pass
        return account

    def of(self, bound: Bound) -> Account:
        """The account of a bound in the present period."""
        place = (bound.account, bound.period(self._clock()))
        found = self._open.get(place)
        if found is None:
            found = self._open[place] = Account(bound, place[1])
        elif found.bound is not bound and found.bound != bound:
            found.rebind(bound)
        return found

    def rebind(self, bounds: Iterable[Bound]) -> None:
        """Give open accounts the limits of these bounds, so that what runs takes no more under limits of before."""
        named = {bound.account: bound for bound in bounds}
        for account in list(self._open.values()):
            bound = named.get(account.bound.account)
            if bound is not None and bound != account.bound:
                account.rebind(bound)

    def try_reserve(self, account: Account, amount: int) -> bool:
        """Reserve from what this process holds, at once. Returns whether it held as much."""
        return (account.bound.kind != "places" or self._book.is_current) and account.try_reserve(amount)

    async def reserve(self, account: Account, amount: int) -> bool:
        """Reserve an amount, which is in the database as held before this returns. Returns whether there was as much.

        Raises:
            KeysUnavailable: more had to be taken, and the database is away.
        """
        return await self._reserve(account, lambda: account.try_reserve(amount), amount, amount)

    async def reserve_part(self, account: Account, least: int, most: int) -> int | None:
        """Reserve as much as there is between two amounts. Returns how much; None if there was less.

        Raises:
            KeysUnavailable: as `reserve`.
        """
        if not most:
            return 0
        found = 0

        def attempt(least: int) -> bool:
            nonlocal found
            found = account.reserve_part(least, most)
            return found > 0

        least = max(1, least)
        if attempt(most) or await self._reserve(account, lambda: attempt(least), least, most):
            return found
        return None

    async def _reserve(self, account: Account, attempt: Callable[[], bool], need: int, wish: int) -> bool:
        def at_once() -> bool:
            is_held = account.bound.kind != "places" or self._book.is_current
            return is_held and need == wish and attempt()

        if at_once():
            return True
        async with account.taking:
            if at_once():
                return True
            loop = asyncio.get_running_loop()
            for _ in range(_ATTEMPTS):
                # Shielded: if the client hangs up meanwhile, what was taken must still be known here.
                was_there = await asyncio.shield(loop.run_in_executor(self._thread, self._take, account, need, wish))
                if attempt():
                    return True
                if not was_there:
                    return False
            return False

    def _take(self, account: Account, need: int, wish: int) -> bool:
        """Take what is lacking of an account. Returns whether there was as much as is needed."""
        place = (account.bound.account, account.period)
        if place in self._fading:
            self._close_faded()
        bound, is_place = account.bound, account.bound.kind == "places"
        with account.lock:
            if is_place and not self._book.is_current:
                account.held = account.reserved  # the lease of what is free has ended
            free = account.held - account.spent - account.reserved
            lease = Lease(bound.account, account.period, account.held, account.spent)
        if free >= wish:
            return True
        if is_place:
            held, others = self._book.take_place(lease, limit=bound.limit)
        else:
            now = time.monotonic()
            is_soon = now - account.taken_at < _SOON_SECONDS
            account.ahead = min(account.ahead * 2, _MOST_AHEAD) if is_soon else max(_AHEAD, account.ahead // 2)
            account.taken_at = now
            more = max(wish - free, min(account.ahead * wish, bound.limit // _PARTS))
            held, others = self._book.take(
                lease, limit=bound.limit, need=max(need - free, 0), wish=more, is_session=bound.fades
            )
        with account.lock:
            account.held = max(account.spent + account.reserved, account.held + held - lease.held)
            account.others = others
            was_there = free + held - lease.held >= need
            if was_there and account.bound is bound:
                account.is_lowered = False
            return was_there

    def free(self, account: Account) -> None:
        """Free a place of an action that ended. It is given back soon if others may want it; on the event loop only."""
        account.settle(1, 0)
        if self._book.is_alone or account.is_leaving or self._is_closed:
            return
        account.is_leaving = True
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self._give_back, account)

    def _give_back(self, account: Account) -> None:
        account.is_leaving = False
        if not self._is_closed:
            self._thread.submit(self._return, account)

    def _return(self, account: Account) -> None:
        with account.lock:
            if account.held <= account.reserved:
                return
        account.trim()
        account.is_dirty = False
        try:
            self._book.settle([account.lease])
        except TierwiseError:
            account.is_dirty = True  # with the next flush

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
        for place, account in list(self._open.items()):
            idles = everything or now - account.used_at > IDLE_SECONDS
            if idles and account.held > account.spent + account.reserved:
                account.trim()
            if account.bound.fades and (everything or now - account.used_at > FADING_SECONDS):
                self._fade(place, account)
            if account.is_dirty and not account.is_closed:
                account.is_dirty = False
                changed.append(account)
        places = [account.lease for account in self._open.values() if account.bound.kind == "places" and account.held]
        try:
            if places:
                self._book.renew(places)
            if changed:
                self._book.settle([account.lease for account in changed])
        except BaseException:
            for account in changed:
                account.is_dirty = True
            raise
        self._close_faded()
        self._forget(moment)

    def _fade(self, place: tuple[str, int], account: Account) -> None:
        """Close the account of a session that nobody uses."""
        with account.lock:
            if account.users or account.reserved:
                return
            account.is_closed = True
            self._fading[place] = account
            del self._open[place]

    def _close_faded(self) -> None:
        """Write what was spent in closed accounts where it has no holder, so that they can be opened again."""
        for place, account in list(self._fading.items()):
            self._book.close_account(account.lease)
            del self._fading[place]

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
