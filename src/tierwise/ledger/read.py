"""The reading side of the ledger: the newest actions, one action as a tree, totals. Apart from the store, because
readers are other processes that must not write.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec
from sqlalchemy import ColumnElement, case, func, inspect, literal, or_, select, true
from sqlalchemy.exc import DatabaseError

from tierwise.ledger.by import By
from tierwise.ledger.database import actions, check_version, checks, connect, contents, is_foreign, passes
from tierwise.ledger.rows import ActionRow, CheckRow, ContentRow, PassRow
from tierwise.spec.call import Usage
from tierwise.spec.errors import LedgerError, NotFound, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import Connection, RowMapping

    from tierwise.ledger.prices import PriceBook

Row = TypeVar("Row", bound=msgspec.Struct)

PATIENCE = 10.0
"""Seconds that a reader waits for a locked database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What several passes amount to. Tokens are exact sums; seconds and dollars are, up to rounding."""

    key: str
    """What they have in common; empty where that is only the ledger."""
    actions: int = 0
    """Actions that these passes belong to; one that spent in two tiers is counted in both."""
    passes: int = 0
    estimated: int = 0
    """Passes among them whose tokens were counted from the stream because the engine never told."""
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    seconds: float = 0.0
    """Of passes, added up also where they ran side by side."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An action and what it spent."""

    action: ActionRow
    spent: Total


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A pass, what verifiers made of it, and the passes that repeat it or build on it."""

    done: PassRow
    checks: tuple[CheckRow, ...]
    children: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """An action with every pass that it caused. A pass that builds on several hangs under the latest of them."""

    action: ActionRow
    roots: tuple[Node, ...]
    checks: tuple[CheckRow, ...]
    """Of answers that no single pass gave."""
    spent: Total


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An action with what was asked and answered."""

    action: ActionRow
    content: ContentRow


class Reader:
    """Answers questions about a ledger, under the prices of the time of writing, or under those given here.

    Raises, as do all its methods:
        NotFound: there is no such file.
        SpecError: the file is no ledger, or one of a later Tierwise.
        LedgerError: it cannot be read now.
    """

    def __init__(self, path: Path, prices: PriceBook | None = None) -> None:
        if not path.is_file():
            raise NotFound(f"no ledger at {path}; `tierwise serve` writes one", field="ledger")
        self._path, self._prices = path, prices
        self._engine = connect(path.resolve(), patience=PATIENCE, read_only=True)
        try:
            self._check()
        except (SpecError, LedgerError):
            self.close()
            raise

    def _check(self) -> None:
        with self._reading() as connection:
            if not check_version(connection, self._path):
                raise SpecError(f"{self._path} is empty, no ledger", field="ledger")

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def recent(self, count: int = 20) -> list[Summary]:
        """The actions that began last, newest first."""
        newest = select(actions).order_by(actions.c.started_at.desc(), actions.c.id).limit(count)
        with self._reading() as connection:
            found = [_as(ActionRow, row) for row in connection.execute(newest).mappings()]
            spent = self._totals(connection, actions.c.id, actions.c.id.in_([action.id for action in found]))
        return [Summary(action=action, spent=spent[action.id]) for action in found]

    def action(self, name: str) -> Tree:
        """One action, by its id, by the beginning of its id, or by the caller's own id for it.

        Raises:
            NotFound: there is none.
            SpecError: there are several.
        """
        with self._reading() as connection:
            action = self._find(connection, name)
            belongs = passes.c.action == action.id
            rows = connection.execute(select(passes).where(belongs).order_by(passes.c.number)).mappings()
            done = [self._priced(_as(PassRow, row)) for row in rows]
            found = select(checks).where(checks.c.action == action.id).order_by(checks.c.position)
            verdicts = [_as(CheckRow, row) for row in connection.execute(found).mappings()]
            spent = self._totals(connection, actions.c.id, actions.c.id == action.id)[action.id]
        numbers = {one.number for one in done}
        return Tree(
            action=action,
            roots=_grow(done, verdicts),
            checks=tuple(check for check in verdicts if check.number not in numbers),
            spent=spent,
        )

    def totals(self, by: By, since: float | None = None) -> list[Total]:
        """What was spent, in groups sorted by key, by actions begun at `since` (seconds since 1970) or later.

        An action that ended before any pass began counts with its model, its day and its tier; the groups by what only
        passes have count it under "".
        """
        with self._reading() as connection:
            groups = self._totals(connection, _KEYS[by], _began(since))
        return [groups[key] for key in sorted(groups)]

    def total(self, since: float | None = None) -> Total:
        """What was spent altogether."""
        with self._reading() as connection:
            groups = self._totals(connection, _EVERYTHING, _began(since))
        return groups[""]

    def kept(self, since: float | None = None, model: str | None = None, limit: int | None = None) -> list[Kept]:
        """Actions whose content was kept, newest first; none where this ledger was never told to keep any.

        Args:
            since: only those begun then (seconds since 1970) or later.
            model: only those that asked for this tier or route.
            limit: at most so many.
        """
        found = select(actions, contents.c.request, contents.c.answers).join(
            contents, contents.c.action == actions.c.id
        )
        found = found.where(_began(since)).order_by(actions.c.started_at.desc(), actions.c.id).limit(limit)
        if model is not None:
            found = found.where(actions.c.model == model)
        with self._reading() as connection:
            if not inspect(connection).has_table(contents.name):
                return []
            rows = connection.execute(found).mappings().all()
            return [Kept(action=_as(ActionRow, row), content=_as(ContentRow, row)) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            if is_foreign(error):
                raise SpecError(f"{self._path} is no ledger: {error.orig}", field="ledger") from error
            raise LedgerError(f"the ledger {self._path} cannot be read: {error.orig}") from error
        except msgspec.ValidationError as error:
            raise LedgerError(f"the ledger {self._path} holds a row that cannot be read: {error}") from error

    def _find(self, connection: Connection, name: str) -> ActionRow:
        newest = select(actions).order_by(actions.c.started_at.desc(), actions.c.id).limit(6)
        begins = func.substr(actions.c.id, 1, len(name)) == name
        for condition in (actions.c.id == name, or_(begins, actions.c.caller == name)):
            found = connection.execute(newest.where(condition)).mappings().all()
            if len(found) == 1:
                return _as(ActionRow, found[0])
            if found:
                ids = ", ".join(row["id"] for row in found[:5])
                raise SpecError(f"several actions are called {name!r}: {ids}{' …' * (len(found) > 5)}", field="action")
        last = connection.execute(newest).mappings().first()
        hint = "the ledger is empty" if last is None else f"the newest is {last['id']}"
        raise NotFound(f"no action {name!r} in {self._path}; {hint}", field="action")

    def _priced(self, done: PassRow) -> PassRow:
        return done if self._prices is None else done.priced(self._prices)

    def _totals(self, connection: Connection, key: ColumnElement[str], where: ColumnElement[bool]) -> dict[str, Total]:
        """Totals by key. The database adds up for each key and deployment, because prices belong to deployments."""
        groups = [] if key is _EVERYTHING else [key]
        joined = actions.outerjoin(passes, passes.c.action == actions.c.id)
        labelled = key.label("key")
        counted = select(labelled, func.count(actions.c.id.distinct())).select_from(joined).where(where)
        summed = select(labelled, passes.c.deployment, *_SUMS).select_from(joined).where(where)
        totals = {name: Total(key=name, actions=count) for name, count in connection.execute(counted.group_by(*groups))}
        for row in connection.execute(summed.group_by(*groups, passes.c.deployment)).mappings():
            total = Total(key=row["key"], **{column.name: row[column.name] for column in _SUMS})
            totals[total.key] += self._repriced(total, row["deployment"])
        return totals

    def _repriced(self, total: Total, deployment: str | None) -> Total:
        if self._prices is None or deployment is None:
            return total
        cost = self._prices.price(deployment, total.usage, total.busy_seconds)
        return replace(total, dollars_tokens=cost.tokens, dollars_time=cost.time)


_EVERYTHING = literal("")

_KEYS: dict[By, ColumnElement[str]] = {
    By.TIER: func.coalesce(passes.c.tier, actions.c.tier),
    By.MODEL: actions.c.model,
    By.DEPLOYMENT: func.coalesce(passes.c.deployment, ""),
    By.ROLE: func.coalesce(passes.c.role, ""),
    By.OUTCOME: func.coalesce(passes.c.outcome, ""),
    By.DAY: actions.c.day,
}

_SUMS = [
    func.count(passes.c.number).label("passes"),
    func.count(case((passes.c.exact.is_(False), 1))).label("estimated"),
    *(
        func.coalesce(func.sum(passes.c[name]), 0).label(name)
        for name in ("prompt", "cached", "completion", "reasoning")
    ),
    *(
        func.coalesce(func.sum(passes.c[name]), 0.0).label(name)
        for name in ("seconds", "busy_seconds", "dollars_tokens", "dollars_time")
    ),
]


def _as(kind: type[Row], row: RowMapping) -> Row:
    return msgspec.convert(
        {str(name): value for name, value in row.items()}, kind
    )  # SQLAlchemy's names are not quite str


def _began(since: float | None) -> ColumnElement[bool]:
    return true() if since is None else actions.c.started_at >= since


def _grow(done: list[PassRow], checks: list[CheckRow]) -> tuple[Node, ...]:
    """Hang every pass under the one that it repeats, or under the latest that it builds on; `done` is sorted."""
    verdicts: defaultdict[int | None, list[CheckRow]] = defaultdict(list)
    for check in checks:
        verdicts[check.number].append(check)
    numbers = {one.number for one in done}
    children: defaultdict[int | None, list[Node]] = defaultdict(list)
    for one in reversed(done):  # what hangs under a pass began after it, so it is complete when the pass is reached
        node = Node(done=one, checks=tuple(verdicts[one.number]), children=tuple(reversed(children[one.number])))
        before = one.after if one.retry_of is None else (one.retry_of,)
        parent = max((number for number in before if number in numbers and number < one.number), default=None)
        children[parent].append(node)
    return tuple(reversed(children[None]))
