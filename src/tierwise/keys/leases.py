"""Parts of a budget, taken from the database by one process.

A row of `budget_leases` says what one process (the holder) holds of an account in a period. All that is held counts as
spent, by every other process. The holder returns what it did not spend: after it has idled, and when it stops. A
process that crashes returns nothing: what it held counts as spent until the period ends. That is the conservative rule.
Its ledger cannot tell what passes of unfinished actions had cost, so nothing is given back from there. A period has its
rows for ever, so a clock that jumps ahead and back finds what was spent in it, and gives no budget twice.

Values are absolute and each row has one writer, so a transaction whose outcome is unknown can be repeated.

Places of actions that run at the same time are held likewise, but only as long as their holder says again and again
that it lives: a place that nobody uses is worth nothing later. Times are those of the database's clock.

Sessions are as many as clients name. What was spent in one that idles is moved to a row without a holder, and deleted
`SESSION_SECONDS` after its last use.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Insert, Table, delete, func, select

from tierwise.keys.database import KeyDatabase
from tierwise.ledger.key_tables import accounts, holders, leases, sessions

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tierwise.ledger.location import Location


LEASE_SECONDS = 15.0
"""After so long without a word, a process has died: its places are free again."""
SESSION_SECONDS = 90 * 86_400.0
"""So long after its last use, what a session has spent is kept."""
_PURGE_SECONDS = 3600.0
NOBODY = ""
"""The holder of what was spent in a session that idles."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder has of an account in a period, in units of the account."""

    account: str
    period: int
    held: int
    """What counts as spent; at least `spent`."""
    spent: int


@dataclass(frozen=True, slots=True)
class Want:
    """More that a holder would like of an account."""

    lease: Lease
    """What is held now."""
    limit: int
    """What all holders may hold together in the period; of places, those that live."""
    need: int = 1
    """How much more it takes at least."""
    wish: int = 1
    """How much more is wanted. Of places as many as are held, if no other process lives."""
    is_session: bool = False
    """Whether the account is a session's."""
    is_place: bool = False


class LeaseBook:
    """The leases of one process.

    Raises, as do all its methods:
        KeysUnavailable: the database is away.
    """

    def __init__(self, location: Location, holder: str) -> None:
        self._database = KeyDatabase(location, is_alone=False)
        self._holder = holder
        self._renewed_at = -math.inf
        self._others = 0
        self._purged_at = -math.inf

    def close(self) -> None:
        self._database.close()

    @property
    def is_current(self) -> bool:
        """Whether the database still knows that this process lives, so that the places that it holds are its own."""
        return time.monotonic() - self._renewed_at < LEASE_SECONDS

    @property
    def is_alone(self) -> bool:
        """Whether no other process held places when that was last read."""
        return not self._others

    def take(self, wants: Sequence[Want]) -> list[tuple[int, int]]:
        """Hold more of accounts, in one transaction, up to the first whose limit does not allow what is needed.

        Returns:
            What is held now, and what the others hold: of each up to that one, of which nothing was taken.
        """
        began, found = time.monotonic(), []
        has_places = any(want.is_place for want in wants)
        with self._database.writing() as connection:
            moment = self._live(connection) if has_places else 0.0
            for account in sorted(want.lease.account for want in wants):  # in one order, or two takers could deadlock
                _lock(connection, account)
            for want in wants:
                held, others, was_there = self._take(connection, want, moment)
                found.append((held, others))
                if not was_there:
                    break
        if has_places:
            self._renewed_at = began
        return found

    def _take(self, connection: Connection, want: Want, moment: float) -> tuple[int, int, bool]:
        """Returns what is held now, what the others hold, and whether there was as much as is needed."""
        lease, wish = want.lease, want.wish
        if want.is_session:
            _put_one(connection, sessions, "account", {"account": lease.account, "used_at": _moment(connection)})
        if want.is_place:
            dead = leases.c.holder.not_in(select(holders.c.holder).where(holders.c.until >= moment))
            connection.execute(delete(leases).where(leases.c.account == lease.account, dead))
            wish = 1 if self._others else max(1, lease.held)
        others = self._of_others(connection, lease)
        room = max(0, want.limit - others - lease.held)
        is_there = room >= want.need
        held = lease.held + (min(room, max(want.need, wish)) if is_there else 0)
        if is_there or want.is_place:  # a place that is known to be gone is given up
            _put(connection, self._holder, [Lease(lease.account, lease.period, held, lease.spent)])
        return held, others, is_there

    def renew(self, places: Iterable[Lease]) -> None:
        """Say that this process lives, and which places it holds."""
        began = time.monotonic()
        with self._database.writing() as connection:
            self._live(connection)
            _put(connection, self._holder, list(places))
        self._renewed_at = began

    def _live(self, connection: Connection) -> float:
        """Note that this process lives, and how many others do. Returns the moment."""
        moment = _moment(connection)
        _put_one(connection, holders, "holder", {"holder": self._holder, "until": moment + LEASE_SECONDS})
        living = (holders.c.holder != self._holder, holders.c.until >= moment)
        counted = connection.execute(select(func.count()).select_from(holders).where(*living))
        self._others = int(counted.scalar_one())
        return moment

    def _of_others(self, connection: Connection, lease: Lease) -> int:
        """What other holders have of an account."""
        mine = (leases.c.account == lease.account, leases.c.period == lease.period)
        sums = select(func.sum(leases.c.held)).where(*mine, leases.c.holder != self._holder)
        return int(connection.execute(sums).scalar_one() or 0)

    def close_account(self, lease: Lease) -> None:
        """Move what was spent in a session's account to a row without a holder. Repeated, it does nothing."""
        with self._database.writing() as connection:
            _lock(connection, lease.account)
            rows = select(leases.c.holder, leases.c.spent).where(
                leases.c.account == lease.account,
                leases.c.period == lease.period,
                leases.c.holder.in_([NOBODY, self._holder]),
            )
            found = {row.holder: int(row.spent) for row in connection.execute(rows)}
            if self._holder not in found:
                return
            spent = lease.spent + found.get(NOBODY, 0)
            _put(connection, NOBODY, [Lease(lease.account, lease.period, spent, spent)])
            own = (leases.c.account == lease.account, leases.c.holder == self._holder)
            connection.execute(delete(leases).where(*own))
            if time.monotonic() - self._purged_at > _PURGE_SECONDS:
                self._purge(connection)

    def _purge(self, connection: Connection) -> None:
        """Forget sessions of long ago."""
        old = select(sessions.c.account).where(sessions.c.used_at < _moment(connection) - SESSION_SECONDS)
        for table in (leases, accounts):
            connection.execute(delete(table).where(table.c.account.in_(old)))
        connection.execute(delete(sessions).where(sessions.c.account.in_(old)))
        connection.execute(delete(holders).where(holders.c.until < _moment(connection) - SESSION_SECONDS))
        self._purged_at = time.monotonic()

    def settle(self, changed: Iterable[Lease]) -> None:
        """Write what is held and spent now: less of the first than before gives it back."""
        with self._database.writing() as connection:
            _put(connection, self._holder, list(changed))

    def forget(self, periods: Iterable[tuple[str, int]]) -> None:
        """Delete the rows of earlier periods of accounts that are rates, which nobody needs again."""
        with self._database.writing() as connection:
            for account, before in periods:
                connection.execute(delete(leases).where(leases.c.account == account, leases.c.period < before))


def _moment(connection: Connection) -> float:
    """Seconds since 1970 by the database's clock, which all its processes share."""
    is_postgresql = connection.dialect.name == "postgresql"
    clock = "EXTRACT(EPOCH FROM clock_timestamp())" if is_postgresql else "(julianday('now') - 2440587.5) * 86400.0"
    return float(connection.exec_driver_sql(f"SELECT {clock}").scalar_one())


def _put_one(connection: Connection, table: Table, key: str, row: dict[str, Any]) -> None:
    connection.execute(_insert(connection.dialect.name, table, (key,)), [row])


def _lock(connection: Connection, account: str) -> None:
    """Wait for other holders of an account; SQLite's transactions are alone already."""
    if connection.dialect.name != "postgresql":
        return
    from sqlalchemy.dialects.postgresql import insert as insert_or  # noqa: PLC0415 - slow to import

    connection.execute(insert_or(accounts).on_conflict_do_nothing(), [{"account": account}])
    connection.execute(select(accounts.c.account).where(accounts.c.account == account).with_for_update())


def _put(connection: Connection, holder: str, changed: list[Lease]) -> None:
    rows = [
        {"account": one.account, "period": one.period, "holder": holder, "held": one.held, "spent": one.spent}
        for one in sorted(changed, key=lambda one: (one.account, one.period))  # so that two writers cannot deadlock
    ]
    if rows:
        connection.execute(_insert(connection.dialect.name, leases, ("account", "period", "holder")), rows)


@cache
def _insert(dialect: str, table: Table, keys: tuple[str, ...]) -> Insert:
    """Inserts rows, or replaces those with the same keys."""
    made: Any
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as made  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert as made  # noqa: PLC0415
    row = made(table)
    new = {column.name: row.excluded[column.name] for column in table.c if column.name not in keys}
    found: Insert = row.on_conflict_do_update(index_elements=list(keys), set_=new)
    return found
