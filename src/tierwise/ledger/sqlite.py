"""A ledger in a SQLite file: connections, kinds of errors, and copies.

Ledgers use a rollback journal and not a write-ahead log (WAL), so that the file holds everything that was committed. It
can be moved, copied and put on a read-only disk by people who do not know SQLite, and SQLite refuses to write into a
file that was moved. A WAL would save a few fsyncs per batch, but no request waits for those. Files of earlier versions
have a WAL; a writer removes it when no other process uses it.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import sqlite3
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

from tierwise.spec.errors import LedgerError, SpecError

_PASSING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_CANNOT_WRITE = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_POLL_DELAY = 0.01
"""Seconds between attempts of a writer to take its turn."""


def connect(path: Path, *, patience: float, read_only: bool = False) -> Engine:
    """A SQLAlchemy engine for a file. Nothing is opened before the first use, and nothing stays open between uses:
    SQLite would not notice that the file was overwritten, and would mix pages of both.

    Args:
        path: the file; a writer creates it, a reader requires it.
        patience: seconds to wait for a lock.
        read_only: open it for reading. A writer takes the lock at the start of every transaction, so that its lookups
            stay valid until it inserts.
    """

    def opened() -> sqlite3.Connection:
        return open_for_reading(path, patience) if read_only else _open_for_writing(path, patience)

    engine = create_engine("sqlite://", creator=opened, poolclass=NullPool)
    begin = "BEGIN" if read_only else "BEGIN IMMEDIATE"
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def may_pass(error: sqlite3.Error) -> bool:
    """Whether an error is transient: the file was locked, or the disk was full."""
    return _code(error) & 0xFF in _PASSING


def is_foreign(error: sqlite3.Error) -> bool:
    """Whether the file is not a database."""
    return _code(error) == sqlite3.SQLITE_NOTADB


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, or was overwritten by something else."""
    return _code(error) & 0xFF in _CORRUPT


def damage(path: Path) -> str:
    """The first damage that SQLite finds in the structure of a file; empty if there is none."""
    with closing(_open(path, "ro", 0.0)) as connection:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    return "" if found == "ok" else str(found)


def has_log(path: Path) -> bool:
    """Whether SQLite's journal or write-ahead log lies beside the file, with content."""
    logs = (path.with_name(f"{path.name}{ending}") for ending in ("-journal", "-wal"))
    return any(log.exists() and log.stat().st_size > 0 for log in logs)


def check_regular(path: Path) -> None:
    """Raise unless a path names a regular file or nothing.

    Raises:
        SpecError: it is a folder, a device, a pipe or a socket.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise SpecError(f"{path} is {kind}; name a file, such as ledger.db", field="ledger")


def empty_wal(connection: sqlite3.Connection) -> None:
    """Move what a write-ahead log holds into the file, as far as other connections allow it now. There is one only if a
    process of an earlier version uses the ledger too; it would stay behind if the file were moved.
    """
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


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
                    with new_copy(ledger, copy) as unnamed:
                        unnamed.rename(copy)
                    return copy
                if _is_copy(copy, ledger):
                    return copy
    except (sqlite3.Error, OSError) as error:
        size = path.stat().st_size / 1e6
        raise LedgerError(f"no copy of {size:,.1f} MB can be written beside it: {error}") from error
    raise AssertionError


@contextmanager
def new_copy(ledger: sqlite3.Connection, copy: Path, *, patience: float = 60.0) -> Generator[Path]:
    """A whole copy of a ledger in one file, under another name in the folder of `copy`: the caller renames it, so that
    a file with the final name is complete. Whatever still has the other name at the end is deleted.

    Args:
        ledger: an open connection.
        copy: the final name.
        patience: seconds to wait for a lock.

    Raises:
        sqlite3.Error, OSError: it cannot be written, for instance because the disk is full.
        LedgerError: the ledger is locked.
    """
    unnamed = copy.with_name(f".{copy.name}.new")
    unnamed.unlink(missing_ok=True)
    limit = time.monotonic() + patience

    def wait(status: int, _remaining: int, _total: int) -> None:
        if status & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and time.monotonic() > limit:
            raise LedgerError(f"it has been locked for {patience:g} s")

    try:
        with closing(sqlite3.connect(unnamed)) as target:
            ledger.backup(target, progress=wait)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, which can be read on a read-only disk
        with unnamed.open("rb") as file:
            os.fsync(file.fileno())
        yield unnamed
    finally:
        unnamed.unlink(missing_ok=True)


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


def open_for_reading(path: Path, patience: float) -> sqlite3.Connection:
    """A connection that never writes, also where nothing can be written.

    A file in WAL mode needs a file for locks beside it. Where none can be made and no log lies beside it, nobody
    writes, and it is read without locks. A transaction that `kill -9` left half done is undone first, which takes a
    writer.
    """
    connection = _open(path, "ro", patience)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        if _code(error) & 0xFF not in _CANNOT_WRITE:
            return connection  # the caller's first query raises this again
        connection.close()
        if not has_log(path):
            return _open(path, "ro&immutable=1", patience)
        with suppress(sqlite3.Error, OSError):
            _open_for_writing(path, patience).close()
        return _open(path, "ro", patience)
    return connection


def _open_for_writing(path: Path, patience: float) -> sqlite3.Connection:
    """A connection that holds its ledger's turn until it is closed."""
    limit = time.monotonic() + patience
    while True:
        connection = _open(path, "rwc", 0.0, _Turn)
        assert isinstance(connection, _Turn)  # noqa: S101 - for the type
        try:
            connection.take(path.parent)
            with suppress(sqlite3.OperationalError):  # in use: a process of an earlier version needs its WAL
                connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            connection.execute(f"PRAGMA busy_timeout={round(patience * 1000)}")  # from here on only for readers
            connection.execute("PRAGMA synchronous=FULL")
        except (sqlite3.Error, OSError) as error:
            connection.close()
            is_busy = isinstance(error, BlockingIOError) or getattr(error, "sqlite_errorcode", 0) in _BUSY
            if not is_busy:
                raise
            if time.monotonic() > limit:
                if isinstance(error, BlockingIOError):
                    raise sqlite3.OperationalError("another process has been writing for too long") from None
                raise
            time.sleep(_POLL_DELAY)  # without holding the turn
        else:
            return connection


class _Turn(sqlite3.Connection):
    """A connection of a writer; only one exists in a folder at a time.

    SQLite's own locks belong to files, but its journal belongs to a name. While one process commits into a file that
    was just moved, another one that begins a new file of the same name would take the journal for its own, and destroy
    what both of them write. So writers lock their folder.
    """

    _folder: int | None = None

    def take(self, folder: Path) -> None:
        """Take the turn.

        Raises:
            BlockingIOError: another process has it.
        """
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system that has no locks for folders
            return

    def close(self) -> None:
        super().close()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


def _open(
    path: Path, mode: str, patience: float, kind: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(
        address, uri=True, timeout=patience, isolation_level=None, check_same_thread=False, factory=kind
    )


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
