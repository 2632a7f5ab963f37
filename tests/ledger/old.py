"""Ledgers that earlier versions wrote, put where a test wants them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy

from tierwise.ledger.database import connect

if TYPE_CHECKING:
    from places import Place

FIXTURES = Path(__file__).parent / "fixtures"

VERSION_1 = "version_1.sql"
WITHOUT_CONTENTS = "version_1_without_contents.sql"
VERSION_2 = "version_2.sql"
VERSION_3 = "version_3.sql"

TOTALS: dict[str, list[dict]] = json.loads((FIXTURES / "version_1_totals.json").read_text())
"""Of `VERSION_1`, as version 1 added them up, by what they are grouped by."""


def put(place: Place, dump: str = VERSION_1) -> None:
    """Make a ledger of an earlier version where there is none."""
    script = (FIXTURES / dump).read_text()
    if place.is_file:
        with contextlib.closing(sqlite3.connect(place.path)) as database:
            database.execute("PRAGMA journal_mode=WAL")
            database.executescript(script)
        return
    source = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    with source.connect() as connection:
        connection.connection.executescript(script)
    tables = sqlalchemy.MetaData()
    tables.reflect(source)
    for table in tables.sorted_tables:
        for column in table.c:
            column.type = column.type.as_generic()  # each database has a name of its own for it
    target = connect(place.location, patience=5.0)
    with source.connect() as read, target.begin() as write:
        tables.create_all(write)
        for table in tables.sorted_tables:
            if rows := [row._asdict() for row in read.execute(table.select())]:
                write.execute(table.insert(), rows)
    source.dispose()
    target.dispose()


def put_journal(place: Place) -> None:
    """Leave a journal of version 1 beside it, as a process that died did."""
    journal = place.journal.with_name(f"{place.journal.name}.1.00000000a.pending.jsonl")
    journal.parent.mkdir(parents=True, exist_ok=True)
    journal.write_bytes((FIXTURES / "version_1.jsonl").read_bytes())
