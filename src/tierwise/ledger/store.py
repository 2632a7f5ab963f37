"""The writing side of the ledger: a journal line before the answer is sent, rows in the database soon after.

    write ──▶ journal (or, if the disk is full, memory) ────▶ one thread ──▶ database
                                                                   ▲
                        journals that dead processes left behind ──┘

A journal is emptied only after its lines are committed, and an action is never stored twice. So every journaled action
reaches the database eventually, even after `kill -9` or hours of a locked file. Actions that arrive while the disk is
full are in memory only; `LedgerHealth` counts them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from sqlalchemy.exc import SQLAlchemyError

from tierwise.ledger import sqlite
from tierwise.ledger.alerts import Alerts, Report
from tierwise.ledger.journal import Journal, orphans
from tierwise.ledger.lines import line_of
from tierwise.ledger.location import Location, locate
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Record
from tierwise.ledger.rows import entry
from tierwise.ledger.writer import Batch, Writer, reason_of
from tierwise.spec.errors import LedgerError, SpecError

PATIENCE = 5.0
"""Seconds that the writer waits for a lock before it raises an alert and retries. A reader holds one during a query."""

LOOK_DELAY = 0.5
"""Seconds between looks at the database's file while there is nothing to store."""

BATCH_DELAY = 0.05
"""Seconds to collect actions before they are stored together, after a pause."""

BATCH_INTERVAL = 0.5
"""Seconds between batches without a pause: opening the database and committing takes as long as storing 50 actions."""

RETRY_DELAY = 0.5
"""Seconds between attempts to store a batch that failed."""

BUFFER_SIZE = 10_000
"""Maximum actions in memory while the journal cannot be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHealth:
    """The state of a ledger."""

    pending: int
    """Accepted actions that are not in the database yet."""
    unjournaled: int
    """Pending actions that are only in memory, and lost if the process dies."""
    lost: int
    """Actions that could not be accepted."""
    orphans: int
    """Journals of dead processes that are not stored yet."""
    alarms: tuple[str, ...]
    """Current problems."""
    is_corrupt: bool = False
    """Whether the database is damaged; actions wait in the journal."""

    @property
    def is_good(self) -> bool:
        return not self.alarms and not self.lost

    @property
    def state(self) -> Literal["good", "behind", "corrupt", "losing"]:
        """losing: actions are lost, or would be if the process died · corrupt: the database is damaged · behind:
        actions wait in the journal because of a problem · good: none of these.
        """
        if self.lost or self.unjournaled:
            return "losing"
        if self.is_corrupt:
            return "corrupt"
        return "behind" if self.alarms or self.orphans else "good"


class Ledger:
    """Records actions. It never raises in a request and never makes one wait for the database."""

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
        self._began = time.monotonic() - BATCH_INTERVAL
        """When the last batch began, on the monotonic clock."""
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
        """Open, create or upgrade a ledger; journals of dead processes are stored first.

        Args:
            where: path of a SQLite file, or URL of a PostgreSQL database (`location.py`).
            prices: the prices to record with passes.
            on_alarm: called, from any thread, when recording fails; must be fast and must not raise.
            patience: seconds that the writer waits for a locked database before it raises an alert.
            buffer_size: maximum actions in memory while the journal cannot be written.
            content: store requests and answers too, for `tierwise workload from-ledger`.

        Raises:
            SpecError: the URL is invalid, or PostgreSQL's driver is not installed.
            LedgerError: a ledger cannot be kept there: the folder does not exist, the file is not a ledger, or it has a
                later version. For a database that is locked, full or unreachable it waits, and calls `on_alarm`.
        """
        location = locate(where)
        alerts = Alerts(on_alarm)
        writer = Writer(location, alerts, patience=patience)
        try:
            if location.path is not None:
                sqlite.check_regular(location.path)
            else:
                location.journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            writer.begin()
            journal = Journal(location.journal)
        except (SQLAlchemyError, OSError, SpecError) as error:
            writer.close()
            raise LedgerError(f"a ledger cannot be kept at {location.name}: {reason_of(error, location)}") from error
        ledger = cls(location, prices, alerts, writer, journal, buffer_size, content=content)
        if writer.orphans:
            ledger._work.set()
        ledger._thread.start()
        return ledger

    def write(self, record: Record, prices: PriceBook | None = None) -> None:
        """Record an action. When this returns, the action survives a crash of the process.

        Args:
            record: the action.
            prices: what its passes cost; those of the ledger if not given.

        If the journal cannot be written, this raises an alert and keeps the action in memory while the buffer has room.
        """
        line = line_of(entry(record, prices or self._prices, with_content=self._with_content))
        with self._lock:
            problem = self._accept(line)
        if problem:
            self._alerts.sound("journal", problem)
        else:
            self._alerts.settle("journal")
        if not self._work.is_set():
            self._work.set()

    def _accept(self, line: bytes) -> str:
        """Put a line in the journal, else in memory. Returns the problem, if any."""
        if self._is_closed:
            self._lost += 1
            return f"the ledger {self._location.name} is closed: actions are lost"
        try:
            self._journal.append(line)
        except OSError as error:
            problem = f"the journal of the ledger {self._location.name} cannot be written: {error.strerror}"
            if len(self._kept) >= self._buffer_size:
                self._lost += 1
                return f"{problem}; the buffer in memory is full too: actions are lost"
            self._kept.append(line)
            self._accepted += 1
            return f"{problem}; actions are kept in memory, and lost if this process dies"
        self._accepted += 1
        return ""

    @property
    def location(self) -> Location:
        return self._location

    def beside(self, ending: str) -> Path:
        """The path of another file that belongs to this ledger: beside its journal, `ledger.db.ENDING`."""
        return self._location.journal.with_name(f"{self._location.journal.name}.{ending}")

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until everything written so far is in the database; False after `timeout` seconds."""
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
                is_corrupt=self._alerts.is_current("corrupt"),
            )

    def close(self, timeout: float = 10.0) -> None:
        """Store pending actions for up to `timeout` seconds; the rest stays in the journal for the next opening."""
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
        fate = f"{len(self._kept)} that were only in memory are lost" if self._kept else "none is lost"
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
        """Wait for actions, then a moment for more; False when the ledger is closed and has stored everything."""
        if not self._stop.is_set():
            while not self._work.wait(LOOK_DELAY):
                self._writer.look()
            self._hurry.wait(max(BATCH_DELAY, self._began + BATCH_INTERVAL - time.monotonic()))
            self._work.clear()
            self._began = time.monotonic()
        return not self._stop.is_set() or self._accepted > self._stored

    def _take(self) -> Batch:
        with self._lock:
            self._hurry.clear()
            return Batch(self._journal.turn(), tuple(self._kept), self._accepted)

    def _forget(self, batch: Batch) -> None:
        """Remove a stored batch."""
        with self._progress:
            for _ in batch.kept:
                self._kept.popleft()
            self._stored = batch.upto
            self._progress.notify_all()


def recover(where: str | Path | Location, on_alarm: Report) -> None:
    """Store the journals of dead processes before the ledger is read; does nothing if there are none.

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
