"""The tables, and the one place that knows they are in SQLite; everything in them is portable to PostgreSQL.

What users and models said is not stored unless the ledger is opened with `content`. Then it stands in a table of its
own, `contents`, so that it can be encrypted, expired or dropped without touching a row of the others.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.pool import QueuePool

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import DBAPIError

    from tierwise.ledger.rows import Entry

VERSION = 1

metadata = MetaData()

version = Table("ledger_version", metadata, Column("version", Integer, primary_key=True))

actions = Table(
    "actions",
    metadata,
    Column("id", String, primary_key=True),
    Column("started_at", Double, nullable=False, index=True),
    Column("day", String, nullable=False),
    Column("model", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("ending", String, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("first_output", Double),
    Column("finish", String, nullable=False),
    Column("why", String, nullable=False),
    Column("error", String, nullable=False),
    Column("caller", String, nullable=False),
)

passes = Table(
    "passes",
    metadata,
    Column("action", ForeignKey("actions.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("role", String, nullable=False),
    Column("tier", String, nullable=False),
    Column("deployment", String, nullable=False),
    Column("draw", BigInteger, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("after", JSON, nullable=False),
    Column("retry_of", BigInteger),
    Column("outcome", String, nullable=False),
    Column("finish", String, nullable=False),
    Column("started", Double, nullable=False),
    Column("first_token", Double),
    Column("seconds", Double, nullable=False),
    Column("busy_seconds", Double, nullable=False),
    Column("prompt", BigInteger, nullable=False),
    Column("cached", BigInteger, nullable=False),
    Column("completion", BigInteger, nullable=False),
    Column("reasoning", BigInteger, nullable=False),
    Column("exact", Boolean, nullable=False),
    Column("error", String, nullable=False),
    Column("dollars_tokens", Double, nullable=False),
    Column("dollars_time", Double, nullable=False),
)

checks = Table(
    "checks",
    metadata,
    Column("action", ForeignKey("actions.id"), primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger),
    Column("kind", String, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("score", Double),
    Column("why", String, nullable=False),
    Column("seconds", Double, nullable=False),
)

contents = Table(
    "contents",
    metadata,
    Column("action", ForeignKey("actions.id"), primary_key=True),
    Column("request", Text, nullable=False),
    Column("answers", Text, nullable=False),
)


def connect(path: Path, *, patience: float, read_only: bool = False) -> Engine:
    """An engine for a ledger's file. Nothing is opened before the first use.

    Args:
        path: the file; a writer creates it, a reader wants it there.
        patience: seconds to wait for a lock.
        read_only: open it for reading; a writer begins every transaction by taking the lock, so that what it looks up
            cannot change before what it inserts.
    """
    address = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}"

    def opened() -> sqlite3.Connection:
        connection = sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            if not read_only:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=opened, poolclass=QueuePool)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def may_pass(error: DBAPIError) -> bool:
    """Whether what a database refused today it may accept tomorrow: it was locked, or its disk was full."""
    detailed = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return detailed & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}


def is_foreign(error: DBAPIError) -> bool:
    """Whether the file holds something else than a database."""
    return getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB


def check_version(connection: Connection, path: Path) -> bool:
    """Whether the file is a ledger; False when it is empty.

    Raises:
        SpecError: the file is somebody else's, or of a later Tierwise.
    """
    names = inspect(connection).get_table_names()
    if not names:
        return False
    if version.name not in names:
        raise SpecError(f"{path} is a database but no ledger; its tables: {', '.join(sorted(names))}", field="ledger")
    found = connection.execute(select(version.c.version)).scalar_one()
    if found > VERSION:
        raise SpecError(
            f"{path} is a ledger of version {found}, this Tierwise knows {VERSION}; update Tierwise", field="ledger"
        )
    return True


class Database:
    """The ledger's file, as its writer sees it. Used by one thread at a time."""

    def __init__(self, path: Path, *, patience: float) -> None:
        self._path = path
        self._engine = connect(path, patience=patience)
        self._file: tuple[int, int] | None = None

    def prepare(self) -> None:
        """See that the tables are there, also when somebody has moved the file away since the last time."""
        if self._file is not None and self._file == self._identity():
            return
        self._engine.dispose()
        with self._engine.begin() as connection:
            if not check_version(connection, self._path):
                metadata.create_all(connection)
                connection.execute(insert(version).values(version=VERSION))
            contents.create(connection, checkfirst=True)  # ledgers from before there were contents do not have it
        self._file = self._identity()

    def store(self, entries: Sequence[Entry]) -> list[Entry]:
        """Add what is not there yet, all or nothing.

        Returns:
            Entries that cannot be stored because another action has their id.
        """
        self.prepare()
        with self._engine.begin() as connection:
            ids = {entry.action.id for entry in entries}
            rows = connection.execute(select(actions.c.id, actions.c.started_at).where(actions.c.id.in_(ids)))
            known: dict[str, float] = {row.id: row.started_at for row in rows}
            fresh, doubles = [], []
            for entry in entries:
                if entry.action.id not in known:
                    known[entry.action.id] = entry.action.started_at
                    fresh.append(entry)
                elif known[entry.action.id] != entry.action.started_at:
                    doubles.append(entry)
            _insert(connection, fresh)
        return doubles

    def close(self) -> None:
        self._engine.dispose()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _insert(connection: Connection, entries: Sequence[Entry]) -> None:
    fields = msgspec.structs.asdict
    for table, rows in (
        (actions, [{**fields(entry.action), "day": entry.action.day} for entry in entries]),
        (passes, [{**fields(done), "action": entry.action.id} for entry in entries for done in entry.passes]),
        (checks, [{**fields(check), "action": entry.action.id} for entry in entries for check in entry.checks]),
        (contents, [{**fields(one.content), "action": one.action.id} for one in entries if one.content is not None]),
    ):
        if rows:
            connection.execute(insert(table), rows)
