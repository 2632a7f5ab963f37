"""Adding rows to the ledger's tables, by statements that are compiled once for each database.

The statements are SQLAlchemy's, made from the tables; the values are tuples in the order of the columns. Building and
processing a dictionary for each row takes longer than the database does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from json import dumps
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from tierwise.ledger.rows import ActionRow, CheckRow, ContentRow, DecisionRow, Entry, PassRow
from tierwise.ledger.tables import actions, checks, contents, decisions, passes

Row = tuple[Any, ...]

_STORED = {
    "sqlite": "SELECT id, started_at FROM actions WHERE id IN (SELECT value FROM json_each(?))",
    "postgresql": "SELECT id, started_at FROM actions WHERE id = ANY(%s::VARCHAR[])",
}
_COLUMNS: dict[Table, tuple[str, ...]] = {
    actions: ("id", "date", *ActionRow.__struct_fields__[1:]),
    passes: ("action", *PassRow.__struct_fields__),
    checks: ("action", *CheckRow.__struct_fields__),
    decisions: ("action", *DecisionRow.__struct_fields__),
    contents: ("action", *ContentRow.__struct_fields__),
}
"""The order of the values in `insert_rows`."""
_AFTER_OF_PASS, _AFTER_OF_DECISION = (_COLUMNS[table].index("after") for table in (passes, decisions))
_fields = msgspec.structs.astuple


def stored(connection: Connection, ids: Iterable[str]) -> dict[str, float]:
    """When actions began (seconds since 1970), of those of these ids that are in the ledger."""
    name, asked = connection.dialect.name, list(ids)
    found = connection.exec_driver_sql(_STORED[name], (dumps(asked) if name == "sqlite" else asked,))
    return {row[0]: row[1] for row in found}


def insert_rows(connection: Connection, entries: Sequence[Entry]) -> None:
    """Add the rows of entries, of which none is stored yet."""
    rows: dict[Table, list[Row]] = {table: [] for table in _COLUMNS}
    of_actions, of_passes, of_checks, of_decisions, of_contents = rows.values()
    for entry in entries:
        key, *rest = _fields(entry.action)
        of_actions.append((key, entry.action.date, *rest))
        for done in entry.passes:
            of_passes.append(_listed((key, *_fields(done)), _AFTER_OF_PASS))
        for check in entry.checks:
            of_checks.append((key, *_fields(check)))
        for decision in entry.decisions:
            of_decisions.append(_listed((key, *_fields(decision)), _AFTER_OF_DECISION))
        if entry.content is not None:
            of_contents.append((key, *_fields(entry.content)))
    for table, some in rows.items():
        execute(connection, _insertion(table, connection.dialect.name), some)


def execute(connection: Connection, statement: str, rows: Sequence[Row]) -> None:
    """Execute a compiled statement for each row."""
    if rows:
        connection.exec_driver_sql(statement, list(rows))


def compiled(statement: Any, columns: Sequence[str], dialect: str) -> str:
    """A SQLAlchemy statement as the database's driver takes it, with a value by position for each of these columns."""
    made: Dialect
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg  # noqa: PLC0415 - slow to import

        made = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
    else:
        made = SQLiteDialect_pysqlite(paramstyle="qmark")
    done = statement.compile(dialect=made, column_keys=list(columns))
    if tuple(done.positiontup) != tuple(columns):
        raise AssertionError(f"values in another order: {done.positiontup}")
    return str(done)


@cache
def _insertion(table: Table, dialect: str) -> str:
    return compiled(table.insert(), _COLUMNS[table], dialect)


def _listed(row: Row, place: int) -> Row:
    """A row with the numbers at a place as JSON."""
    return (*row[:place], dumps(row[place]) if row[place] else "[]", *row[place + 1 :])
