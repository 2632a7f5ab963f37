"""The state of all routes' detectors in a file beside the ledger, and the texts of shadowed actions if they are kept.

Detectors count observations and read no clock. So neither a restart nor a clock that goes back changes what they say.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tierwise.shadowing.watching import WatchState
from tierwise.spec.replacing import write_beside

_LOG = logging.getLogger("tierwise")
_DAY = 86_400.0


class ShadowMemory:
    """Reads and writes the states of one ledger's routes.

    Args:
        path: the file; None to keep them in memory only, where no ledger is kept.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()

    def read(self) -> dict[str, WatchState]:
        """The stored states by route. A file that cannot be read is logged, and counts as empty."""
        if self._path is None:
            return {}
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, WatchState])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            _LOG.error("%s cannot be read, so shadowing begins anew: %s", self._path, error)
            return {}

    def write(self, states: Mapping[str, WatchState]) -> None:
        """Store the states; may be called from any thread. A failure is logged.

        An alarm about the same certificate that another endpoint stored is kept, and so are the routes that this
        endpoint does not serve.
        """
        if self._path is None:
            return
        with self._lock:
            self._write(self._path, states)

    def _write(self, path: Path, states: Mapping[str, WatchState]) -> None:
        stored = self.read()
        for route, state in states.items():
            before = stored.get(route)
            if before is not None and before.alarm and before.certificate == state.certificate and not state.alarm:
                continue
            stored[route] = state
        try:
            write_beside(path, msgspec.json.format(msgspec.json.encode(stored), indent=1) + b"\n")
        except OSError as error:
            _LOG.error("%s cannot be written, so a restart forgets what was shadowed: %s", path, error)


class KeptTexts:
    """Requests and answers of shadowed actions, one JSON line each, in a file that only its owner can read.

    Args:
        path: the file; None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._purged = -1

    def add(self, line: Mapping[str, Any], now: float, keep_days: int) -> None:
        """Append a line with its time, once a day without those that are older than `keep_days`. A failure is logged.

        Args:
            line: what to keep.
            now: seconds since 1970.
            keep_days: 0 to keep nothing.
        """
        if self._path is None or not keep_days:
            return
        try:
            if self._purged != int(now // _DAY):
                self._purge(now, keep_days)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(msgspec.json.encode({"at": now, **line}) + b"\n")
        except (OSError, TypeError, ValueError, msgspec.MsgspecError) as error:
            _LOG.error("%s: a shadowed action's texts are not kept: %s", self._path, error)

    def forget(self, now: float, keep_days: int) -> None:
        """Remove the lines that are older than `keep_days`; the whole file with 0. A failure is logged."""
        try:
            self._purge(now, keep_days)
        except OSError as error:
            _LOG.error("%s: texts of shadowed actions cannot be removed: %s", self._path, error)

    def _purge(self, now: float, keep_days: int) -> None:
        self._purged = int(now // _DAY)
        if self._path is None or not self._path.exists():
            return
        if not keep_days:
            self._path.unlink()
            return
        longest = keep_days * _DAY  # also into the future: a clock that was set back must not keep lines for longer
        lines = self._path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if abs(now - _at(line)) <= longest]
        if len(kept) < len(lines):
            draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(b"".join(kept))
            draft.replace(self._path)


def _at(line: bytes) -> float:
    """The time of a line; always too old if it cannot be read."""
    try:
        return float(msgspec.json.decode(line)["at"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return float("-inf")
