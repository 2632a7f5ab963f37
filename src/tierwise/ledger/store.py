"""The writing side of the ledger: a line in a journal while the request waits, rows in the database soon after.

    write ──▶ journal (or, when the disk is full, memory) ──▶ one thread ──▶ database
                                                                   ▲
                        journals that dead processes left behind ──┘

A journal is emptied only after its lines are committed, and an action that the database has is not stored twice. So
what the journal took is in the database in the end: after `kill -9`, after hours of a locked file. Only actions that
came while the disk took nothing live in memory alone; `Health` counts them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Self

import msgspec
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from tierwise.ledger.database import Database, may_pass
from tierwise.ledger.journal import Journal, Segment, orphans
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.rows import Entry, entry
from tierwise.spec.errors import LedgerError, SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from tierwise.ledger.records import Record

    Tell = Callable[[LedgerError], None]

PATIENCE = 2.0
"""Seconds that the writer waits for a lock before it sounds the alarm and tries again."""

LINGER = 0.05
"""Seconds in which actions gather before they are stored together."""

REST = 0.5
"""Seconds between two attempts to store what could not be stored."""

REPEAT = 60.0
"""Seconds after which an alarm is sounded again while its cause lasts."""

ROOM = 10_000
"""Actions that are kept in memory while the disk takes nothing."""

BATCH = 500
"""Actions in one transaction."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How well the ledger remembers."""

    pending: int
    """Actions that it took and that the database does not have yet."""
    unjournaled: int
    """Those of them that are in memory alone, and gone if the process dies."""
    lost: int
    """Actions that it could not take."""
    orphans: int
    """Journals of dead processes that are not stored yet."""
    alarms: tuple[str, ...]
    """What is wrong now."""

    @property
    def is_good(self) -> bool:
        return not self.alarms and not self.lost


class Ledger:
    """Remembers actions. It never raises at a request, and never lets one wait for the database."""

    def __init__(
        self,
        path: Path,
        prices: PriceBook,
        alarms: Alarms,
        intake: Intake,
        journal: Journal,
        room: int,
        *,
        content: bool = False,
    ) -> None:
        self._path, self._prices, self._room, self._with_content = path, prices, room, content
        self._alarms, self._intake, self._journal = alarms, intake, journal
        self._kept: deque[bytes] = deque()
        self._accepted = self._stored = self._lost = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._work, self._hurry, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._writer = threading.Thread(target=self._run, name="ledger", daemon=True)

    @classmethod
    def open(
        cls,
        path: Path,
        prices: PriceBook,
        on_alarm: Tell,
        *,
        patience: float = PATIENCE,
        room: int = ROOM,
        content: bool = False,
    ) -> Self:
        """Open or create a ledger; what processes that died had not stored is stored first.

        Args:
            path: the database; its journals are files beside it.
            prices: what passes cost when they are written.
            on_alarm: told when remembering fails, from any thread; must be quick and must not raise.
            patience: seconds that the writer waits for a locked database before it sounds the alarm.
            room: actions that are kept in memory, at the most, while the disk takes nothing.
            content: keep what was asked and answered too, for `tierwise workload from-ledger`.

        Raises:
            LedgerError: nothing can be kept there at all: no such folder, or the file is no ledger. A locked database
                is no reason; `on_alarm` is told, and the database waited for.
        """
        path = path.resolve()
        alarms = Alarms(on_alarm)
        intake = Intake(path, alarms, patience=patience)
        try:
            intake.begin()
            journal = Journal(path)
        except (SQLAlchemyError, OSError, SpecError) as error:
            intake.close()
            raise LedgerError(f"no ledger can be kept at {path}: {_reason(error)}") from error
        ledger = cls(path, prices, alarms, intake, journal, room, content=content)
        if intake.orphans:
            ledger._work.set()
        ledger._writer.start()
        return ledger

    def write(self, record: Record) -> None:
        """Remember an action. When this returns, the death of the process can no longer lose it.

        Where that cannot be promised, because the disk takes nothing, the alarm is sounded and the action kept in
        memory, as long as there is room.
        """
        line = _encoder.encode(entry(record, self._prices, with_content=self._with_content)) + b"\n"
        with self._lock:
            trouble = self._accept(line)
        if trouble:
            self._alarms.sound("journal", trouble)
        else:
            self._alarms.settle("journal")
        if not self._work.is_set():
            self._work.set()

    def _accept(self, line: bytes) -> str:
        """Put a line where it is as safe as can be. Returns what is wrong with that place, if anything is."""
        if self._is_closed:
            self._lost += 1
            return f"the ledger {self._path} is closed: actions are lost"
        try:
            self._journal.append(line)
        except OSError as error:
            trouble = f"the journal of the ledger {self._path} takes nothing: {error.strerror}"
            if len(self._kept) >= self._room:
                self._lost += 1
                return f"{trouble}; the room in memory is full too: actions are lost"
            self._kept.append(line)
            self._accepted += 1
            return f"{trouble}; actions are kept in memory, and lost if this process dies"
        self._accepted += 1
        return ""

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was written before is in the database; False when `timeout` seconds were not enough."""
        with self._progress:
            upto = self._accepted
            self._hurry.set()
            return self._progress.wait_for(lambda: self._stored >= upto and not self._intake.orphans, timeout)

    def health(self) -> Health:
        with self._lock:
            return Health(
                pending=self._accepted - self._stored,
                unjournaled=len(self._kept),
                lost=self._lost,
                orphans=self._intake.orphans,
                alarms=self._alarms.current(),
            )

    def close(self, timeout: float = 10.0) -> None:
        """Store what is left, as far as `timeout` seconds allow; the rest stays in the journal for the next opening."""
        self.flush(timeout)
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._stop.set()
        self._hurry.set()
        self._work.set()
        self._writer.join()
        self._intake.close()
        left = self._accepted - self._stored
        if not left:
            self._journal.discard()
            return
        self._journal.release()
        self._lost += len(self._kept)
        fate = f"lost are {len(self._kept)} that were only in memory" if self._kept else "none is lost"
        self._alarms.sound(
            "closing",
            f"the ledger {self._path} was closed before {left} actions were stored; {fate};"
            f" what is in {self._path.name}.*.pending.jsonl is stored when the ledger is opened again",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        """The writer thread."""
        try:
            while self._has_work():
                batch = self._take()
                while not self._intake.attempt(batch):
                    if self._stop.wait(REST):
                        return
                self._forget(batch)
        finally:
            if not self._stop.is_set():
                self._alarms.sound("writer", f"the writer of the ledger {self._path} died; actions wait in its journal")

    def _has_work(self) -> bool:
        """Wait for something to store, and a little longer for company; False when the ledger closes and has all."""
        if not self._stop.is_set():
            self._work.wait()
            self._hurry.wait(LINGER)
            self._work.clear()
        return not self._stop.is_set() or self._accepted > self._stored

    def _take(self) -> Batch:
        with self._lock:
            self._hurry.clear()
            return Batch(self._journal.turn(), tuple(self._kept), self._accepted)

    def _forget(self, batch: Batch) -> None:
        """The database has it."""
        with self._progress:
            for _ in batch.kept:
                self._kept.popleft()
            self._stored = batch.upto
            self._progress.notify_all()


@dataclass(frozen=True, slots=True)
class Batch:
    """What the writer stores at one go."""

    segment: Segment
    kept: tuple[bytes, ...]
    upto: int
    """How many actions had been accepted when it was taken; all of them are stored when it is."""


class Intake:
    """Brings lines into the database. Used by one thread at a time.

    A line that the database can never take is set aside in a file of its own, so that it neither stops the others nor
    is lost: one that a power cut tore, or an action under the id of another one.
    """

    def __init__(self, path: Path, alarms: Alarms, *, patience: float) -> None:
        self._path, self._alarms = path, alarms
        self._database = Database(path, patience=patience)
        self._orphans: list[Segment] = []

    @property
    def orphans(self) -> int:
        """How many journals of dead processes are not stored yet."""
        return len(self._orphans)

    def begin(self) -> None:
        """Adopt the journals of dead processes and see that the database is there.

        Raises:
            SQLAlchemyError, OSError, SpecError: no ledger can be here. What may pass is an alarm instead.
        """
        self._orphans = orphans(self._path)
        try:
            self._database.prepare()
        except DBAPIError as error:
            if not may_pass(error):
                raise
            self._sound(error)

    def attempt(self, batch: Batch) -> bool:
        """Store a batch and empty its segment; False, and the alarm, when the database takes nothing now."""
        try:
            for orphan in tuple(self._orphans):
                self._store(orphan.lines())
                orphan.discard()
                self._orphans.remove(orphan)
            self._store(chain(batch.segment.lines(), batch.kept))
            batch.segment.clear()
        except (SQLAlchemyError, OSError, SpecError) as error:
            self._sound(error)
            return False
        self._alarms.settle("database")
        return True

    def close(self) -> None:
        for orphan in self._orphans:
            orphan.release()
        self._database.close()

    def _store(self, lines: Iterable[bytes]) -> None:
        lines = iter(lines)
        refused: list[Refused] = []
        while some := tuple(islice(lines, BATCH)):
            entries = []
            for line in some:
                match _decode(line):
                    case Entry() as found:
                        entries.append(found)
                    case refusal:
                        refused.append(refusal)
            for double in self._database.store(entries):
                line = _encoder.encode(double) + b"\n"
                refused.append(Refused(line, f"another action has the id {double.action.id!r}"))
        if refused:
            self._set_aside(refused)

    def _set_aside(self, refused: list[Refused]) -> None:
        path = self._path.with_name(f"{self._path.name}.refused.jsonl")
        with path.open("ab") as file:
            file.writelines(refusal.line.rstrip(b"\n") + b"\n" for refusal in refused)
        self._alarms.tell(
            f"{len(refused)} lines cannot be stored in the ledger and are kept in {path}: {refused[0].why}"
        )

    def _sound(self, error: Exception) -> None:
        self._alarms.sound(
            "database",
            f"the ledger {self._path} takes nothing now: {_reason(error)}; actions wait beside it until it does",
        )


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that cannot be stored."""

    line: bytes
    why: str


def _decode(line: bytes) -> Entry | Refused:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if line.endswith(b"\n"):
            return Refused(line, str(error))
        return Refused(line, "it is torn: its process was stopped while writing it, and had acknowledged nothing")


class Alarms:
    """What is wrong now, by cause. A trouble is told when it begins or changes, and again while it lasts."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._troubles: dict[str, Trouble] = {}

    def sound(self, cause: str, message: str) -> None:
        """Something is wrong until it is settled."""
        now = time.monotonic()
        with self._lock:
            known = self._troubles.get(cause)
            if known is not None and known.message == message and now - known.told_at < REPEAT:
                return
            self._troubles[cause] = Trouble(message, now)
        self.tell(message)

    def settle(self, cause: str) -> None:
        if cause in self._troubles:  # looked up without the lock, because every request comes by here
            with self._lock:
                self._troubles.pop(cause, None)

    def tell(self, message: str) -> None:
        """Something went wrong that does not last."""
        self._tell(LedgerError(message))

    def current(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(trouble.message for trouble in self._troubles.values())


@dataclass(frozen=True, slots=True)
class Trouble:
    message: str
    told_at: float


def recover(path: Path, on_alarm: Tell) -> None:
    """Store what dead processes left beside a ledger, before somebody reads it; does nothing where nothing is left."""
    left = orphans(path.resolve())
    for segment in left:
        segment.release()
    if left:
        with Ledger.open(path, PriceBook({}), on_alarm):
            pass


def _reason(error: Exception) -> str:
    """In words, without the SQL and its values."""
    return str(error.orig if isinstance(error, DBAPIError) else error)
