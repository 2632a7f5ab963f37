"""The tables of the current version, derived from the row types: each field is a column.

Requests and answers are stored only if the ledger is opened with `content`. They have a separate table, `contents`,
which can be encrypted, expired or dropped without touching the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import msgspec.inspect as fields
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    event,
)
from sqlalchemy.types import TypeEngine

from tierwise.ledger.rows import ActionRow, CheckRow, ContentRow, DecisionRow, PassRow

VERSION = 7
"""Version of the tables; `migrations.py` upgrades older ones."""

metadata = MetaData()

version = Table("ledger_version", metadata, Column("version", Integer, primary_key=True))

_TYPES: dict[type[fields.Type], TypeEngine[Any]] = {
    fields.StrType: String(),
    fields.LiteralType: String(),
    fields.FloatType: Double(),
    fields.BoolType: Boolean(),
    fields.IntType: BigInteger(),
    fields.VarTupleType: JSON(),
}

_ID = String().with_variant(String(collation="C"), "postgresql")
"""Id of an action, in byte order on both databases so that an index finds prefixes."""


def _columns(row: type[msgspec.Struct], *keys: str) -> Iterator[Column[Any]]:
    for field in fields.type_info(row).fields:  # type: ignore[attr-defined] # structs have fields
        kind, is_nullable = field.type, False
        if isinstance(kind, fields.UnionType):
            kind, is_nullable = next(one for one in kind.types if not isinstance(one, fields.NoneType)), True
        is_key = field.name in keys
        yield Column(field.name, _TYPES[type(kind)], primary_key=is_key, nullable=is_nullable, autoincrement=False)


def _action() -> Column[str]:
    return Column("action", _ID, ForeignKey("actions.id"), primary_key=True)


actions = Table(
    "actions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("date", String, nullable=False),
    *(column for column in _columns(ActionRow) if column.name != "id"),
)
passes = Table("passes", metadata, _action(), *_columns(PassRow, "number"))
checks = Table("checks", metadata, _action(), *_columns(CheckRow, "position"))
decisions = Table("decisions", metadata, _action(), *_columns(DecisionRow, "position"))
contents = Table("contents", metadata, _action(), *_columns(ContentRow))


def _index_texts(name: str, column: Column[Any]) -> None:
    """Index the rows that have a text in a column, when its table is created.

    It is SQL: an `Index` with `postgresql_where` would import PostgreSQL's dialect whenever this module is imported.
    """
    sql = f"CREATE INDEX {name} ON {column.table.name} ({column.name}) WHERE {column.name} <> ''"

    def create(_: Table, connection: Connection, **__: object) -> None:
        connection.exec_driver_sql(sql)

    event.listen(column.table, "after_create", create)


Index("ix_actions_started_at", actions.c.started_at)
_index_texts("ix_actions_caller", actions.c.caller)

COUNTS = ("prompt", "cached", "completion", "reasoning")
"""Integer fields of passes that are summed."""
AMOUNTS = ("seconds", "busy_seconds", "dollars_tokens", "dollars_time")
"""Floating-point fields of passes that are summed."""
GROUPS = ("tier", "deployment", "role", "outcome")
"""Fields by which passes are grouped, in addition to `OF_ACTIONS` and the hour of their action."""
OF_ACTIONS = ("model", "reason")
"""Fields of actions by which they and their passes are grouped."""

_SUM = BigInteger().with_variant(Numeric(), "postgresql")
"""Type of sums of counts. On overflow SQLite switches to floating point; PostgreSQL would fail."""


def _hour() -> Column[int]:
    return Column("hour", BigInteger, primary_key=True, autoincrement=False)


action_totals = Table(
    "action_totals",
    metadata,
    _hour(),
    Column("dimension", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("actions", BigInteger, nullable=False),
)
"""Number of actions per hour (3600 s since 1970) for each value of a dimension of `GROUPS` or `OF_ACTIONS`. Actions are
counted separately from passes, because an action that uses two tiers counts for each."""

pass_totals = Table(
    "pass_totals",
    metadata,
    _hour(),
    *(Column(name, String, primary_key=True) for name in (*OF_ACTIONS, *GROUPS)),
    *(Column(name, BigInteger, nullable=False) for name in ("passes", "estimated")),
    *(Column(name, _SUM, nullable=False) for name in COUNTS),
    *(Column(name, Double, nullable=False) for name in AMOUNTS),
)
"""Sums over the passes of an hour's actions."""

caller_totals = Table(
    "caller_totals",
    metadata,
    _hour(),
    *(Column(name, String, primary_key=True) for name in ("key", "team", "tags", "session", "model", "deployment")),
    *(Column(name, BigInteger, nullable=False) for name in ("actions", "passes", "estimated")),
    *(Column(name, _SUM, nullable=False) for name in COUNTS),
    *(Column(name, Double, nullable=False) for name in AMOUNTS),
    sqlite_with_rowid=False,
)
"""The same by who asked, in texts that are empty without one. An action with several deployments is counted at that of
its first pass, one without passes at an empty one."""

_index_texts("ix_caller_totals_session", caller_totals.c.session)
