"""The ledger's database for the writer, on SQLite or PostgreSQL: created, upgraded, appended to."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, insert, inspect
from sqlalchemy.exc import DBAPIError

from tierwise.ledger import key_tables, migrations, postgresql, sqlite, totals
from tierwise.ledger.adding import insert_rows, stored
from tierwise.ledger.followed_file import FollowedFile
from tierwise.ledger.location import Location
from tierwise.ledger.rows import Entry
from tierwise.ledger.tables import VERSION, metadata, version
from tierwise.spec.errors import LedgerError, SpecError

_LOG = logging.getLogger("tierwise")

_HAS_VERSION = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'ledger_version'",
    "postgresql": "SELECT to_regclass('ledger_version')",
}
"""Quicker than SQLAlchemy's inspection; every batch asks."""


def connect(location: Location, *, patience: float, read_only: bool = False) -> Engine:
    """A SQLAlchemy engine for a ledger; nothing is opened before the first use.

    Args:
        location: the ledger; a writer creates a missing file, a reader requires it.
        patience: seconds to wait for a lock.
        read_only: open it for reading. A writer takes the lock at the start of every transaction.

    Raises:
        SpecError: the database driver is not installed.
    """
    if location.path is not None:
        return sqlite.connect(location.path, patience=patience, read_only=read_only)
    return postgresql.connect(location, patience=patience, read_only=read_only)


def may_pass(error: DBAPIError) -> bool:
    """Whether an error is transient: the database was locked, full or unreachable."""
    if isinstance(error.orig, sqlite3.Error):
        return sqlite.may_pass(error.orig)
    return postgresql.may_pass(error)


def is_foreign(error: DBAPIError) -> bool:
    """Whether the file is not a database."""
    return isinstance(error.orig, sqlite3.Error) and sqlite.is_foreign(error.orig)


def is_corrupt(error: DBAPIError) -> bool:
    """Whether the database is damaged, or was overwritten by something else."""
    if isinstance(error.orig, sqlite3.Error):
        return sqlite.is_corrupt(error.orig)
    return postgresql.is_corrupt(error)


def check_version(connection: Connection, location: Location) -> int | None:
    """The version of the ledger; None if the database is empty.

    Raises:
        SpecError: the database belongs to another program, or to a later version of Tierwise.
    """
    if connection.exec_driver_sql(_HAS_VERSION[connection.dialect.name]).scalar() is None:
        if names := inspect(connection).get_table_names():
            raise SpecError(
                f"{location.name} is a database but not a ledger; its tables: {', '.join(sorted(names))}",
                field="ledger",
            )
        return None
    found: int = connection.exec_driver_sql("SELECT version FROM ledger_version").scalar_one()
    if found > VERSION:
        raise SpecError(
            f"{location.name} is a ledger of version {found}, this Tierwise supports {VERSION}; update Tierwise",
            field="ledger",
        )
    return found


@dataclass(frozen=True, slots=True)
class Departure:
    """The ledger's file is not in its place any more."""

    whereabouts: str
    """What became of it, for messages."""
    is_deleted: bool


class Database:
    """The ledger's database for the writer. Used by one thread at a time."""

    def __init__(self, location: Location, *, patience: float) -> None:
        self._location = location
        self._engine = connect(location, patience=patience)
        self._file: FollowedFile | None = None
        self._is_prepared = False
        self._last: str | None = None

    def prepare(self) -> None:
        """Create or upgrade the tables, unless that was done.

        Raises:
            SpecError: the database belongs to another program, or to a later version of Tierwise.
            LedgerError: it has an earlier version and cannot be upgraded now.
        """
        if self._is_prepared:
            return
        self._let_go()
        with self._engine.begin() as connection:
            found = check_version(connection, self._location)
            if found is None:
                _create(connection)
        if found is not None and found < VERSION:
            self._upgrade(found)
        if self._location.path is not None:
            try:
                self._file = FollowedFile(self._location.path)
            except FileNotFoundError:
                raise LedgerError("its file was moved while it was opened") from None
        self._is_prepared = True

    def look(self) -> Departure | None:
        """Notice a file that was moved, replaced or deleted since it was prepared, and let go of it: the next action
        goes into the file that is in its place then, or begins one.
        """
        if self._file is None or self._file.is_in_place:
            return None
        departure = Departure(self._file.whereabouts, self._file.is_deleted)
        self._let_go()
        self._last = None
        return departure

    def _let_go(self) -> None:
        self._engine.dispose()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._is_prepared = False

    def _upgrade(self, found: int) -> None:
        """In one transaction that holds the lock, so that an interruption leaves the ledger unchanged."""
        try:
            with self._engine.begin() as connection:
                if check_version(connection, self._location) == found:  # else another process has upgraded it
                    self._upgrade_in(connection, found)
        except (LedgerError, DBAPIError) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            raise LedgerError(
                f"it has version {found} and cannot be upgraded to {VERSION} now: {reason}; it is unchanged"
            ) from error

    def _upgrade_in(self, connection: Connection, found: int) -> None:
        name, path, began = self._location.name, self._location.path, time.monotonic()
        _LOG.warning("upgrading the ledger %s from version %d to %d", name, found, VERSION)
        kept = "" if path is None else f"; the old one is kept as {sqlite.keep_copy(path, found)}"
        migrations.upgrade(connection, found)
        _LOG.warning("upgraded the ledger %s in %.1f s%s", name, time.monotonic() - began, kept)

    def store(self, entries: Sequence[Entry]) -> tuple[list[Entry], str]:
        """Add entries that are not stored yet, all or nothing.

        Returns:
            Entries that cannot be stored because another action has the same id; and, for an alert, what has happened
            to the database since the last call, empty if nothing has.

        Raises:
            DBAPIError: they were not stored; SQLite refuses to write into a file that was moved.
            LedgerError: the file was deleted meanwhile, or the database was replaced by one of another version.
        """
        self.prepare()
        try:
            with self._engine.connect() as connection:
                with connection.begin():
                    known, news = self._check_unchanged(connection, entries)
                    fresh, doubles = _sorted_out(entries, known)
                    insert_rows(connection, fresh)
                    totals.add(connection, fresh)
                if isinstance(driver := connection.connection.driver_connection, sqlite3.Connection):
                    sqlite.empty_wal(driver)
        except BaseException:
            self._is_prepared = False
            raise
        if self._file is not None and self._file.is_deleted:
            raise LedgerError("its file was deleted while it was written to")
        if entries:
            self._last = entries[-1].action.id
        return doubles, news

    def _check_unchanged(self, connection: Connection, entries: Sequence[Entry]) -> tuple[dict[str, float], str]:
        """Called in the writing transaction: another process may have upgraded, emptied or replaced the ledger. It only
        grows, so a database without the action that was stored last is not the same.

        Returns:
            When the actions of these entries began, of those that are stored; and the news, as `store`.
        """
        if self._file is not None and not self._file.is_in_place:
            raise LedgerError("its file was moved")
        found = check_version(connection, self._location)
        if found is None:
            _create(connection)
        elif found != VERSION:
            raise LedgerError(f"it was replaced by a ledger of version {found}")
        last = () if self._last is None else (self._last,)
        known = stored(connection, {*last, *(entry.action.id for entry in entries)})
        if self._last is None or self._last in known:
            return known, ""
        return known, (
            f"the ledger {self._location.name} was overwritten while in use: the last action that was stored,"
            f" {self._last}, is not in it; the next ones are stored in what is there now"
        )

    def close(self) -> None:
        self._let_go()


def _create(connection: Connection) -> None:
    assert key_tables.keys.metadata is metadata  # noqa: S101 - they are created with the ledger's own
    metadata.create_all(connection)
    connection.execute(insert(version).values(version=VERSION))


def _sorted_out(entries: Sequence[Entry], known: dict[str, float]) -> tuple[list[Entry], list[Entry]]:
    """Entries that are not stored yet, and entries whose id belongs to another action; `known` is `stored` of them."""
    fresh, doubles = [], []
    for entry in entries:
        if entry.action.id not in known:
            known[entry.action.id] = entry.action.started_at
            fresh.append(entry)
        elif known[entry.action.id] != entry.action.started_at:
            doubles.append(entry)
    return fresh, doubles
