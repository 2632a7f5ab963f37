"""Where a ledger is: a SQLite file, or a PostgreSQL database. Apart from both, so that asking costs no SQLAlchemy.

The journal is local files in either case: beside the SQLite file, or in the user's state folder for PostgreSQL.
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
    """One ledger, and the files beside it."""

    name: str
    """As messages may print it: the path as it was given, or the URL without its passwords."""
    journal: Path
    """Its journals are files whose names begin with this one."""
    path: Path | None = None
    """The SQLite file; None for PostgreSQL."""
    url: str = field(default="", repr=False)
    """Of PostgreSQL, with passwords; empty for SQLite."""
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def is_missing(self) -> bool:
        """Whether it is known, without asking a server, that there is no ledger."""
        return self.path is not None and not self.path.exists()

    @property
    def address(self) -> str:
        """What another process is given to find it, passwords included: for environments, not for messages."""
        return str(self.path) if self.path is not None else self.url

    def redacted(self, text: str) -> str:
        """A message of a driver without the passwords that it may quote."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def locate(where: str | Path | Location) -> Location:
    """The ledger that a path or a URL names.

    Raises:
        SpecError: the URL is not one of PostgreSQL.
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
    # The XDG specification says that a relative path is to be ignored.
    if (shared := Path(os.environ.get("XDG_STATE_HOME", ""))).is_absolute():
        return shared / "tierwise"
    return Path.home() / ".local" / "state" / "tierwise"


def _postgresql(url: str) -> Location:
    scheme = url.partition("://")[0].lower()
    if scheme not in _SCHEMES:
        raise SpecError(
            f"no ledger can be kept at {scheme}://…; write the path of a SQLite file, or {FORM}", field="ledger"
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
    """A URL's parts. None of its text is in the errors: what cannot be read may be a piece of a password."""
    try:
        parts = urlsplit(url)
        is_plain = parts.netloc.count("@") <= 1 and not parts.fragment and "@" not in parts.path
    except ValueError:
        is_plain = False
    if not is_plain:
        raise SpecError(
            f"the ledger's URL cannot be read; write {FORM}, with @ : / ? # [ ] in user name and password as %40 %3A "
            "%2F %3F %23 %5B %5D, or leave the password to PGPASSWORD or ~/.pgpass",
            field="ledger",
        )
    return parts
