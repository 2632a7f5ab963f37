"""Parts of a budget, taken from the database by one process.

A row of `budget_leases` says what one process (the holder) holds of an account in a period. All that is held counts as
spent, by every other process. The holder returns what it did not spend: after it has idled, and when it stops. A
process that crashes returns nothing: what it held counts as spent until the period ends. That is the conservative rule.
Its ledger cannot tell what passes of unfinished actions had cost, so nothing is given back from there. A period has its
rows for ever, so a clock that jumps ahead and back finds what was spent in it, and gives no budget twice.

Values are absolute and each row has one writer, so a transaction whose outcome is unknown can be repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Insert, delete, func, select

from tierwise.keys.database import KeyDatabase
from tierwise.ledger.key_tables import accounts, leases

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tierwise.ledger.location import Location


@dataclass(frozen=True, slots=True)
class Lease:
    """What a holder has of an account in a period, in units of the account."""

    account: str
    period: int
    held: int
    """What counts as spent; at least `spent`."""
    spent: int


class LeaseBook:
    """The leases of one process.

    Raises, as do all its methods:
        KeysUnavailable: the database is away.
    """

    def __init__(self, location: Location, holder: str) -> None:
        self._database = KeyDatabase(location, is_alone=False)
        self._holder = holder

    def close(self) -> None:
        self._database.close()

    def take(self, lease: Lease, *, limit: int, need: int, wish: int) -> tuple[int, int]:
        """Hold more of an account, if its limit allows.

        Args:
            lease: what is held now.
            limit: what all holders may hold together in the period.
            need: how much more it takes at least.
            wish: how much more is wanted.

        Returns:
            What is held now, and what the others hold. Unchanged if there was less than `need`.
        """
        with self._database.writing() as connection:
            _lock(connection, lease.account)
            mine = (leases.c.account == lease.account, leases.c.period == lease.period)
            sums = select(func.sum(leases.c.held)).where(*mine, leases.c.holder != self._holder)
            others = int(connection.execute(sums).scalar_one() or 0)
            room = limit - others - lease.held
            if room < need:
                return lease.held, others
            held = lease.held + min(room, max(need, wish))
            _put(connection, self._holder, [Lease(lease.account, lease.period, held, lease.spent)])
            return held, others

    def settle(self, changed: Iterable[Lease]) -> None:
        """Write what is held and spent now: less of the first than before gives it back."""
        with self._database.writing() as connection:
            _put(connection, self._holder, list(changed))

    def forget(self, periods: Iterable[tuple[str, int]]) -> None:
        """Delete the rows of earlier periods of accounts that are rates, which nobody needs again."""
        with self._database.writing() as connection:
            for account, before in periods:
                connection.execute(delete(leases).where(leases.c.account == account, leases.c.period < before))


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
        connection.execute(_upsert(connection.dialect.name), rows)


@cache
def _upsert(dialect: str) -> Insert:
    made: Any
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as made  # noqa: PLC0415
    else:
        from sqlalchemy.dialects.sqlite import insert as made  # noqa: PLC0415
    row = made(leases)
    new = {"held": row.excluded.held, "spent": row.excluded.spent}
    found: Insert = row.on_conflict_do_update(index_elements=["account", "period", "holder"], set_=new)
    return found
