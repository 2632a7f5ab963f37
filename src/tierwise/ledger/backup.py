"""Copies of a ledger that are whole, taken while others write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from tierwise.ledger import sqlite
from tierwise.ledger.database import Database
from tierwise.ledger.journal import segments
from tierwise.ledger.lines import parsed
from tierwise.ledger.location import Location, locate
from tierwise.ledger.read import Reader
from tierwise.ledger.rows import Entry
from tierwise.ledger.writer import reason_of
from tierwise.spec.errors import LedgerError, NotFound, SpecError

_PATIENCE = 60.0
"""Seconds to wait for a locked database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A copy that was made."""

    actions: int
    size: int
    """Bytes."""


def back_up(where: str | Path | Location, target: Path) -> Backup:
    """Copy a ledger to a new file, with every action that was acknowledged before: those that wait in journals too.

    Args:
        where: the ledger, a SQLite file. Others may be writing to it.
        target: the file to write; it appears when it is complete and was checked.

    Raises:
        NotFound: there is no ledger.
        SpecError: the ledger is in PostgreSQL, is not a ledger, or `target` exists or has no folder.
        LedgerError: it cannot be read, is damaged, or the copy cannot be written.
    """
    location = locate(where)
    if location.path is None:
        raise SpecError(f"{location.name} is in PostgreSQL; back it up with pg_dump", field="ledger")
    sqlite.check_regular(location.path)
    if location.is_missing:
        raise NotFound(f"no ledger at {location.name}", field="ledger")
    if target.exists():
        raise SpecError(f"{target} exists, and a backup never overwrites a file; choose another name", field="FILE")
    if not target.parent.is_dir():
        raise SpecError(f"there is no folder {target.parent}; create it first", field="FILE")
    try:
        # Journals first: a line leaves its journal only after its action is in the database.
        waiting = _waiting(location.path)
        with (
            closing(sqlite.open_for_reading(location.path, _PATIENCE)) as ledger,
            sqlite.new_copy(ledger, target, patience=_PATIENCE) as unnamed,
        ):
            stored = _completed(Location(name=location.name, journal=unnamed, path=unnamed), waiting)
            size = unnamed.stat().st_size
            unnamed.rename(target)
    except (sqlite3.Error, SQLAlchemyError, OSError) as error:
        raise LedgerError(f"the ledger {location.name} cannot be copied: {reason_of(error, location)}") from error
    return Backup(actions=stored, size=size)


def _waiting(path: Path) -> list[Entry]:
    """The actions in the journals of all processes, living or dead."""
    found: list[Entry] = []
    for journal in segments(path):
        try:
            lines = journal.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:  # its process has ended and stored everything
            continue
        found.extend(entry for entry in map(parsed, lines) if isinstance(entry, Entry))
    return found


def _completed(copy: Location, waiting: list[Entry]) -> int:
    """Check a copy, add actions that it lacks, and return the number of its actions."""
    assert copy.path is not None  # noqa: S101 - copies are files
    if damage := sqlite.damage(copy.path):
        raise LedgerError(f"the ledger {copy.name} is damaged, and so was its copy, which is deleted: {damage}")
    if waiting:
        with closing(Database(copy, patience=_PATIENCE)) as database:
            database.store(waiting)
        for old in copy.path.parent.iterdir():
            if old.name.startswith(f"{copy.path.name}.v"):  # what an upgrade keeps; the original is still there
                old.unlink()
    with Reader(copy) as reader:
        return reader.total().actions
