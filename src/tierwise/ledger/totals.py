"""Hourly totals, maintained by the writer, so that a sum over a million actions reads no rows.

An hour's totals change in the transaction that adds its rows. For a partial hour the rows are summed instead.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, case, func, literal, select, true
from sqlalchemy.sql.visitors import iterate

from tierwise.ledger.adding import compiled, execute
from tierwise.ledger.by import By
from tierwise.ledger.records import SHADOW_OF
from tierwise.ledger.rows import Entry
from tierwise.ledger.tables import (
    AMOUNTS,
    COUNTS,
    GROUPS,
    OF_ACTIONS,
    action_totals,
    actions,
    caller_totals,
    pass_totals,
    passes,
)
from tierwise.spec.call import Usage

HOUR = 3600
"""Seconds."""

LONGEST_REASON = 300
"""Characters of a reason that actions are grouped by: keys of PostgreSQL's indexes are bounded."""

LONGEST_TAGS = 1000
"""Characters of all tags of a key, for the same reason: an action does not count under tags beyond."""

_SHADOW = "shadow"
"""The reason under which shadows are counted."""

OF_CALLERS = {By.KEY: "key", By.TEAM: "team", By.TAG: "tags", By.SESSION: "session"}
"""Groupings by who asked, with their columns."""

_EPOCH = date(1970, 1, 1)
_KEYS = {
    action_totals: ("hour", "dimension", "value"),
    pass_totals: ("hour", *OF_ACTIONS, *GROUPS),
    caller_totals: ("hour", *OF_CALLERS.values(), "model", "deployment"),
}
_VALUES = {
    action_totals: ("actions",),
    pass_totals: ("passes", "estimated", *COUNTS, *AMOUNTS),
    caller_totals: ("actions", "passes", "estimated", *COUNTS, *AMOUNTS),
}
_PARTS = (*GROUPS, "exact", *COUNTS, *AMOUNTS)
"""Fields of a pass that totals are computed from."""
_parts_of = attrgetter(*_PARTS)
_LARGEST = 2**63 - 1
_OWN = 5 + len(OF_CALLERS)
"""Columns of actions, before those of passes, when totals are rebuilt."""
_FETCHED = 5000
"""Rows per fetch when totals are rebuilt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Sums over passes. Tokens are exact; seconds and dollars are subject to rounding."""

    key: str
    """The common key; empty for the whole ledger."""
    actions: int = 0
    """Actions of these passes; an action that uses two tiers is counted in both."""
    passes: int = 0
    estimated: int = 0
    """Number of passes whose tokens were counted from the stream because the engine did not report them."""
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    seconds: float = 0.0
    """Sum over passes, concurrent ones included."""
    busy_seconds: float = 0.0
    dollars_tokens: float = 0.0
    dollars_time: float = 0.0

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt=self.prompt,
            cached=self.cached,
            completion=self.completion,
            reasoning=self.reasoning,
            exact=not self.estimated,
        )

    @property
    def dollars(self) -> float:
        return self.dollars_tokens + self.dollars_time

    def __add__(self, other: Total) -> Total:
        summed = {part.name: getattr(self, part.name) + getattr(other, part.name) for part in fields(self)[1:]}
        return Total(key=self.key, **summed)


def hour_of(moment: float) -> int:
    """The hour since 1970 that contains a moment (seconds since 1970), exact where `moment / 3600` would round."""
    return math.floor(moment) // HOUR


# ── writing ─────────────────────────────────────────────────────────────


def add(connection: Connection, entries: Iterable[Entry]) -> None:
    """Add actions to the totals of their hours."""
    sums = _Sums()
    for entry in entries:
        action, done = entry.action, entry.passes
        own = (action.model, grouped(action.reason))
        by = (action.key or "", action.team or "", _bounded_tags(action.tags or ""), action.session or "")
        if len(done) == 1:
            sums.add_single(action.started_at, own, by, _parts_of(done[0]))
        else:
            sums.add(action.started_at, own, by, action.tier, [_parts_of(one) for one in done])
    sums.store(connection)


def rebuild(connection: Connection) -> None:
    """Rebuild all totals from the rows."""
    columns = [passes.c[name] for name in _PARTS]
    asked = [func.coalesce(actions.c[name], "") for name in OF_CALLERS.values()]
    found = (
        select(actions.c.id, actions.c.started_at, actions.c.model, actions.c.reason, actions.c.tier, *asked, *columns)
        .select_from(actions.outerjoin(passes, passes.c.action == actions.c.id))
        .order_by(actions.c.started_at, actions.c.id)
    )
    sums = _Sums()
    with connection.execute(found, execution_options={"yield_per": _FETCHED}) as rows:
        for (_, started_at, model, reason, tier, *by), some in groupby(rows, lambda row: tuple(row[:_OWN])):
            parts = [row[_OWN:] for row in some if row[_OWN] is not None]
            key, team, tags, session = by
            sums.add(started_at, (model, grouped(reason)), (key, team, _bounded_tags(tags), session), tier, parts)
    for table in _KEYS:
        table.drop(connection, checkfirst=True)
        table.create(connection)
    sums.store(connection)


class _Sums:
    """Sums over actions, to be added to the ledger's totals."""

    def __init__(self) -> None:
        self._actions: Counter[tuple[int, str, str]] = Counter()
        self._passes: defaultdict[tuple[Any, ...], list[float]] = defaultdict(_zeros)
        self._singles: defaultdict[tuple[Any, ...], list[float]] = defaultdict(_zeros)
        """Of actions of one pass each, which most are: each sum counts as many actions as passes."""
        self._callers: defaultdict[tuple[Any, ...], list[float]] = defaultdict(_zeros)
        self._asked: Counter[tuple[Any, ...]] = Counter()
        """Actions, by the keys of `_callers`."""

    def add_single(self, started_at: float, own: tuple[str, str], by: tuple[str, ...], part: Sequence[Any]) -> None:
        """As `add`, of an action with one pass."""
        tier, deployment, role, outcome, exact, *values = part
        hour = hour_of(started_at)
        sums = self._singles[hour, *own, tier, deployment, role, outcome]
        asked = (hour, *by, own[0], deployment)
        of_caller = self._callers[asked]
        self._asked[asked] += 1
        sums[0] += 1
        of_caller[0] += 1
        if not exact:
            sums[1] += 1
            of_caller[1] += 1
        for place, value in enumerate(values, 2):
            if value:
                sums[place] += value
                of_caller[place] += value

    def add(
        self,
        started_at: float,
        own: tuple[str, str],
        by: tuple[str, ...],
        tier: str,
        parts: Sequence[Sequence[Any]],
    ) -> None:
        """Add one action: its `OF_ACTIONS`, its `OF_CALLERS`, the tier that answered, and the `_PARTS` of each pass."""
        hour = hour_of(started_at)
        asked = (hour, *by, own[0])
        self._asked[*asked, parts[0][1] if parts else ""] += 1
        for dimension, value in zip(OF_ACTIONS, own, strict=True):
            self._actions[hour, dimension, value] += 1
        for place, (dimension, unspent) in enumerate(zip(GROUPS, (tier, "", "", ""), strict=True)):
            for value in {part[place] for part in parts} or {unspent}:
                self._actions[hour, dimension, value] += 1
        for part in parts:
            for sums in (self._passes[(hour, *own, *part[:4])], self._callers[*asked, part[1]]):
                sums[0] += 1
                sums[1] += not part[4]
                for place in range(2, len(sums)):
                    sums[place] += part[place + 3]

    def store(self, connection: Connection) -> None:
        """Write in a fixed row order, so that two writers cannot deadlock."""
        for key, sums in self._singles.items():
            hour, *values = key
            for dimension, value in zip((*OF_ACTIONS, *GROUPS), values, strict=True):
                self._actions[hour, dimension, value] += int(sums[0])
            self._passes[key] = [one + more for one, more in zip(self._passes[key], sums, strict=True)]
        self._singles.clear()
        _upsert(connection, action_totals, [(*key, number) for key, number in sorted(self._actions.items())])
        _upsert(connection, pass_totals, [(*key, *map(_bounded, sums)) for key, sums in sorted(self._passes.items())])
        keys = sorted(self._callers.keys() | self._asked.keys())
        rows = [(*key, self._asked[key], *map(_bounded, self._callers[key])) for key in keys]
        _upsert(connection, caller_totals, rows)


def _bounded_tags(tags: str) -> str:
    """The tags that an action is counted under."""
    return tags if len(tags) <= LONGEST_TAGS else tags[: LONGEST_TAGS + 1].rpartition(",")[0]


def _zeros() -> list[float]:
    return [0] * len(_VALUES[pass_totals])


def _bounded(number: float) -> float:
    """A sum of counts, as a float beyond SQLite's largest integer."""
    return float(number) if isinstance(number, int) and abs(number) > _LARGEST else number


def _upsert(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        execute(connection, _addition(table, connection.dialect.name), rows)


@cache
def _addition(table: Table, dialect: str) -> str:
    """An upsert that adds to existing rows."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # noqa: PLC0415 - slow to import, rarely needed
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment] # noqa: PLC0415
    row = insert(table)
    grown = {name: table.c[name] + row.excluded[name] for name in _VALUES[table]}
    adding = row.on_conflict_do_update(index_elements=_KEYS[table], set_=grown)
    return compiled(adding, (*_KEYS[table], *_VALUES[table]), dialect)


# ── reading ─────────────────────────────────────────────────────────────

EVERYTHING = literal("")
"""The key of the grand total."""


def of_hours(connection: Connection, by: By | None, since: int | None) -> Iterator[tuple[str | None, Total]]:
    """Totals of whole hours: actions by key without a deployment, then passes by key and deployment.

    `by` selects the keys, None for one empty key; `since` is the first hour, None for all. A day has 24 pieces.
    """
    dimension = by if by in (*GROUPS, *OF_ACTIONS) else "model"  # an action has one model, so these sum to all actions
    counted = select(*_key(action_totals, by), func.sum(action_totals.c.actions))
    counted = counted.where(action_totals.c.dimension == dimension)
    for *key, number in connection.execute(_of(counted, action_totals, by, since)):
        yield None, Total(key=_name(by, key), actions=int(number or 0))
    sums = [func.sum(pass_totals.c[name]) for name in _VALUES[pass_totals]]
    summed = select(pass_totals.c.deployment, *_key(pass_totals, by), *sums).group_by(pass_totals.c.deployment)
    for deployment, *found in connection.execute(_of(summed, pass_totals, by, since)):
        key, values = found[: -len(sums)], found[-len(sums) :]
        yield deployment, total_of(_name(by, key), values)


def of_rows(
    connection: Connection, key: ColumnElement[str], where: ColumnElement[bool]
) -> Iterator[tuple[str | None, Total]]:
    """The same, computed from the rows of some actions; `key` is one of `keys()`, or `EVERYTHING`."""
    groups = [] if key is EVERYTHING else [key]
    joined = actions.outerjoin(passes, passes.c.action == actions.c.id)
    if _is_of_passes(key):
        counted = select(key, func.count(actions.c.id.distinct())).select_from(joined).where(where)
    else:  # no action has several keys, and passes need not be read
        counted = select(key, func.count()).select_from(actions).where(where)
    for name, number in connection.execute(counted.group_by(*groups)):
        yield None, Total(key=name, actions=number)
    estimated = func.count(case((passes.c.exact.is_(False), 1)))
    sums = [func.count(passes.c.number), estimated, *(func.sum(passes.c[name]) for name in (*COUNTS, *AMOUNTS))]
    summed = select(passes.c.deployment, key, *sums).select_from(joined).where(where)
    summed = summed.where(passes.c.deployment.is_not(None)).group_by(passes.c.deployment, *groups)
    for deployment, name, *values in connection.execute(summed):
        yield deployment, total_of(name, values)


def _is_of_passes(key: ColumnElement[str]) -> bool:
    return any(getattr(part, "table", None) is passes for part in iterate(key))


def began(since: float | None) -> ColumnElement[bool]:
    """Whether an action started at a moment (seconds since 1970) or later."""
    return true() if since is None else actions.c.started_at >= since


def keys(day: ColumnElement[str]) -> dict[By, ColumnElement[str]]:
    """The grouping keys of rows; `day` is the column with an action's date."""
    spent = {By(name): func.coalesce(passes.c[name], "") for name in GROUPS}
    own = {By.MODEL: actions.c.model, By.REASON: _grouped(actions.c.reason), By.DAY: day}
    own |= {by: func.coalesce(actions.c[name], "") for by, name in OF_CALLERS.items()}
    return spent | own | {By.TIER: func.coalesce(passes.c.tier, actions.c.tier)}


def grouped(reason: str) -> str:
    """The reason that an action is counted under."""
    return _SHADOW if reason.startswith(SHADOW_OF) else reason[:LONGEST_REASON]


def _grouped(reason: ColumnElement[str]) -> ColumnElement[str]:
    """As `grouped`, of a column."""
    is_shadow = func.substr(reason, 1, len(SHADOW_OF)) == SHADOW_OF
    return case((is_shadow, _SHADOW), else_=func.substr(reason, 1, LONGEST_REASON))


def _key(table: Table, by: By | None) -> list[ColumnElement[Any]]:
    if by is None:
        return []
    if by is By.DAY:
        return [table.c.hour]
    return [action_totals.c.value if table is action_totals else table.c[by]]


def _of(found: Select[Any], table: Table, by: By | None, since: int | None) -> Select[Any]:
    found = found if since is None else found.where(table.c.hour >= since)
    return found.group_by(*_key(table, by))


def _name(by: By | None, key: Sequence[Any]) -> str:
    if by is None:
        return ""
    return (_EPOCH + timedelta(hours=key[0])).isoformat() if by is By.DAY else str(key[0])


def total_of(key: str, values: Sequence[Any], actions: int = 0) -> Total:
    """Convert sums over passes: PostgreSQL returns integers as decimals."""
    names = _VALUES[pass_totals]
    pairs = zip(names, values, strict=True)
    found: dict[str, Any] = {name: float(value) if name in AMOUNTS else int(value) for name, value in pairs}
    return Total(key=key, actions=actions, **found)
