"""The keys in memory, read again every few seconds, so that a request needs no database to be let in or refused."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tierwise.keys.records import Caller, Key
from tierwise.keys.secrets import id_in, is_hash_of
from tierwise.spec.errors import KeysUnavailable, TierwiseError, Unauthorized

if TYPE_CHECKING:
    from tierwise.keys.store import KeyStore, Stored

_LOG = logging.getLogger("tierwise")

REFRESH_SECONDS = 2.0
"""After so long, a key that was revoked is refused, and a new one accepted."""
STALE_SECONDS = 60.0
"""After so long without the database, no stored key is accepted: it may have been revoked."""
_MOST_DENIED = 20
"""Refusals that are written to the audit log per refresh; more of them are counted."""
_WRONG = "the key is missing or wrong; send it as `Authorization: Bearer KEY`"


class KeyRing:
    """The keys and teams of a ledger, kept current by a thread.

    Args:
        store: where they are stored.
        clock: seconds since 1970.
    """

    def __init__(self, store: KeyStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._stored: Stored | None = None
        self._read_at = 0.0
        self._is_needed = True
        self._is_away = False
        self._denied: deque[tuple[str, str]] = deque(maxlen=_MOST_DENIED)
        self._denials = 0
        self._refreshing = threading.Lock()
        self.changed: Callable[[Stored], None] = lambda _: None
        """Called with keys and teams whenever they were read anew, in the thread that read them."""

    @property
    def is_needed(self) -> bool:
        """Whether a request needs a key: any was ever created, or it is not known yet."""
        return self._is_needed

    def find(self, secret: str) -> Caller:
        """The caller with a secret.

        Raises:
            Unauthorized: there is no such key, it is revoked, or it has expired.
            KeysUnavailable: keys could not be read for too long.
        """
        stored = self._stored
        if stored is None or time.monotonic() - self._read_at > STALE_SECONDS:
            raise KeysUnavailable("keys cannot be checked now, because their database is away; ask again in a moment")
        own = id_in(secret)
        key, moment = stored.keys.get(own), self._clock()
        if key is None or not _opens(key, secret, moment):
            self._deny(own, "no such secret")
            raise Unauthorized(_WRONG)
        if (state := key.state(moment)) != "active":
            self._deny(key.id, state)
            raise Unauthorized(f"the key {key.id} is {state}; ask an administrator for another")
        return Caller(key=key, team=stored.teams.get(key.team))

    def _deny(self, key: str, why: str) -> None:
        self._denials += 1
        self._denied.append((key, why))

    def refresh(self) -> None:
        """Read keys again if they changed, and write refusals to the audit log. Never raises. Called by any thread."""
        with self._refreshing:  # an earlier state must not replace a later one
            self._refresh()

    def _refresh(self) -> None:
        try:
            self._write_denied()
            began = time.monotonic()
            if self._stored is None or self._store.last_number() != self._stored.number:
                self._keep(self._store.read())
            self._read_at = began
        except TierwiseError as error:
            if not self._is_away:
                _LOG.error("KEYS: %s", error)
            self._is_away = True
        else:
            if self._is_away:
                _LOG.warning("KEYS: keys can be read again")
            self._is_away = False

    def _keep(self, found: Stored) -> None:
        """Use the keys that were read. A ledger without keys in place of one that had some opens no door."""
        had_keys = self._stored is not None and bool(self._stored.keys)
        if had_keys and not found.keys:
            _LOG.error("KEYS: the ledger has no keys any more; no request is let in without one")
        self._is_needed = had_keys or bool(found.keys) or (self._stored is not None and self._is_needed)
        self._stored = found
        self.changed(found)

    def _write_denied(self) -> None:
        lines, number = list(self._denied), self._denials
        if not lines or self._stored is None or not self._stored.keys:
            return
        more = [("", f"and {number - len(lines)} more")] if number > len(lines) else []
        self._store.denied([*lines, *more])
        self._denied.clear()
        self._denials = 0

    def close(self) -> None:
        self._store.close()


def _opens(key: Key, secret: str, moment: float) -> bool:
    """Whether a secret is a key's, or was before its last rotation; both are compared, in constant time."""
    is_own = is_hash_of(key.hashed, secret)
    was_own = is_hash_of(key.previous, secret)
    return is_own or (was_own and moment < key.previous_until)


class Keeper:
    """A thread that does something every few seconds, and once more at the end."""

    def __init__(self, work: Callable[[], None], seconds: float) -> None:
        self._work, self._seconds = work, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._work()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
