"""The location of a ledger: a SQLite file or a PostgreSQL database. Does not import SQLAlchemy.

The journal is always local: beside the SQLite file, or in the user's state folder for PostgreSQL.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from tierwise.spec.errors import SpecError

FORM = "postgresql://USER@HOST:PORT/DATABASE"

_SCHEMES = frozenset({"postgresql", "postgres", "postgresql+psycopg"})
_SECRETS = frozenset({"password", "sslpassword"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The location of a ledger and its journal."""

    name: str
    """For messages: the path as given, or the URL without passwords."""
    journal: Path
    """The prefix of its journal files."""
    path: Path | None = None
    """Path of the SQLite file; None for PostgreSQL."""
    url: str = field(default="", repr=False)
    """URL of the PostgreSQL database, with passwords; empty for SQLite."""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_missing(self) -> bool:
        """Whether there is certainly no ledger; does not contact a server."""
        return self.path is not None and not self.path.exists()

    @property
    def address(self) -> str:
        """The path or URL for another process, including passwords: for environments, not for messages."""
        return str(self.path) if self.path is not None else self.url

    def redacted(self, text: str) -> str:
        """A driver's message with passwords removed."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def locate(where: str | Path | Location) -> Location:
    """Parse a path or a URL.

    Raises:
        SpecError: the URL is not a PostgreSQL URL.
    """
    match where:
        case Location():
            return where
        case str() if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", where):
            return _postgresql(where)
        case _:
            path = Path(where).resolve()
            return Location(name=str(where), journal=path, path=path)


def state_folder() -> Path:
    """`$TIERWISE_STATE`, else `$XDG_STATE_HOME/tierwise`, else `~/.local/state/tierwise`."""
    if chosen := os.environ.get("TIERWISE_STATE"):
        return Path(chosen).expanduser().absolute()
    # The XDG specification requires that relative paths are ignored.
    if (shared := Path(os.environ.get("XDG_STATE_HOME", ""))).is_absolute():
        return shared / "tierwise"
    return Path.home() / ".local" / "state" / "tierwise"


def _postgresql(url: str) -> Location:
    scheme = url.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise SpecError(
            f"a ledger cannot be kept at {scheme}://…; write the path of a SQLite file, or {FORM}", field="ledger"
        )
    parts = _split(url)
    user, hosts = parts.username or "", parts.netloc.rpartition("@")[2]
    database = unquote(parts.path.lstrip("/"))
    if not database:
        raise SpecError(f"the ledger's URL names no database; write {FORM}", field="ledger")
    query = parse_qsl(parts.query, keep_blank_values=True)
    passwords = [parts.password or "", *(value for name, value in query if name in _SECRETS)]
    shown = "&".join(f"{name}={'***' if name in _SECRETS else value}" for name, value in query)
    who = f"{user}{':***' * bool(parts.password)}@" if user or parts.password else ""
    public = sorted(one for one in query if one[0] not in _SECRETS)
    same = repr((user, hosts.removesuffix(":5432").lower(), database, public)).encode()
    stem = f"{re.sub(r'[^a-zA-Z0-9_-]', '_', database)[:40]}-{hashlib.sha256(same).hexdigest()[:16]}"
    return Location(
        name=f"postgresql://{who}{hosts}{parts.path}{'?' * bool(shown)}{shown}",
        journal=state_folder() / "ledgers" / stem,
        url=f"postgresql://{url.partition('://')[2]}",
        secrets=tuple({one for password in passwords for one in (password, unquote(password)) if one}),
    )


def _split(url: str) -> SplitResult:
    """Split a URL. Errors do not quote it, because the unparseable part may belong to a password."""
    try:
        parts = urlsplit(url)
        is_plain = parts.netloc.count("@") <= 1 and not parts.fragment and "@" not in parts.path
    except ValueError:
        is_plain = False
    if not is_plain:
        raise SpecError(
            f"the ledger's URL cannot be parsed; write {FORM}, with @ : / ? # [ ] in user name and password as %40 %3A "
            "%2F %3F %23 %5B %5D, or leave the password to PGPASSWORD or ~/.pgpass",
            field="ledger",
        )
    return parts
