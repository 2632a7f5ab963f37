"""`/key/…`, `/team/…` and `/audit`: keys and teams over HTTP, for administrators, by LiteLLM's paths and names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tierwise.gateway.body import AsgiBody, read_body
from tierwise.gateway.decoding import decoded
from tierwise.gateway.headers import RequestHeaders
from tierwise.keys.caller import CALLER
from tierwise.keys.changes import KeyChanges, LimitChanges
from tierwise.keys.describing import key_fields, team_fields
from tierwise.keys.records import Limits, seconds_of
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.reading import Reading, allowed

if TYPE_CHECKING:
    from tierwise.gateway.access import Access
    from tierwise.keys.ring import KeyRing
    from tierwise.keys.store import KeyStore
    from tierwise.service import Service

_MOST_LINES = 1_000
Text = Annotated[str, msgspec.Meta(max_length=200)]
Tags = Annotated[tuple[Text, ...], msgspec.Meta(max_length=100)]


class _NewKey(LimitChanges, frozen=True, kw_only=True):
    """`POST /key/generate`."""

    key_alias: Text = ""
    team_id: Text = ""
    tags: Tags = ()
    admin: bool = False
    duration: Text | None = None
    """How long it is accepted: `90d`."""


class _ChangedKey(LimitChanges, frozen=True, kw_only=True):
    """`POST /key/update`."""

    key: Text
    """Id or alias."""
    key_alias: Text | UnsetType = UNSET
    team_id: Text | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    duration: Text | UnsetType | None = UNSET


class _EndedKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /key/delete`."""

    keys: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=1_000)]


class _RotatedKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /key/regenerate`."""

    key: Text
    grace_period: Text = ""
    """How long the secret before is accepted too: `24h`."""


class _ChangedTeam(LimitChanges, frozen=True, kw_only=True):
    """`POST /team/new` and `/team/update`."""

    team_id: Text


class _EndedTeams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`POST /team/delete`."""

    team_ids: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=1_000)]


T = TypeVar("T", bound=msgspec.Struct)
Page = Callable[[Request], Awaitable[Response]]
Shown = dict[str, Any]


class Administration:
    """The admin API of one service.

    Args:
        service: whose keys are changed.
        access: who is an administrator.
    """

    def __init__(self, service: Service, access: Access) -> None:
        self._service, self._access = service, access

    def by_path(self) -> Mapping[str, tuple[str, Page]]:
        """Every path, with its method and its page."""
        changing: dict[str, tuple[Any, Callable[[KeyStore, Any], Shown]]] = {
            "/key/generate": (_NewKey, self._generate),
            "/key/update": (_ChangedKey, self._update),
            "/key/delete": (_EndedKeys, self._delete),
            "/key/regenerate": (_RotatedKey, self._regenerate),
            "/team/new": (_ChangedTeam, self._new_team),
            "/team/update": (_ChangedTeam, self._update_team),
            "/team/delete": (_EndedTeams, self._delete_teams),
        }
        reading: dict[str, Callable[[Mapping[str, str], KeyStore], Shown]] = {
            "/key/info": self._info,
            "/key/list": lambda _, store: _all_keys(store),
            "/team/info": _team_info,
            "/team/list": lambda _, store: _all_teams(store),
            "/audit": _audit,
        }
        return {
            **{path: ("POST", self._changing(kind, work)) for path, (kind, work) in changing.items()},
            **{path: ("GET", self._reading(work)) for path, work in reading.items()},
        }

    # ── requests ─────────────────────────────────────────────────────────

    def _changing(self, kind: Any, work: Callable[[KeyStore, Any], Shown]) -> Page:
        """A page that reads a body, changes keys in a thread, and lets this process know at once."""

        async def page(request: Request) -> Shown:
            store = await self._administered(request)
            asked = _read(
                kind, decoded(await read_body(AsgiBody(request.receive), RequestHeaders.of(request.scope["headers"])))
            )
            ring = self._ring

            def change() -> Shown:
                try:
                    return work(store, asked)
                finally:
                    ring.refresh()

            return await asyncio.to_thread(change)

        return self._answering(page)

    def _reading(self, work: Callable[[Mapping[str, str], KeyStore], Shown]) -> Page:
        async def page(request: Request) -> Shown:
            caller = CALLER.get()
            asks_own = work == self._info and "key" not in request.query_params and caller is not None
            store = self._store if asks_own else await self._administered(request)
            return await asyncio.to_thread(work, request.query_params, store)

        return self._answering(page)

    def _answering(self, page: Callable[[Request], Awaitable[Shown]]) -> Page:
        async def answer(request: Request) -> Response:
            return JSONResponse(await page(request), headers={"cache-control": "no-store"})

        return answer

    async def _administered(self, request: Request) -> KeyStore:
        """The keys, to be changed in the name of who asks, which the database says now.

        Raises:
            AccessError: the request has no administrator's key.
            KeysUnavailable: keys cannot be checked now.
        """
        store = self._store
        await asyncio.to_thread(self._ring.refresh)  # one who was revoked a moment ago administers no more
        return store.by(self._access.administrator(request.headers.raw))

    @property
    def _store(self) -> KeyStore:
        if self._service.desk is None:
            raise NotFound("this endpoint has no ledger, in which keys are kept")
        return self._service.desk.store

    @property
    def _ring(self) -> KeyRing:
        assert self._service.desk is not None  # noqa: S101 - `_store` was asked before
        return self._service.desk.ring

    # ── what they do ─────────────────────────────────────────────────────

    def _generate(self, store: KeyStore, asked: _NewKey) -> Shown:
        self._check_models(asked)
        key, secret = store.create(
            name=asked.key_alias,
            team=asked.team_id,
            tags=asked.tags,
            is_admin=asked.admin,
            limits=asked.of(Limits()),
            expires_at=_until(asked.duration),
        )
        return {"key": secret, **key_fields(key, {})}

    def _update(self, store: KeyStore, asked: _ChangedKey) -> Shown:
        self._check_models(asked)
        changes = KeyChanges(
            **{name: getattr(asked, name) for name in LimitChanges.__struct_fields__},
            name=asked.key_alias,
            team=asked.team_id,
            tags=asked.tags,
            expires_at=UNSET if isinstance(asked.duration, UnsetType) else _until(asked.duration),
        )
        return key_fields(store.update(asked.key, changes), store.charged())

    def _delete(self, store: KeyStore, asked: _EndedKeys) -> Shown:
        return {"deleted_keys": [one.id for one in store.revoke_all(asked.keys)]}

    def _regenerate(self, store: KeyStore, asked: _RotatedKey) -> Shown:
        grace = _seconds(asked.grace_period, "grace_period") if asked.grace_period else 0.0
        key, secret = store.rotate(asked.key, grace=grace)
        return {"key": secret, **key_fields(key, store.charged())}

    def _new_team(self, store: KeyStore, asked: _ChangedTeam) -> Shown:
        return self._put_team(store, asked, is_new=True)

    def _update_team(self, store: KeyStore, asked: _ChangedTeam) -> Shown:
        return self._put_team(store, asked, is_new=False)

    def _delete_teams(self, store: KeyStore, asked: _EndedTeams) -> Shown:
        deleted = store.delete_teams(asked.team_ids)
        return {
            "deleted_teams": [team.name for team, _ in deleted],
            "deleted_keys": [key.id for _, revoked in deleted for key in revoked],
        }

    def _put_team(self, store: KeyStore, asked: _ChangedTeam, *, is_new: bool) -> Shown:
        self._check_models(asked)
        return team_fields(store.put_team(asked.team_id, asked, is_new=is_new), store.charged())

    def _info(self, query: Mapping[str, str], store: KeyStore) -> Shown:
        """A key; without a name, that of the caller, which needs no administrator."""
        caller = CALLER.get()
        named = query.get("key", "" if caller is None else caller.key.id)
        if not named:
            raise SpecError("say which: /key/info?key=ID, an id or alias", field="key")
        return key_fields(store.find(named), store.charged())

    def _check_models(self, asked: LimitChanges) -> None:
        for field, given in (("models", asked.models), ("model_max_budget", asked.model_max_budget)):
            for model in given or ():
                if model not in (names := self._service.router.names):
                    raise SpecError(f"{field}: {model!r} is no tier or route; {allowed(model, names)}", field=field)


def _all_keys(store: KeyStore) -> Shown:
    charged = store.charged()
    return {"object": "list", "data": [key_fields(key, charged) for key in store.read().keys.values()]}


def _all_teams(store: KeyStore) -> Shown:
    charged = store.charged()
    return {"object": "list", "data": [team_fields(team, charged) for team in store.read().teams.values()]}


def _team_info(query: Mapping[str, str], store: KeyStore) -> Shown:
    found = {one["team_id"]: one for one in _all_teams(store)["data"]}
    if (named := query.get("team_id", "")) not in found:
        raise NotFound(f"there is no team {named!r}; /team/list has all", field="team_id")
    return {**found[named], "keys": [key.id for key in store.read().keys.values() if key.team == named]}


def _audit(query: Mapping[str, str], store: KeyStore) -> Shown:
    """The last lines of the audit log, newest first."""
    asked = query.get("last", "50")
    if not asked.isascii() or not asked.isdigit() or not 1 <= int(asked[:9]) <= _MOST_LINES:
        raise SpecError(f"last: {asked!r}; allowed are 1 to {_MOST_LINES:,} lines", field="last")
    lines = store.audit(int(asked))
    return {"object": "list", "data": [msgspec.to_builtins(one) for one in lines]}


def _read(kind: type[T], body: dict[str, Any]) -> T:
    """A body as a struct.

    Raises:
        SpecError: the first thing that is wrong, by its field.
    """
    reading = Reading()
    found = reading.read(kind, body, "")
    if reading.errors:
        wrong = reading.errors[0]
        said = f"{wrong.field}: {wrong}" if wrong.field else str(wrong)
        raise SpecError(said, field=wrong.field)
    return reading.finish(found)


def _until(duration: str | None) -> float | None:
    return None if duration is None else time.time() + _seconds(duration, "duration")


def _seconds(duration: str, field: str) -> float:
    try:
        return float(seconds_of(duration))
    except SpecError as error:
        raise SpecError(f"{field}: {error}", field=field) from None
