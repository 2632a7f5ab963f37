"""A ledger in a SQLite file: connections, which errors are transient, and the copy before an upgrade."""

from __future__ import annotations

import itertools
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from tierwise.spec.errors import LedgerError

_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})


def connect(path: Path, *, patience: float, read_only: bool = False) -> Engine:
    """A SQLAlchemy engine for a file. Nothing is opened before the first use.

    Args:
        path: the file; a writer creates it, a reader requires it.
        patience: seconds to wait for a lock.
        read_only: open it for reading. A writer takes the lock at the start of every transaction, so that its lookups
            stay valid until it inserts.
    """

    def opened() -> sqlite3.Connection:
        connection = _open(path, "ro" if read_only else "rwc", patience)
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


def may_pass(error: sqlite3.Error) -> bool:
    """Whether an error is transient: the file was locked, or the disk was full."""
    return _code(error) & 0xFF in _PASSING


def is_foreign(error: sqlite3.Error) -> bool:
    """Whether the file is not a database."""
    return _code(error) == sqlite3.SQLITE_NOTADB


def keep_copy(path: Path, version: int) -> Path:
    """Copy the ledger to a file beside it. The caller holds the ledger's lock.

    Copies are never overwritten. Ledgers only grow, so a copy left by an interrupted upgrade is reused if it ends with
    the same rows.

    Raises:
        LedgerError: it cannot be written, for instance because the disk is full.
    """
    try:
        with closing(_open(path, "ro", 0.0)) as ledger:
            for more in itertools.count(1):
                copy = path.with_name(f"{path.name}.v{version}{f'.{more}' * (more > 1)}.bak")
                if not copy.exists():
                    _copy(ledger, copy)
                    return copy
                if _is_copy(copy, ledger):
                    return copy
    except (sqlite3.Error, OSError) as error:
        size = path.stat().st_size / 1e6
        raise LedgerError(f"no copy of {size:,.1f} MB can be written beside it: {error}") from error
    raise AssertionError


def _copy(ledger: sqlite3.Connection, copy: Path) -> None:
    """Write under another name first, so that a copy with the final name is complete."""
    unnamed = copy.with_name(f".{copy.name}.new")
    unnamed.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(unnamed)) as target:
            ledger.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, which can be read on a read-only disk
        with unnamed.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        unnamed.unlink(missing_ok=True)
        raise
    unnamed.rename(copy)


def _is_copy(path: Path, ledger: sqlite3.Connection) -> bool:
    try:
        with closing(_open(path, "ro", 0.0)) as copy:
            return _ends(copy) == _ends(ledger)
    except sqlite3.Error:
        return False


def _ends(ledger: sqlite3.Connection) -> list[tuple[object, ...] | None]:
    """The version, and the last row of each growing table with its number: counting rows would read them all."""
    parts = ("version FROM ledger_version", "* FROM actions", "* FROM passes", "* FROM checks")
    return [ledger.execute(f"SELECT rowid, {part} ORDER BY rowid DESC LIMIT 1").fetchone() for part in parts]


def _open(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
