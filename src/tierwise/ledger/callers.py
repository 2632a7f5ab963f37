"""Hourly totals by who asked: key, team, tags and session. The writer maintains them as those of `totals.py`.

There is a row per hour and caller, session, model and deployment, so there are never more rows than actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, false, func, literal_column, select, true

from tierwise.ledger.by import By
from tierwise.ledger.rows import day
from tierwise.ledger.tables import AMOUNTS, COUNTS, actions, caller_totals, passes
from tierwise.ledger.totals import HOUR, OF_CALLERS, Total, total_of

UsageKey = tuple[str, str, str, str]
"""Day (in UTC, `2026-01-31`), key, team and model."""

_SHIFT = 10_000_000
_DAY = (caller_totals.c.hour + literal_column(f"{24 * _SHIFT}")) // literal_column("24")
"""The day of an hour, moved by `_SHIFT`: databases round a division towards 0."""
_VALUES = ("actions", "passes", "estimated", *COUNTS, *AMOUNTS)
USED = ("actions", "passes", *COUNTS, "dollars_tokens", "dollars_time")
"""What usage says, in the order of its sums."""
_NONE: ColumnElement[str] = literal_column("''")
"""Not a bound value, so that databases recognise the condition of an index."""


def of_hours(connection: Connection, by: By, since: int | None) -> Iterator[tuple[str | None, Total]]:
    """Totals of whole hours, by one of `OF_CALLERS` and deployment; `since` is the first hour, None for all."""
    table = caller_totals
    column = table.c[OF_CALLERS[by]]
    sums = [func.sum(table.c[name]) for name in _VALUES]
    found = select(table.c.deployment, column, *sums).where(_began(since)).group_by(table.c.deployment, column)
    for deployment, key, number, *values in connection.execute(found):
        yield deployment, total_of(key, values, actions=int(number))


def usage_of_hours(
    connection: Connection, since: int | None, key: str | None, session: str | None
) -> Iterator[tuple[UsageKey, Sequence[Any]]]:
    """What was used in whole hours: the sums of `USED`, of a key and of a session, None for all.

    `since` is the first hour, None for all.
    """
    table = caller_totals
    where = [_began(since)]
    if key is not None:
        where.append(table.c.key == key)
    if session is not None:
        where += [table.c.session == session, table.c.session != _NONE]
    group = (_DAY.label("day"), table.c.key, table.c.team, table.c.model)
    found = select(*group, *(func.sum(table.c[name]) for name in USED)).where(*where).group_by(*group)
    for moved, of_key, team, model, *sums in connection.execute(found):
        yield (day(int(moved) - _SHIFT), of_key, team, model), sums


def usage_of_rows(
    connection: Connection, where: ColumnElement[bool], key: str | None, session: str | None
) -> Iterator[tuple[UsageKey, Sequence[Any]]]:
    """The same of some actions, from their rows: pieces to be added."""
    asked = [(actions.c.key, key), (actions.c.session, session)]
    where = and_(where, *(column == value for column, value in asked if value is not None))
    group = (actions.c.date, func.coalesce(actions.c.key, ""), func.coalesce(actions.c.team, ""), actions.c.model)
    counted = select(*group, func.count()).where(where).group_by(*group)
    for began, of_key, team, model, number in connection.execute(counted):
        yield (began, of_key, team, model), (number, *(0 for _ in USED[1:]))
    sums = [func.count(), *(func.sum(passes.c[name]) for name in USED[2:])]
    joined = passes.join(actions, passes.c.action == actions.c.id)
    summed = select(*group, *sums).select_from(joined).where(where).group_by(*group)
    for began, of_key, team, model, *sums_of in connection.execute(summed):
        yield (began, of_key, team, model), (0, *sums_of)


def in_session(connection: Connection, session: str, *, has_totals: bool) -> ColumnElement[bool]:
    """Whether an action is of a session. Where the ledger has totals, no hours are searched but the session's."""
    if not has_totals:
        return actions.c.session == session
    table = caller_totals
    found = select(func.min(table.c.hour), func.max(table.c.hour))
    first, last = connection.execute(found.where(table.c.session == session, table.c.session != _NONE)).one()
    if first is None:
        return false()
    began, ended = float(first * HOUR), float((last + 1) * HOUR)
    return and_(actions.c.session == session, actions.c.started_at >= began, actions.c.started_at < ended)


def _began(since: int | None) -> ColumnElement[bool]:
    return true() if since is None else caller_totals.c.hour >= since
