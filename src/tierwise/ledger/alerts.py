"""Current problems of a ledger, by cause."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tierwise.spec.errors import LedgerError

Report = Callable[[LedgerError], None]

REPEAT = 60.0
"""Seconds after which an alert is reported again while its cause persists."""


class Alerts:
    """Current problems, by cause. A problem is reported when it starts or changes, and every `REPEAT` seconds."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._alerts: dict[str, Alert] = {}

    def sound(self, cause: str, message: str) -> None:
        """Report a problem that persists until `settle`."""
        now = time.monotonic()
        with self._lock:
            known = self._alerts.get(cause)
            if known is not None and known.message == message and now - known.reported_at < REPEAT:
                return
            self._alerts[cause] = Alert(message, now)
        self.report(message)

    def settle(self, cause: str) -> None:
        if cause in self._alerts:  # checked without the lock, because every request calls this
            with self._lock:
                self._alerts.pop(cause, None)

    def report(self, message: str) -> None:
        """Report a problem that does not persist."""
        self._report(LedgerError(message))

    def is_current(self, cause: str) -> bool:
        return cause in self._alerts

    def current(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(alert.message for alert in self._alerts.values())


@dataclass(frozen=True, slots=True)
class Alert:
    message: str
    reported_at: float
