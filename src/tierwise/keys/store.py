"""Keys and teams in the ledger's database. Every change writes a line of the audit log in the same transaction."""

from __future__ import annotations

import getpass
import time
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from sqlalchemy import func, insert, select, update

from tierwise.keys.changes import KeyChanges, LimitChanges
from tierwise.keys.database import KeyDatabase
from tierwise.keys.records import Key, Limits, Team, name_of
from tierwise.keys.secrets import hash_of, new_id, new_secret
from tierwise.ledger.key_tables import events, keys, leases, teams
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Connection

    from tierwise.ledger.location import Location

LONGEST_DETAIL = 500
"""Characters of a line of the audit log."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The column `settings` of a key."""

    name: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
    is_admin: bool = False
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All keys and teams at one moment."""

    number: int
    """The last number of the audit log."""
    keys: Mapping[str, Key]
    teams: Mapping[str, Team]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """A line of the audit log."""

    at: float
    """Seconds since 1970."""
    what: str
    """`create`, `update`, `revoke`, `rotate`, `team`, `delete` (of a team) or `denied`."""
    key: str
    """Id of the key, or name of the team."""
    who: str
    detail: str


class KeyStore:
    """Reads and changes keys and teams.

    Raises, as do all its methods:
        KeysUnavailable: the database is away.
        SpecError: it is not a ledger of this version.
    """

    def __init__(self, location: Location, *, who: str = "") -> None:
        self._database = KeyDatabase(location)
        self._who = who or _user()

    def by(self, who: str) -> KeyStore:
        """The same keys, changed in another's name."""
        found = copy(self)
        found._who = who  # noqa: SLF001 - the same class
        return found

    def close(self) -> None:
        self._database.close()

    def last_number(self) -> int:
        """The last number of the audit log: keys and teams are unchanged as long as it is."""
        with self._database.reading() as connection:
            return _last(connection)

    def read(self) -> Stored:
        """All keys and teams."""
        with self._database.reading() as connection:
            return Stored(
                number=_last(connection),
                keys={row.id: _key(row) for row in connection.execute(select(keys).order_by(keys.c.created_at))},
                teams={row.name: _team(row) for row in connection.execute(_TEAMS)},
            )

    def create(
        self,
        *,
        name: str = "",
        team: str = "",
        tags: tuple[str, ...] = (),
        is_admin: bool = False,
        limits: Limits | None = None,
        expires_at: float | None = None,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is stored nowhere."""
        limits = limits or Limits()
        limits.check()
        _check_names(name=name, team=team, tags=tags)
        own = new_id()
        secret = new_secret(own)
        settings = _Settings(name=name, team=team, tags=tags, is_admin=is_admin, limits=limits)
        row = {
            "id": own,
            "hashed": hash_of(secret),
            "previous": "",
            "previous_until": 0.0,
            "settings": _json(settings),
            "created_at": time.time(),
            "expires_at": expires_at,
            "revoked_at": None,
        }
        with self._database.writing() as connection:
            connection.execute(insert(keys), [row])
            self._log(connection, "create", own, limits.words())
            self._need_team(connection, team)
            return self._find(connection, own), secret

    def update(self, key: str, changes: LimitChanges) -> Key:
        """Change a key; what runs goes on within what it has reserved."""
        about = msgspec.structs.asdict(changes) if isinstance(changes, KeyChanges) else {}
        given = {name: value for name in _ABOUT if (value := about.get(name, UNSET)) is not UNSET}
        _check_names(name=given.get("name", ""), team=given.get("team", ""), tags=given.get("tags", ()))
        with self._database.writing() as connection:
            found = self._active(connection, key)
            changed = replace(found, limits=changes.of(found.limits), **given)
            settings = _Settings(
                name=changed.name,
                team=changed.team,
                tags=changed.tags,
                is_admin=changed.is_admin,
                limits=changed.limits,
            )
            values = {"settings": _json(settings), "expires_at": changed.expires_at}
            connection.execute(update(keys).where(keys.c.id == found.id).values(**values))
            said = [f"{name} {value}" for name, value in given.items()]
            self._log(connection, "update", found.id, "; ".join([*said, changed.limits.words() or "no limits"]))
            self._need_team(connection, changed.team)
            return changed

    def revoke(self, key: str) -> Key:
        """Accept a key no longer."""
        return self.revoke_all([key])[0]

    def revoke_all(self, named: Iterable[str]) -> list[Key]:
        """Accept these keys no longer: all or, if one cannot be revoked, none."""
        now = time.time()
        with self._database.writing() as connection:
            return [self._revoke(connection, self._active(connection, key), now) for key in named]

    def rotate(self, key: str, *, grace: float = 0.0) -> tuple[Key, str]:
        """A new secret for a key, whose limits and spending stay.

        Args:
            key: its id or name.
            grace: seconds for which the secret before is accepted too.
        """
        with self._database.writing() as connection:
            found = self._active(connection, key)
            secret = new_secret(found.id)
            values = {
                "hashed": hash_of(secret),
                "previous": found.hashed if grace > 0 else "",
                "previous_until": time.time() + grace if grace > 0 else 0.0,
            }
            connection.execute(update(keys).where(keys.c.id == found.id).values(**values))
            self._log(connection, "rotate", found.id, f"grace of {grace:g} s" if grace > 0 else "")
            return self._find(connection, found.id), secret

    def put_team(self, name: str, changes: LimitChanges, *, is_new: bool | None = None) -> Team:
        """A team with these limits, new or changed.

        Args:
            name: its name.
            changes: of its limits.
            is_new: whether it must be new, or must exist; None for either.
        """
        name_of(name, "name of a team", "team_id")
        with self._database.writing() as connection:
            row = _team_row(connection, name)
            is_there = row is not None and row.settings != _DELETED
            if is_new is False:
                self._existing(connection, name)
            if is_new and is_there:
                raise SpecError(f"there is a team {name!r} already; change it with /team/update", field="team_id")
            limits = changes.of(_team(row).limits if is_there else Limits())
            team = Team(name=name, limits=limits, created_at=time.time() if row is None else row.created_at)
            self._put_team(connection, team, is_new=row is None)
            self._log(connection, "team", name, limits.words() or "no limits")
            return team

    def delete_teams(self, named: Iterable[str]) -> list[tuple[Team, list[Key]]]:
        """Remove teams and revoke their keys: all or, if one is unknown, none. What was spent stays: a team of the same
        name goes on from it, in the same periods.

        Returns:
            Each team with the keys that were revoked.
        """
        now = time.time()
        with self._database.writing() as connection:
            deleted = []
            for team in [self._existing(connection, name) for name in dict.fromkeys(named)]:
                name = team.name
                own = [key for key in map(_key, connection.execute(select(keys))) if key.team == name]
                why = f"team {name} was deleted"
                revoked = [self._revoke(connection, key, now, why) for key in own if key.revoked_at is None]
                connection.execute(update(teams).where(teams.c.name == name).values(settings=_DELETED))
                self._log(connection, "delete", name, f"the team, with {len(revoked)} keys")
                deleted.append((team, revoked))
            return deleted

    def denied(self, lines: list[tuple[str, str]]) -> None:
        """Write refusals (id of a key, reason) to the audit log."""
        with self._database.writing() as connection:
            for key, detail in lines:
                self._log(connection, "denied", key, detail)

    def audit(self, count: int) -> list[Audited]:
        """The last lines of the audit log, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(events).order_by(events.c.number.desc()).limit(count)).all()
        return [Audited(at=one.at, what=one.what, key=one.key, who=one.who, detail=one.detail) for one in rows]

    def charged(self) -> dict[tuple[str, int], tuple[int, int]]:
        """By account and period: what counts as spent, and what of it is settled, in units of the account."""
        sums = select(leases.c.account, leases.c.period, func.sum(leases.c.held), func.sum(leases.c.spent))
        with self._database.reading() as connection:
            rows = connection.execute(sums.group_by(leases.c.account, leases.c.period)).all()
        return {(account, period): (int(held), int(spent)) for account, period, held, spent in rows}

    def find(self, key: str) -> Key:
        """A key by its id or name."""
        with self._database.reading() as connection:
            return self._find(connection, key)

    # ── rows ─────────────────────────────────────────────────────────────

    def _put_team(self, connection: Connection, team: Team, *, is_new: bool) -> None:
        settings = _json(team.limits)
        if is_new:
            row = {"name": team.name, "settings": settings, "created_at": team.created_at}
            connection.execute(insert(teams), [row])
        else:
            connection.execute(update(teams).where(teams.c.name == team.name).values(settings=settings))

    def _existing(self, connection: Connection, name: str) -> Team:
        row = _team_row(connection, name)
        if row is None or row.settings == _DELETED:
            names = connection.execute(select(teams.c.name).where(teams.c.settings != _DELETED)).scalars()
            raise NotFound(f"there is no team {name!r}; {allowed(name, names)}", field="team_id")
        return _team(row)

    def _revoke(self, connection: Connection, key: Key, now: float, why: str = "") -> Key:
        ended = {"revoked_at": now, "previous": "", "previous_until": 0.0}
        connection.execute(update(keys).where(keys.c.id == key.id).values(**ended))
        self._log(connection, "revoke", key.id, why)
        return replace(key, revoked_at=now)

    def _need_team(self, connection: Connection, team: str) -> None:
        """Begin a team that a key names, without limits."""
        row = _team_row(connection, team) if team else None
        if team and (row is None or row.settings == _DELETED):
            self._put_team(connection, Team(name=team, created_at=time.time()), is_new=row is None)

    def _find(self, connection: Connection, key: str) -> Key:
        """A key by its id, else the only one with this name that is not revoked."""
        found = [_key(row) for row in connection.execute(select(keys))]
        for one in found:
            if one.id == key:
                return one
        named = [one for one in found if one.name == key and one.revoked_at is None]
        if len(named) == 1:
            return named[0]
        if named:
            ids = ", ".join(one.id for one in named)
            raise SpecError(f"several keys are named {key!r}; give an id: {ids}", field="key")
        raise NotFound(f"there is no key {key!r}; {allowed(key, [one.id for one in found])}", field="key")

    def _active(self, connection: Connection, key: str) -> Key:
        found = self._find(connection, key)
        if found.revoked_at is not None:
            raise SpecError(f"the key {found.id} is revoked; create another", field="key")
        return found

    def _log(self, connection: Connection, what: str, key: str, detail: str) -> None:
        line = {"at": time.time(), "what": what, "key": key, "who": self._who, "detail": detail[:LONGEST_DETAIL]}
        connection.execute(insert(events), [{"number": _last(connection) + 1, **line}])


_DELETED = ""
"""The settings of a deleted team. Its row stays, because the periods of its budget count from its creation."""
_TEAMS = select(teams).where(teams.c.settings != _DELETED).order_by(teams.c.name)
_ABOUT = ("name", "team", "tags", "expires_at")
"""What `KeyChanges` has besides limits."""


def _check_names(*, name: str, team: str, tags: tuple[str, ...]) -> None:
    given = [(name, "name of a key", "key_alias"), (team, "name of a team", "team_id")]
    for text, what, field in [*given, *((tag, "tag", "tags") for tag in tags)]:
        if text or field == "tags":
            name_of(text, what, field)


def _last(connection: Connection) -> int:
    found = connection.execute(select(func.max(events.c.number))).scalar_one()
    return int(found or 0)


def _json(settings: msgspec.Struct) -> str:
    return msgspec.json.encode(settings).decode()


def _key(row: Any) -> Key:
    own = msgspec.json.decode(row.settings, type=_Settings)
    return Key(
        id=row.id,
        hashed=row.hashed,
        previous=row.previous,
        previous_until=row.previous_until,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        name=own.name,
        team=own.team,
        tags=own.tags,
        is_admin=own.is_admin,
        limits=own.limits,
    )


def _team_row(connection: Connection, name: str) -> Any:
    """The row of a team, which may be deleted; None if there never was one."""
    return connection.execute(select(teams).where(teams.c.name == name)).first()


def _team(row: Any) -> Team:
    return Team(name=row.name, limits=msgspec.json.decode(row.settings, type=Limits), created_at=row.created_at)


def _user() -> str:
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return "unknown"
