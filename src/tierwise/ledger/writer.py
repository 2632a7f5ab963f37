"""Stores journal lines in the database, and sets aside lines that can never be stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import msgspec
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError

from tierwise.ledger.alerts import Alerts
from tierwise.ledger.database import Database, may_pass
from tierwise.ledger.journal import Segment, orphans
from tierwise.ledger.location import Location
from tierwise.ledger.rows import Entry
from tierwise.spec.errors import LedgerError, SpecError

BATCH = 500
"""Actions per transaction."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


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

    def attempt(self, batch: Batch) -> bool:
        """Store a batch and empty its segment; on failure raise an alert and return False."""
        try:
            for orphan in tuple(self._orphans):
                self._store(orphan.lines())
                orphan.discard()
                self._orphans.remove(orphan)
            self._store(chain(batch.segment.lines(), batch.kept))
            batch.segment.clear()
        except (SQLAlchemyError, OSError, SpecError, LedgerError) as error:
            self._sound(error)
            return False
        self._alerts.settle("database")
        return True

    def close(self) -> None:
        for orphan in self._orphans:
            orphan.release()
        self._database.close()

    def _store(self, lines: Iterable[bytes]) -> None:
        lines = iter(lines)
        refused: list[RejectedLine] = []
        while some := tuple(islice(lines, BATCH)):
            entries = []
            for line in some:
                match _decode(line):
                    case Entry() as found:
                        entries.append(found)
                    case refusal:
                        refused.append(refusal)
            refused.extend(self._store_entries(entries))
        if refused:
            self._set_aside(refused)

    def _store_entries(self, entries: Sequence[Entry]) -> Iterator[RejectedLine]:
        """Store entries; one by one if the database rejects a value among them."""
        try:
            for double in self._database.store(entries):
                yield RejectedLine(line_of(double), f"another action has the id {double.action.id!r}")
        except DataError as error:
            if len(entries) == 1:
                yield RejectedLine(line_of(entries[0]), reason_of(error, self._location))
                return
            for one in entries:
                yield from self._store_entries([one])

    def _set_aside(self, refused: list[RejectedLine]) -> None:
        path = self._location.journal.with_name(f"{self._location.journal.name}.refused.jsonl")
        with path.open("ab") as file:
            file.writelines(refusal.line.rstrip(b"\n") + b"\n" for refusal in refused)
        self._alerts.report(
            f"{len(refused)} lines cannot be stored in the ledger and are kept in {path}: {refused[0].why}"
        )

    def _sound(self, error: Exception) -> None:
        self._alerts.sound(
            "database",
            f"the ledger {self._location.name} cannot be written now: {reason_of(error, self._location)}; "
            "actions wait in its journal until it can",
        )


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A line that cannot be stored."""

    line: bytes
    why: str


def _decode(line: bytes) -> Entry | RejectedLine:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if line.endswith(b"\n"):
            return RejectedLine(line, str(error))
        return RejectedLine(line, "it is torn: its process was stopped while writing it, before it was acknowledged")


def line_of(one: Entry) -> bytes:
    """An action as a line of a journal."""
    return _encoder.encode(one) + b"\n"


def reason_of(error: Exception, location: Location) -> str:
    """The error message without SQL, values and passwords."""
    return location.redacted(str(error.orig if isinstance(error, DBAPIError) else error)).strip()
