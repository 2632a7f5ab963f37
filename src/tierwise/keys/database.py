"""Transactions on the tables of keys and budgets, in the ledger's database."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from tierwise.ledger import postgresql, sqlite
from tierwise.ledger.database import check_version
from tierwise.ledger.tables import VERSION
from tierwise.ledger.writer import reason_of
from tierwise.spec.errors import KeysUnavailable, SpecError, TierwiseError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tierwise.ledger.location import Location

PATIENCE = 5.0
"""Seconds to wait for a lock, or for a server."""


class KeyDatabase:
    """Opens transactions.

    Args:
        location: the ledger.
        is_alone: whether no other writer of the ledger may run beside a writing transaction. In PostgreSQL, one that is
            not alone locks the rows that it selects for that, and waits for nothing else. In SQLite, all are alone.
        patience: seconds to wait for a lock, or for a server.
    """

    def __init__(self, location: Location, *, is_alone: bool = True, patience: float = PATIENCE) -> None:
        self._location = location
        if (path := location.path) is not None:
            self._reader = sqlite.connect(path, patience=patience, read_only=True)
            self._writer = sqlite.connect(path, patience=patience)
        else:
            self._reader = postgresql.connect(location, patience=patience, read_only=True)
            self._writer = postgresql.connect(location, patience=patience, is_alone=is_alone)
        self._is_checked = False

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A snapshot.

        Raises:
            KeysUnavailable: the database cannot be read now.
            SpecError: it is not a ledger of this version.
        """
        with self._transaction(write=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Generator[Connection]:
        """A transaction that is committed at the end. Raises as `reading`."""
        with self._transaction(write=True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, *, write: bool) -> Generator[Connection]:
        try:
            with (self._writer if write else self._reader).begin() as connection:
                self._check(connection)
                yield connection
        except (SQLAlchemyError, OSError) as error:
            self._is_checked = False
            raise KeysUnavailable(
                f"the database of keys and budgets, {self._location.name}, is away: {reason_of(error, self._location)}"
            ) from error

    def _check(self, connection: Connection) -> None:
        if self._is_checked:
            return
        found = check_version(connection, self._location)
        if found != VERSION:
            was = "is empty" if found is None else f"has version {found}"
            raise SpecError(
                f"{self._location.name} {was}; open it once with `tierwise serve` of this version", field="ledger"
            )
        self._is_checked = True

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()


def prepare(location: Location) -> None:
    """Create or upgrade the ledger that keys are kept in.

    Raises:
        TierwiseError: that is not possible now.
    """
    from tierwise.ledger.prices import PriceBook  # noqa: PLC0415
    from tierwise.ledger.store import Ledger  # noqa: PLC0415

    problems: list[TierwiseError] = []
    with Ledger.open(location, PriceBook({}), problems.append):
        pass
    if problems:
        raise problems[0]
