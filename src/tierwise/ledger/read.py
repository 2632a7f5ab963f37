"""The reading side of the ledger: the newest actions, one action as a tree, totals. Readers run in other processes and
never write.

A reader cannot upgrade a ledger of an earlier version. It reads the existing data: missing columns take the defaults of
their rows, and totals are summed over all passes, which takes longer.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    and_,
    case,
    func,
    inspect,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError

from tierwise.ledger import callers, sqlite, totals
from tierwise.ledger.by import By
from tierwise.ledger.database import check_version, connect, is_corrupt, is_foreign
from tierwise.ledger.idle import Busy
from tierwise.ledger.location import Location, locate
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.rows import ActionRow, CheckRow, ContentRow, DecisionRow, PassRow
from tierwise.ledger.sessions import SessionAction, of_session
from tierwise.ledger.tables import VERSION, actions, checks, contents, decisions, passes
from tierwise.ledger.totals import Total
from tierwise.spec.errors import LedgerError, NotFound, SpecError

Row = TypeVar("Row", bound=msgspec.Struct)

PATIENCE = 10.0
"""Seconds to wait for a locked database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An action and its totals."""

    action: ActionRow
    spent: Total


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A pass, its verdicts, and the passes that retry it or build on it."""

    done: PassRow
    checks: tuple[CheckRow, ...]
    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """An action with all its passes. A pass that builds on several is a child of the latest of them."""

    action: ActionRow
    roots: tuple[Node, ...]
    checks: tuple[CheckRow, ...]
    """Checks of answers that did not come from a single pass."""
    decisions: tuple[DecisionRow, ...]
    spent: Total


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """An action with its request and answers."""

    action: ActionRow
    content: ContentRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a key used of a model on a day."""

    day: str
    """In UTC, `2026-01-31`."""
    key: str
    """Its id; empty for actions without a stored key."""
    team: str
    model: str
    actions: int
    passes: int
    prompt: int
    cached: int
    completion: int
    reasoning: int
    dollars: float


class Reader:
    """Queries a ledger, with the recorded prices or with those given here.

    Raises, as do all its methods:
        NotFound: the file does not exist.
        SpecError: it is not a ledger, or from a later version of Tierwise.
        LedgerError: it cannot be read now.
    """

    def __init__(self, where: str | Path | Location, prices: PriceBook | None = None) -> None:
        self._location, self._prices = locate(where), prices
        path = self._location.path
        if path is not None:
            sqlite.check_regular(path)
        if self._location.is_missing:
            raise NotFound(f"no ledger at {self._location.name}; `tierwise serve` writes one", field="ledger")
        self._engine = connect(self._location, patience=PATIENCE, read_only=True)
        try:
            with self._reading():
                pass
        except (SpecError, LedgerError):
            self.close()
            raise

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def recent(self, count: int = 20) -> list[Summary]:
        """The latest actions, newest first."""
        with self._reading() as ledger:
            found = ledger.rows(ActionRow, actions, lambda rows: rows.order_by(*_NEWEST).limit(count))
            spent = self._spent(ledger, actions.c.id.in_([action.id for action in found]))
        return [Summary(action=action, spent=spent[action.id]) for action in found]

    def action(self, name: str) -> Tree:
        """One action, by its id, a prefix of its id, or the caller's id for it.

        Raises:
            NotFound: no action matches.
            SpecError: several actions match.
        """
        with self._reading() as ledger:
            action = self._find(ledger, name)
            done = [self._priced(one) for one in ledger.of_action(PassRow, passes, action, passes.c.number)]
            verdicts = ledger.of_action(CheckRow, checks, action, checks.c.position)
            decided = ledger.of_action(DecisionRow, decisions, action, decisions.c.position)
            spent = self._spent(ledger, actions.c.id == action.id)[action.id]
        numbers = {one.number for one in done}
        return Tree(
            action=action,
            roots=_grow(done, verdicts),
            checks=tuple(check for check in verdicts if check.number not in numbers),
            decisions=tuple(decided),
            spent=spent,
        )

    def totals(self, by: By, since: float | None = None) -> list[Total]:
        """Totals in groups sorted by key, of actions that started at `since` (seconds since 1970) or later.

        An action without passes counts under its model, day and tier; groupings by fields of passes count it under "".
        """
        with self._reading() as ledger:
            groups = self._added(ledger.totals(by, since))
        if by is By.TAG:
            groups = _by_single(groups)
        return [groups[key] for key in sorted(groups)]

    def total(self, since: float | None = None) -> Total:
        """The grand total."""
        with self._reading() as ledger:
            return self._added(ledger.totals(None, since))[""]

    def usage(self, since: float, *, key: str | None = None, session: str | None = None) -> list[Usage]:
        """What was used by day, key and model, of actions that started at `since` (seconds since 1970) or later.

        Args:
            since: the beginning.
            key: only actions of this key; None for all.
            session: only actions of this session, of any key that `key` admits; None for all.
        """
        with self._reading() as ledger:
            if "key" not in ledger.columns(actions):
                return []
            sums: defaultdict[callers.UsageKey, list[Any]] = defaultdict(lambda: [0] * len(callers.USED))
            for named, values in ledger.usage(since, key, session):
                sums[named] = [one + more for one, more in zip(sums[named], values, strict=True)]
        return [_used(named, dict(zip(callers.USED, sums[named], strict=True))) for named in sorted(sums)]

    def session(self, name: str, since: float, *, key: str | None = None) -> list[SessionAction]:
        """The actions of a session that started at `since` (seconds since 1970) or later, in that order; of one key, or
        of all for None.
        """
        with self._reading() as ledger:
            if "key" not in ledger.columns(actions):
                return []
            mine = callers.in_session(ledger.connection, name, has_totals=ledger.version == VERSION)
            where = and_(totals.began(since), mine, *([actions.c.key == key] if key else []))
            found = ledger.rows(ActionRow, actions, lambda rows: rows.where(where).order_by(*_OLDEST))
            of: defaultdict[str, list[PassRow]] = defaultdict(list)
            ids = select(actions.c.id).where(where)
            columns = [passes.c.action, *ledger.fields(PassRow, passes)]
            for row in ledger.connection.execute(select(*columns).where(passes.c.action.in_(ids))).mappings():
                of[row["action"]].append(self._priced(_as(PassRow, row)))
        return [of_session(action, sorted(of[action.id], key=lambda one: one.number)) for action in found]

    def window(self) -> tuple[float, float] | None:
        """When the first pass began and when the last ended, in seconds since 1970; None without a pass."""
        with self._reading() as ledger:
            began = actions.c.started_at + passes.c.started
            found = select(func.min(began), func.max(began + passes.c.seconds)).join(
                passes, passes.c.action == actions.c.id
            )
            first, last = ledger.connection.execute(found).one()
        return None if first is None else (float(first), float(last))

    def busy(self, since: float, until: float) -> dict[str, Busy]:
        """What ran on each deployment between two moments (seconds since 1970). A pass that crosses one of them counts
        for the share of its seconds that is between them.
        """
        began = actions.c.started_at + passes.c.started
        ended = began + passes.c.seconds
        inside = case((ended > until, until), else_=ended) - case((began < since, since), else_=began)
        share = case((passes.c.seconds > 0, inside / passes.c.seconds), else_=1.0)
        sums = [func.sum(passes.c[name] * share) for name in ("busy_seconds", "dollars_tokens", "dollars_time")]
        found = select(passes.c.deployment, func.count(), *sums).join(actions, passes.c.action == actions.c.id)
        found = found.where(ended > since, began < until).group_by(passes.c.deployment)
        with self._reading() as ledger:
            rows = ledger.connection.execute(found).all()
        return {
            name: Busy(passes=int(count), seconds=float(busy), dollars_tokens=float(tokens), dollars_time=float(time))
            for name, count, busy, tokens, time in rows
        }

    def stored_content(
        self, since: float | None = None, model: str | None = None, limit: int | None = None
    ) -> list[StoredContent]:
        """Actions with stored content, newest first; empty if this ledger stores no content.

        Args:
            since: only actions that started then (seconds since 1970) or later.
            model: only requests for this tier or route.
            limit: maximum number of actions.
        """
        with self._reading() as ledger:
            if not ledger.columns(contents):
                return []
            columns = [*ledger.fields(ActionRow, actions), contents.c.request, contents.c.answers]
            found = select(*columns).join(contents, contents.c.action == actions.c.id)
            found = found.where(totals.began(since)).order_by(*_NEWEST).limit(limit)
            if model is not None:
                found = found.where(actions.c.model == model)
            rows = ledger.connection.execute(found).mappings().all()
            return [StoredContent(action=_as(ActionRow, row), content=_as(ContentRow, row)) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[_Snapshot]:
        name = self._location.name
        try:
            with self._engine.begin() as connection:
                version = check_version(connection, self._location)
                if version is None:
                    raise SpecError(f"{name} is empty and not a ledger", field="ledger")
                yield _Snapshot(connection, version)
        except DBAPIError as error:
            reason = self._location.redacted(str(error.orig))
            if is_foreign(error):
                raise SpecError(f"{name} is not a ledger: {reason}", field="ledger") from None
            raise LedgerError(f"the ledger {name} cannot be read: {reason}{self._hint(error)}") from None
        except msgspec.ValidationError as error:
            raise LedgerError(f"the ledger {name} holds a row that cannot be read: {error}") from error

    def _hint(self, error: DBAPIError) -> str:
        path = self._location.path
        if is_corrupt(error):
            return "; it is damaged: use a backup, or recover its rows with `.recover` of the program sqlite3"
        if path is not None and sqlite.has_log(path) and not os.access(path.parent, os.W_OK):
            return f"; it needs its log beside it: copy {path.name}* to a folder that you can write"
        return ""

    def _find(self, ledger: _Snapshot, name: str) -> ActionRow:
        begins = and_(actions.c.id >= name, actions.c.id < name + chr(sys.maxunicode))
        is_callers = and_(actions.c.caller == name, actions.c.caller != literal_column("''"))  # as its index is defined
        for called in ([actions.c.id == name], [begins, is_callers]):
            found = {one.id: one for condition in called for one in ledger.newest(condition, 6)}
            if len(found) == 1:
                return next(iter(found.values()))
            if found:
                newest = sorted(found.values(), key=lambda one: (-one.started_at, one.id))
                ids = ", ".join(one.id for one in newest[:5])
                raise SpecError(f"several actions match {name!r}: {ids}{' …' * (len(found) > 5)}", field="action")
        last = ledger.rows(ActionRow, actions, lambda rows: rows.order_by(*_NEWEST).limit(1))
        hint = f"the newest is {last[0].id}" if last else "the ledger is empty"
        raise NotFound(f"no action {name!r} in {self._location.name}; {hint}", field="action")

    def _priced(self, done: PassRow) -> PassRow:
        return done if self._prices is None else done.priced(self._prices)

    def _spent(self, ledger: _Snapshot, where: ColumnElement[bool]) -> dict[str, Total]:
        return self._added(totals.of_rows(ledger.connection, actions.c.id, where))

    def _added(self, pieces: Iterable[tuple[str | None, Total]]) -> dict[str, Total]:
        """Totals by key. Each piece belongs to one deployment, because prices are per deployment."""
        groups: dict[str, Total] = {}
        for deployment, total in pieces:
            priced = self._repriced(total, deployment)
            groups[total.key] = groups[total.key] + priced if total.key in groups else priced
        return groups

    def _repriced(self, total: Total, deployment: str | None) -> Total:
        if self._prices is None or deployment is None:
            return total
        cost = self._prices.price(deployment, total.usage, total.busy_seconds)
        return replace(total, dollars_tokens=cost.tokens, dollars_time=cost.time)


class _Snapshot:
    """A consistent view of a ledger of this or an earlier version."""

    def __init__(self, connection: Connection, version: int) -> None:
        self.connection = connection
        self.version = version

    def columns(self, table: Table) -> set[str]:
        """The columns of a table in this ledger; empty if it lacks the table."""
        if self.version == VERSION:
            return {column.name for column in table.c}
        inspector = inspect(self.connection)
        return {one["name"] for one in inspector.get_columns(table.name)} if inspector.has_table(table.name) else set()

    def fields(self, kind: type[msgspec.Struct], table: Table) -> list[Column[Any]]:
        """The columns of a row type that this ledger has."""
        there = self.columns(table)
        return [table.c[name] for name in kind.__struct_fields__ if name in there]

    def rows(self, kind: type[Row], table: Table, narrowed: Callable[[Select[Any]], Select[Any]]) -> list[Row]:
        """The rows of a table, narrowed by a query."""
        if not (columns := self.fields(kind, table)):
            return []
        return [_as(kind, row) for row in self.connection.execute(narrowed(select(*columns))).mappings()]

    def of_action(self, kind: type[Row], table: Table, action: ActionRow, order: ColumnElement[Any]) -> list[Row]:
        """The rows of a table for one action."""
        return self.rows(kind, table, lambda rows: rows.where(table.c.action == action.id).order_by(order))

    def newest(self, where: ColumnElement[bool], count: int) -> list[ActionRow]:
        """The latest of the few matching actions."""
        # The sum keeps SQLite from scanning all actions backwards in search of the few.
        order = ((actions.c.started_at + 0).desc(), actions.c.id)
        return self.rows(ActionRow, actions, lambda rows: rows.where(where).order_by(*order).limit(count))

    def totals(self, by: By | None, since: float | None) -> Iterator[tuple[str | None, Total]]:
        """Totals since a moment, in pieces with one key and one deployment, or of actions only."""
        day = actions.c.date if "date" in self.columns(actions) else literal_column("actions.day")
        key = totals.EVERYTHING if by is None else totals.keys(day)[by]
        if by in totals.OF_CALLERS:
            column = totals.OF_CALLERS[by]
            key = key if column in self.columns(actions) else func.substr(actions.c.id, 1, 0)  # one group
        if self.version < VERSION:
            yield from totals.of_rows(self.connection, key, totals.began(since))
            return
        cut, hour = _divided(since)
        if cut is not None:
            yield from totals.of_rows(self.connection, key, cut)
        if by in totals.OF_CALLERS:
            yield from callers.of_hours(self.connection, by, hour)
        else:
            yield from totals.of_hours(self.connection, by, hour)

    def usage(
        self, since: float, key: str | None, session: str | None
    ) -> Iterator[tuple[callers.UsageKey, Sequence[Any]]]:
        """What was used since a moment, in pieces."""
        if self.version < VERSION:
            yield from callers.usage_of_rows(self.connection, totals.began(since), key, session)
            return
        cut, hour = _divided(since)
        if cut is not None:
            yield from callers.usage_of_rows(self.connection, cut, key, session)
        yield from callers.usage_of_hours(self.connection, hour, key, session)


def _divided(since: float | None) -> tuple[ColumnElement[bool] | None, int | None]:
    """Where the rows of the hour are that a moment cuts, None without one; and the first whole hour after it."""
    if since is None:
        return None, None
    since = max(-_FARTHEST, min(_FARTHEST, since))
    hour = totals.hour_of(since)
    hour += hour * totals.HOUR < since
    return and_(totals.began(since), actions.c.started_at < hour * totals.HOUR), hour


def _used(named: callers.UsageKey, sums: dict[str, Any]) -> Usage:
    dollars = float(sums.pop("dollars_tokens")) + float(sums.pop("dollars_time"))
    day, key, team, model = named
    whole = {name: int(value) for name, value in sums.items()}
    return Usage(day=day, key=key, team=team, model=model, dollars=dollars, **whole)


def _by_single(groups: dict[str, Total]) -> dict[str, Total]:
    """Totals by tag of totals by all tags of an action: it counts under each of them."""
    found: dict[str, Total] = {}
    for tags, total in groups.items():
        for tag in tags.split(","):
            one = replace(total, key=tag)
            found[tag] = found[tag] + one if tag in found else one
    return found


_NEWEST = (actions.c.started_at.desc(), actions.c.id)
_OLDEST = (actions.c.started_at, actions.c.id)
_FARTHEST = 1e15
"""Maximum seconds since 1970 for which databases compute hours."""


def _as(kind: type[Row], row: RowMapping) -> Row:
    # SQLAlchemy's names are not quite str.
    return msgspec.convert({str(name): value for name, value in row.items()}, kind)


def _grow(done: list[PassRow], checks: list[CheckRow]) -> tuple[Node, ...]:
    """Make every pass a child of the one that it retries, or of the latest that it builds on; `done` is sorted."""
    verdicts: defaultdict[int | None, list[CheckRow]] = defaultdict(list)
    for check in checks:
        verdicts[check.number].append(check)
    numbers = {one.number for one in done}
    children: defaultdict[int | None, list[Node]] = defaultdict(list)
    for one in reversed(done):  # children of a pass started after it, so they are complete when the pass is reached
        node = Node(done=one, checks=tuple(verdicts[one.number]), children=tuple(reversed(children[one.number])))
        before = one.after if one.retry_of is None else (one.retry_of,)
        parent = max((number for number in before if number in numbers and number < one.number), default=None)
        children[parent].append(node)
    return tuple(reversed(children[None]))
