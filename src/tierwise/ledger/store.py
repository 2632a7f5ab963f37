"""The writing side of the ledger: a line in a journal while the request waits, rows in the database soon after.

    write ──▶ journal (or, when the disk is full, memory) ──▶ one thread ──▶ database
                                                                   ▲
                        journals that dead processes left behind ──┘

A journal is emptied only after its lines are committed, and an action that the database has is not stored twice. So
what the journal took is in the database in the end: after `kill -9`, after hours of a locked file. Only actions that
came while the disk took nothing live in memory alone; `LedgerHealth` counts them.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from sqlalchemy.exc import SQLAlchemyError

from tierwise.ledger.alerts import Alerts
from tierwise.ledger.journal import Journal, orphans
from tierwise.ledger.location import locate
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.rows import entry
from tierwise.ledger.writer import Batch, Writer, line_of, reason_of
from tierwise.spec.errors import LedgerError, SpecError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tierwise.ledger.alerts import Report
    from tierwise.ledger.location import Location
    from tierwise.ledger.records import Record

PATIENCE = 2.0
"""Seconds that the writer waits for a lock before it sounds the alarm and tries again."""

BATCH_DELAY = 0.05
"""Seconds in which actions gather before they are stored together."""

RETRY_DELAY = 0.5
"""Seconds between two attempts to store what could not be stored."""

BUFFER_SIZE = 10_000
"""Actions that are kept in memory while the disk takes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHealth:
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
        location: Location,
        prices: PriceBook,
        alerts: Alerts,
        writer: Writer,
        journal: Journal,
        buffer_size: int,
        *,
        content: bool = False,
    ) -> None:
        self._location, self._prices, self._buffer_size, self._with_content = location, prices, buffer_size, content
        self._alerts, self._writer, self._journal = alerts, writer, journal
        self._kept: deque[bytes] = deque()
        self._accepted = self._stored = self._lost = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._progress = threading.Condition(self._lock)
        self._work, self._hurry, self._stop = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    @classmethod
    def open(
        cls,
        where: str | Path | Location,
        prices: PriceBook,
        on_alarm: Report,
        *,
        patience: float = PATIENCE,
        buffer_size: int = BUFFER_SIZE,
        content: bool = False,
    ) -> Self:
        """Open, create or upgrade a ledger; what processes that died had not stored is stored first.

        Args:
            where: the path of a SQLite file, or the URL of a PostgreSQL database (`location.py`).
            prices: what passes cost when they are written.
            on_alarm: told when remembering fails, from any thread; must be quick and must not raise.
            patience: seconds that the writer waits for a locked database before it sounds the alarm.
            buffer_size: the most actions that are kept in memory while the disk takes nothing.
            content: keep what was asked and answered too, for `tierwise workload from-ledger`.

        Raises:
            SpecError: the URL is wrong, or PostgreSQL's driver is not installed.
            LedgerError: nothing can be kept there at all: no such folder, it is no ledger, or one of a later version. A
                database that is locked, full or not to be reached is waited for, and `on_alarm` is told.
        """
        location = locate(where)
        alerts = Alerts(on_alarm)
        writer = Writer(location, alerts, patience=patience)
        try:
            if location.path is None:
                location.journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer.begin()
            journal = Journal(location.journal)
        except (SQLAlchemyError, OSError, SpecError) as error:
            writer.close()
            raise LedgerError(f"no ledger can be kept at {location.name}: {reason_of(error, location)}") from error
        ledger = cls(location, prices, alerts, writer, journal, buffer_size, content=content)
        if writer.orphans:
            ledger._work.set()
        ledger._thread.start()
        return ledger

    def write(self, record: Record) -> None:
        """Remember an action. When this returns, the death of the process can no longer lose it.

        Where that cannot be promised, because the disk takes nothing, the alarm is sounded and the action kept in
        memory, as long as the buffer has room.
        """
        line = line_of(entry(record, self._prices, with_content=self._with_content))
        with self._lock:
            trouble = self._accept(line)
        if trouble:
            self._alerts.sound("journal", trouble)
        else:
            self._alerts.settle("journal")
        if not self._work.is_set():
            self._work.set()

    def _accept(self, line: bytes) -> str:
        """Put a line where it is as safe as can be. Returns what is wrong with that place, if anything is."""
        if self._is_closed:
            self._lost += 1
            return f"the ledger {self._location.name} is closed: actions are lost"
        try:
            self._journal.append(line)
        except OSError as error:
            trouble = f"the journal of the ledger {self._location.name} takes nothing: {error.strerror}"
            if len(self._kept) >= self._buffer_size:
                self._lost += 1
                return f"{trouble}; the buffer in memory is full too: actions are lost"
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
            return self._progress.wait_for(lambda: self._stored >= upto and not self._writer.orphans, timeout)

    def health(self) -> LedgerHealth:
        with self._lock:
            return LedgerHealth(
                pending=self._accepted - self._stored,
                unjournaled=len(self._kept),
                lost=self._lost,
                orphans=self._writer.orphans,
                alarms=self._alerts.current(),
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
        self._thread.join()
        self._writer.close()
        left = self._accepted - self._stored
        if not left:
            self._journal.discard()
            return
        self._journal.release()
        self._lost += len(self._kept)
        fate = f"lost are {len(self._kept)} that were only in memory" if self._kept else "none is lost"
        self._alerts.sound(
            "closing",
            f"the ledger {self._location.name} was closed before {left} actions were stored; {fate};"
            f" what is in {self._location.journal}.*.pending.jsonl is stored when the ledger is opened again",
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
                while not self._writer.attempt(batch):
                    if self._stop.wait(RETRY_DELAY):
                        return
                self._forget(batch)
        finally:
            if not self._stop.is_set():
                self._alerts.sound(
                    "writer", f"the writer of the ledger {self._location.name} died; actions wait in its journal"
                )

    def _has_work(self) -> bool:
        """Wait for something to store, and a little longer for company; False when the ledger closes and has all."""
        if not self._stop.is_set():
            self._work.wait()
            self._hurry.wait(BATCH_DELAY)
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


def recover(where: str | Path | Location, on_alarm: Report) -> None:
    """Store what dead processes left of a ledger, before somebody reads it; does nothing where nothing is left.

    Raises:
        SpecError, LedgerError: as `Ledger.open`.
    """
    location = locate(where)
    left = orphans(location.journal) if location.journal.parent.is_dir() else []
    for segment in left:
        segment.release()
    if left:
        with Ledger.open(location, PriceBook({}), on_alarm):
            pass
