"""The tables of keys and budgets, in the ledger's database. `keys/` reads and writes them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, String, Table

from tierwise.ledger.tables import metadata

keys = Table(
    "access_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("hashed", String, nullable=False),
    Column("previous", String, nullable=False),
    Column("previous_until", Double, nullable=False),
    Column("settings", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
)
"""One row per key. `settings` is JSON: name, team, tags, limits."""

teams = Table(
    "access_teams",
    metadata,
    Column("name", String, primary_key=True),
    Column("settings", String, nullable=False),
    Column("created_at", Double, nullable=False),
)

events = Table(
    "access_events",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("what", String, nullable=False),
    Column("key", String, nullable=False),
    Column("who", String, nullable=False),
    Column("detail", String, nullable=False),
)
"""The audit log, which only grows. Its last number tells whether keys may have changed."""

accounts = Table("budget_accounts", metadata, Column("account", String, primary_key=True))
"""One row per budget, locked while a lease is taken."""

leases = Table(
    "budget_leases",
    metadata,
    Column("account", String, primary_key=True),
    Column("period", BigInteger, primary_key=True, autoincrement=False),
    Column("holder", String, primary_key=True),
    Column("held", BigInteger, nullable=False),
    Column("spent", BigInteger, nullable=False),
)
"""What each process holds of a budget in a period, what it has spent included: all of `held` counts as spent."""

holders = Table(
    "budget_holders",
    metadata,
    Column("holder", String, primary_key=True),
    Column("until", Double, nullable=False),
)
"""The processes that hold places of actions, and until when they are taken to live."""

sessions = Table(
    "budget_sessions",
    metadata,
    Column("account", String, primary_key=True),
    Column("used_at", Double, nullable=False),
)
"""When the account of a session was last used."""

Index("ix_budget_leases_period", leases.c.account, leases.c.period)
