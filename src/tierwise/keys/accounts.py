"""What one process holds, has reserved and has spent of each budget and rate, in memory.

What is reserved is always held in the database (`leases.py`), so neither a crash nor another process can spend it
again.
Dollars are counted in billionths, as integers: sums are exact in any order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.keys.account import Account
from tierwise.keys.leases import Lease, Want
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from tierwise.keys.account import Bound
    from tierwise.keys.leases import LeaseBook

_PARTS = 20
"""A process takes at most this part of a budget at a time more than it needs."""
_LITTLE = 4
"""Where less than this part of what it takes ahead is left, it takes more when it takes from another account anyway."""
IDLE_SECONDS = 3.0
"""After so long without a reservation, what is held and not reserved is given back."""
FADING_SECONDS = 60.0
"""After so long without a reservation, the account of a session is closed."""
_ATTEMPTS = 8
"""How often what was taken may be reserved by others first."""
LINGER_SECONDS = 0.25
"""So long a place that is free again is kept for the next action, where other processes may want it."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked of an account in the database."""

    account: Account
    bound: Bound
    want: Want | None
    """None if it has enough."""
    free: int
    need: int

    def note(self, held: int, others: int) -> bool:
        """Note what is held now. Returns whether there was as much as is needed."""
        account, taken = self.account, held - (0 if self.want is None else self.want.lease.held)
        with account.lock:
            account.held = max(account.spent + account.reserved, account.held + taken)
            account.others = others
            was_there = self.free + taken >= self.need
            if was_there and account.bound is self.bound:
                account.is_lowered = False
            return was_there


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
        self._filling = asyncio.Lock()

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

    def all_of(self, bounds: Iterable[Bound]) -> list[Account]:
        """As `of`, of several bounds."""
        moment = self._clock()
        return [self.of(bound, moment) for bound in bounds]

    def of(self, bound: Bound, moment: float | None = None) -> Account:
        """The account of a bound in the present period."""
        place = (bound.account, bound.period(self._clock() if moment is None else moment) if bound.seconds else 0)
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
            for tried in range(_ATTEMPTS):
                taking = loop.run_in_executor(self._thread, self._take, account, need, wish, tried > 0)
                # Shielded: if the client hangs up meanwhile, what was taken must still be known here.
                was_there = await asyncio.shield(taking)
                if attempt():
                    return True
                if not was_there:
                    return False
            return False

    async def fill(self, wants: Sequence[tuple[Account, int, int]]) -> Account | None:
        """Take what an action is about to reserve and this process does not hold, in one transaction.

        Args:
            wants: accounts, and how much of each is needed at least and wanted at most.

        Returns:
            The first account that has less than is needed, of which and after which nothing was taken; None if there
            is none.

        Raises:
            KeysUnavailable: as `reserve`.
        """
        async with self._filling:
            if all(self._holds(account, most) for account, _, most in wants):
                return None  # another action has taken it
            loop = asyncio.get_running_loop()
            return await asyncio.shield(loop.run_in_executor(self._thread, self._take_all, wants))

    def _holds(self, account: Account, amount: int) -> bool:
        """Whether so much could be reserved at once."""
        is_held = account.bound.kind != "places" or self._book.is_current
        return is_held and account.free >= amount

    def _take(self, account: Account, need: int, wish: int, is_again: bool) -> bool:
        """Take what is lacking of an account, `is_again` besides what is free: before, that went to others. Returns
        whether there was as much as is needed.
        """
        return self._take_all([(account, need, wish + (account.free if is_again else 0))]) is None

    def _take_all(self, wants: Sequence[tuple[Account, int, int]]) -> Account | None:
        """Take what is lacking of accounts, and more of those of which little is left. Returns as `fill`."""
        if any((account.bound.account, account.period) in self._fading for account, _, _ in wants):
            self._close_faded()
        asked = [self._want(account, need, most) for account, need, most in wants]
        asking = [one for one in asked if one.want is not None]
        taken = self._book.take([one.want for one in asking if one.want is not None]) if asking else []
        for one, (held, others) in zip(asking, taken, strict=False):
            if not one.note(held, others):
                return one.account
        return None

    def _want(self, account: Account, need: int, wish: int) -> _Asked:
        """What to take of an account."""
        bound, is_place = account.bound, account.bound.kind == "places"
        with account.lock:
            if is_place and not self._book.is_current:
                account.held = account.reserved  # the lease of what is free has ended
            free = account.held - account.spent - account.reserved
            lease = Lease(bound.account, account.period, account.held, account.spent)
        want = None
        if is_place and free < wish:
            want = Want(lease, bound.limit, is_place=True)
        elif not is_place:
            ahead = min(account.ahead * wish, bound.limit // _PARTS)
            if free < wish:
                account.plan_ahead(time.monotonic())
                more = max(wish - free, min(account.ahead * wish, bound.limit // _PARTS))
                want = Want(lease, bound.limit, max(need - free, 0), more, is_session=bound.fades)
            elif free < ahead // _LITTLE:
                account.plan_ahead(time.monotonic())
                want = Want(lease, bound.limit, 0, ahead - free, is_session=bound.fades)
        return _Asked(account, bound, want, free, need)

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
