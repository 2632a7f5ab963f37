"""Stores journal lines in the database, and sets aside lines that can never be stored."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError

from tierwise.ledger.alerts import Alerts
from tierwise.ledger.database import Database, is_corrupt, may_pass
from tierwise.ledger.journal import Segment, orphans
from tierwise.ledger.lines import RejectedLine, line_of, parsed
from tierwise.ledger.location import Location
from tierwise.ledger.rows import Entry
from tierwise.spec.errors import LedgerError, SpecError

BATCH = 500
"""Actions per transaction."""

LATELY = 60.0
"""Seconds for which stored lines are remembered."""

MOST_REMEMBERED = 16 * 2**20
"""Maximum bytes of remembered lines."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A set of actions that the writer stores together."""

    segment: Segment
    kept: tuple[bytes, ...]
    upto: int
    """Number of actions accepted when it was taken; all of them are stored once it is."""


class Writer:
    """Stores lines in the database. Used by one thread at a time.

    A line that can never be stored, such as one torn by a power failure or an action with another action's id, is moved
    to a separate file, so that it neither blocks the others nor is lost.
    """

    def __init__(self, location: Location, alerts: Alerts, *, patience: float) -> None:
        self._location, self._alerts = location, alerts
        self._database = Database(location, patience=patience)
        self._orphans: list[Segment] = []
        self._recent: deque[tuple[float, Sequence[bytes]]] = deque()
        self._remembered = 0

    @property
    def orphans(self) -> int:
        """Number of journals of dead processes that are not stored yet."""
        return len(self._orphans)

    def begin(self) -> None:
        """Adopt the journals of dead processes and prepare the database.

        Raises:
            SQLAlchemyError, OSError, SpecError: a ledger cannot be kept here. Transient errors raise an alert instead.
        """
        self._orphans = orphans(self._location.journal)
        try:
            self._database.prepare()
        except (DBAPIError, LedgerError) as error:
            if isinstance(error, DBAPIError) and not may_pass(error):
                raise
            self._sound(error)

    def look(self) -> None:
        """Report a database file that was moved, replaced or deleted, and let go of it."""
        self._has_departed()

    def attempt(self, batch: Batch) -> bool:
        """Store a batch and empty its segment; on failure raise an alert and return False."""
        self.look()
        try:
            for orphan in tuple(self._orphans):
                self._store(orphan.lines())
                orphan.discard()
                self._orphans.remove(orphan)
            batch.segment.restore()
            self._store(chain(batch.segment.lines(), batch.kept))
            batch.segment.clear()
        except (SQLAlchemyError, OSError, SpecError, LedgerError) as error:
            if not self._has_departed():
                self._sound(error)
            return False
        self._alerts.settle("database")
        self._alerts.settle("corrupt")
        return True

    def close(self) -> None:
        self.look()
        for orphan in self._orphans:
            orphan.release()
        self._database.close()

    def _has_departed(self) -> bool:
        """Whether the file was moved, replaced or deleted since the last look; if so, this reports it."""
        departure = self._database.look()
        if departure is None:
            return False
        news = f"the ledger {self._location.name} {departure.whereabouts} while in use"
        if departure.is_deleted:
            news = f"{news}; the next action begins a new file in its place{self._rescued()}"
        else:
            news = f"{news}; its actions up to now are there, and the next one begins a new file in its place"
        self._forget()
        self._alerts.report(news)
        return True

    def _rescued(self) -> str:
        """Keep the lines that were stored lately, because the file with them is gone, and say so. A file that is moved
        to another disk is copied first and deleted then: what was stored in between is nowhere else.
        """
        lines = [line for _, some in self._recent for line in some]
        if not lines:
            return ""
        path = self._beside("rescued")
        try:
            with path.open("ab") as file:
                file.writelines(lines)
        except OSError as error:
            return f"; the last {len(lines)} actions cannot be kept in {path}: {error.strerror}"
        return f"; the last {len(lines)} actions, which copies of the lost file may lack, are kept in {path}"

    def _beside(self, what: str) -> Path:
        return self._location.journal.with_name(f"{self._location.journal.name}.{what}.jsonl")

    def _store(self, lines: Iterable[bytes]) -> None:
        lines = iter(lines)
        refused: list[RejectedLine] = []
        while some := tuple(islice(lines, BATCH)):
            entries = []
            for line in some:
                match parsed(line):
                    case Entry() as found:
                        entries.append(found)
                    case refusal:
                        refused.append(refusal)
            refused.extend(self._store_entries(entries))
            self._remember(some)
        if refused:
            self._set_aside(refused)

    def _remember(self, lines: Sequence[bytes]) -> None:
        now = time.monotonic()
        if self._location.path is not None:
            self._recent.append((now, lines))
            self._remembered += sum(map(len, lines))
        while self._recent and (now - self._recent[0][0] > LATELY or self._remembered > MOST_REMEMBERED):
            self._remembered -= sum(map(len, self._recent.popleft()[1]))

    def _forget(self) -> None:
        self._recent.clear()
        self._remembered = 0

    def _store_entries(self, entries: Sequence[Entry]) -> Iterator[RejectedLine]:
        """Store entries; one by one if the database rejects a value among them."""
        try:
            doubles, news = self._database.store(entries)
        except DataError as error:
            if len(entries) == 1:
                yield RejectedLine(line_of(entries[0]), reason_of(error, self._location))
                return
            for one in entries:
                yield from self._store_entries([one])
            return
        if news:
            self._alerts.report(news + self._rescued())
            self._forget()
        for double in doubles:
            yield RejectedLine(line_of(double), f"another action has the id {double.action.id!r}")

    def _set_aside(self, refused: list[RejectedLine]) -> None:
        path = self._beside("refused")
        with path.open("ab") as file:
            file.writelines(refusal.line.rstrip(b"\n") + b"\n" for refusal in refused)
        self._alerts.report(
            f"{len(refused)} lines cannot be stored in the ledger and are kept in {path}: {refused[0].why}"
        )

    def _sound(self, error: Exception) -> None:
        name, reason = self._location.name, reason_of(error, self._location)
        if isinstance(error, DBAPIError) and is_corrupt(error):
            self._alerts.sound(
                "corrupt",
                f"the ledger {name} is corrupt: {reason}; actions wait in its journal. Move the file away, and they are"
                " stored in a new one"
                if self._location.path is not None
                else f"the ledger {name} is corrupt: {reason}; actions wait in its journal until it is mended",
            )
            return
        self._alerts.sound(
            "database", f"the ledger {name} cannot be written now: {reason}; actions wait in its journal until it can"
        )


def reason_of(error: Exception, location: Location) -> str:
    """The error message without SQL, values and passwords."""
    return location.redacted(str(error.orig if isinstance(error, DBAPIError) else error)).strip()
