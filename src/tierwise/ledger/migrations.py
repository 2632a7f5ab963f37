"""Upgrades of ledgers of earlier versions: a numbered table of statements.

Each statement works on both databases and never changes later: `tables.py` describes the current version only. Totals
are not migrated but rebuilt from the rows at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, update

from tierwise.ledger import totals
from tierwise.ledger.tables import VERSION, version

UPGRADES: Mapping[int, Sequence[str]] = {
    2: (
        # Ledgers from before content was stored lack its table.
        """CREATE TABLE IF NOT EXISTS contents (
            action VARCHAR NOT NULL, request TEXT NOT NULL, answers TEXT NOT NULL,
            PRIMARY KEY (action), FOREIGN KEY (action) REFERENCES actions (id)
        )""",
        # A running process of version 1 fails at this name and keeps its actions in its journal. Otherwise it would add
        # rows that are missing in the totals.
        "ALTER TABLE actions RENAME COLUMN day TO date",
        "CREATE INDEX ix_actions_caller ON actions (caller)",
        "ALTER TABLE passes ADD COLUMN candidate BOOLEAN",
        "UPDATE passes SET candidate = role IN ('draft', 'vote', 'refine')",
        """CREATE TABLE decisions (
            action VARCHAR NOT NULL, position BIGINT NOT NULL, tier VARCHAR NOT NULL, reason VARCHAR NOT NULL,
            signal VARCHAR NOT NULL, level DOUBLE PRECISION, "after" JSON NOT NULL, at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (action, position), FOREIGN KEY (action) REFERENCES actions (id)
        )""",
    ),
    # A running process of version 2 notices the new version, and keeps its actions in its journal.
    3: ("ALTER TABLE actions ADD COLUMN session VARCHAR", "ALTER TABLE actions ADD COLUMN limits VARCHAR"),
    4: (),  # totals by reason
    5: (
        "ALTER TABLE actions ADD COLUMN key VARCHAR",
        "ALTER TABLE actions ADD COLUMN team VARCHAR",
        "ALTER TABLE actions ADD COLUMN tags VARCHAR",
        "CREATE INDEX ix_actions_key ON actions (key, started_at)",
        """CREATE TABLE access_keys (
            id VARCHAR NOT NULL, hashed VARCHAR NOT NULL, previous VARCHAR NOT NULL,
            previous_until DOUBLE PRECISION NOT NULL, settings VARCHAR NOT NULL, created_at DOUBLE PRECISION NOT NULL,
            expires_at DOUBLE PRECISION, revoked_at DOUBLE PRECISION, PRIMARY KEY (id)
        )""",
        """CREATE TABLE access_teams (
            name VARCHAR NOT NULL, settings VARCHAR NOT NULL, created_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (name)
        )""",
        """CREATE TABLE access_events (
            number BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL, what VARCHAR NOT NULL, key VARCHAR NOT NULL,
            who VARCHAR NOT NULL, detail VARCHAR NOT NULL, PRIMARY KEY (number)
        )""",
        "CREATE TABLE budget_accounts (account VARCHAR NOT NULL, PRIMARY KEY (account))",
        """CREATE TABLE budget_leases (
            account VARCHAR NOT NULL, period BIGINT NOT NULL, holder VARCHAR NOT NULL, held BIGINT NOT NULL,
            spent BIGINT NOT NULL, PRIMARY KEY (account, period, holder)
        )""",
        "CREATE INDEX ix_budget_leases_period ON budget_leases (account, period)",
    ),
    6: (
        "CREATE TABLE budget_holders (holder VARCHAR NOT NULL, until DOUBLE PRECISION NOT NULL, PRIMARY KEY (holder))",
        """CREATE TABLE budget_sessions (
            account VARCHAR NOT NULL, used_at DOUBLE PRECISION NOT NULL, PRIMARY KEY (account)
        )""",
    ),
    7: (  # totals by who asked, which are read in place of the index by key
        "DROP INDEX ix_actions_key",
        "DROP INDEX ix_actions_caller",
        "CREATE INDEX ix_actions_caller ON actions (caller) WHERE caller <> ''",
    ),
}


def upgrade(connection: Connection, found: int) -> None:
    """Upgrade a ledger from version `found` to this one, within the connection's transaction."""
    for number in range(found + 1, VERSION + 1):
        for statement in UPGRADES[number]:
            connection.exec_driver_sql(statement)
    totals.rebuild(connection)
    connection.execute(update(version).values(version=VERSION))
