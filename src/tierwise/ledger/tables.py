"""The tables of the present version, made from the rows that they hold: a field of a row is a column.

What users and models said is not stored unless the ledger is opened with `content`. Then it stands in a table of its
own, `contents`, so that it can be encrypted, expired or dropped without touching a row of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec.inspect as fields
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
)

from tierwise.ledger.rows import ActionRow, CheckRow, ContentRow, DecisionRow, PassRow

if TYPE_CHECKING:
    from collections.abc import Iterator

    import msgspec
    from sqlalchemy.types import TypeEngine

VERSION = 2
"""Of the tables; `migrations.py` brings older ones here."""

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
"""Of an action. In the order of its characters in both databases, so that an index finds the beginning of one."""


def _columns(row: type[msgspec.Struct], *keys: str) -> Iterator[Column[Any]]:
    for field in fields.type_info(row).fields:  # type: ignore[attr-defined] # of a struct, it has them
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

Index("ix_actions_started_at", actions.c.started_at)
Index("ix_actions_caller", actions.c.caller)

COUNTS = ("prompt", "cached", "completion", "reasoning")
"""What is added up of passes in whole numbers."""
AMOUNTS = ("seconds", "busy_seconds", "dollars_tokens", "dollars_time")
"""What is added up of passes otherwise."""
GROUPS = ("tier", "deployment", "role", "outcome")
"""What passes are grouped by, beside the model and the hour of their action."""

_SUM = BigInteger().with_variant(Numeric(), "postgresql")
"""Of counts as large as a column holds. SQLite goes over to floating point by itself where PostgreSQL would refuse."""


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
"""How many actions of an hour (3600 s since 1970) have a value in a dimension of `GROUPS`, or a model. Actions are
counted apart from passes, because one that spent in two tiers is one action of each."""

pass_totals = Table(
    "pass_totals",
    metadata,
    _hour(),
    *(Column(name, String, primary_key=True) for name in ("model", *GROUPS)),
    *(Column(name, BigInteger, nullable=False) for name in ("passes", "estimated")),
    *(Column(name, _SUM, nullable=False) for name in COUNTS),
    *(Column(name, Double, nullable=False) for name in AMOUNTS),
)
"""What the passes of an hour's actions amount to."""
