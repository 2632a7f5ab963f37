"""The public keys of an OpenID provider, in memory, read again by a thread: a request never waits for the provider."""

from __future__ import annotations

import logging
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from tierwise.keys.oidc_settings import is_safe
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from email.message import Message

    from tierwise.keys.oidc_settings import OidcSettings

_LOG = logging.getLogger("tierwise")

REFRESH_SECONDS = 300.0
"""After so long the keys are read again: one that the provider has withdrawn signs no longer."""
PAUSE_SECONDS = 10.0
"""At least so long passes between two readings, however many tokens name keys that are not known."""
STALE_SECONDS = 86_400.0
"""After so long without the provider, no token is accepted."""
_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 1 << 20


class SigningKeys:
    """Keys by their id.

    Args:
        settings: whose keys, and where they are.
        refresh: seconds after which they are read again.
        pause: seconds between two readings at least.
    """

    def __init__(
        self, settings: OidcSettings, *, refresh: float = REFRESH_SECONDS, pause: float = PAUSE_SECONDS
    ) -> None:
        self._settings, self._refresh, self._pause = settings, refresh, pause
        self._keys: tuple[Mapping[str, Any], ...] = ()
        self._read_at = self._tried_at = float("-inf")
        self._wanted = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="oidc", daemon=True)
        self.readings = 0
        """How often they were read, or could not be."""
        self.version = 0
        """Changes with the keys."""

    def open(self) -> None:
        """Read them, and begin to read them again and again."""
        self.read()
        self._thread.start()

    def close(self) -> None:
        self._is_over = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def find(self, name: str | None) -> list[Mapping[str, Any]] | None:
        """The keys with an id, all keys for None. None if there is none, but there may be one in a moment, because keys
        are read again; empty if there is none.
        """
        now = time.monotonic()
        if now - self._read_at > STALE_SECONDS:
            self._wanted.set()
            return None
        found = [key for key in self._keys if name is None or key.get("kid") == name]
        if found or now - self._tried_at < self._pause:
            return found
        self._wanted.set()
        return None

    def _run(self) -> None:
        while True:
            self._wanted.wait(self._refresh)
            wait = self._tried_at + self._pause - time.monotonic()
            if wait > 0 and not self._is_over:
                time.sleep(min(wait, 0.2))
                continue
            if self._is_over:
                return
            self._wanted.clear()
            self.read()

    def read(self) -> None:
        """Read the keys. What goes wrong is logged, and the keys of before stay for `STALE_SECONDS`."""
        try:
            found = self._read()
        except (OSError, ValueError, SpecError) as error:
            _LOG.error("OIDC: the keys of %s cannot be read: %s", self._settings.issuer, error)
        else:
            if found != self._keys:
                self._keys, self.version = found, self.version + 1
            self._read_at = time.monotonic()
        finally:
            self._tried_at = time.monotonic()
            self.readings += 1

    def _read(self) -> tuple[Mapping[str, Any], ...]:
        settings = self._settings
        if settings.jwks_file is not None:
            data = Path(settings.jwks_file).read_bytes()
        else:
            url = settings.jwks_url
            if not url:
                place = f"{settings.issuer.rstrip('/')}/.well-known/openid-configuration"
                about = msgspec.json.decode(_fetched(place), type=dict[str, Any])
                if about.get("issuer") != settings.issuer:
                    raise SpecError(f"{place} is of the issuer {about.get('issuer')!r}")
                url = str(about.get("jwks_uri", ""))
            data = _fetched(url)
        keys = msgspec.json.decode(data, type=dict[str, Any]).get("keys")
        if not isinstance(keys, list):
            raise SpecError("they are no JWK set: a JSON object with `keys`")
        return tuple(key for key in keys if isinstance(key, dict) and key.get("use", "sig") == "sig")


class _SameSafety(urllib.request.HTTPRedirectHandler):
    """Follows no redirect to a place that is not safe."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if not is_safe(newurl):
            raise SpecError(f"{req.full_url} redirects to {newurl}, which is not safe")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _fetched(url: str) -> bytes:
    if not is_safe(url):
        raise SpecError(f"{url!r} is not a URL of https")
    opener = urllib.request.build_opener(_SameSafety)
    with opener.open(url, timeout=_TIMEOUT_SECONDS) as answer:
        data: bytes = answer.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise SpecError(f"{url} has more than {_MOST_BYTES} bytes")
    return data
