"""A ledger in a PostgreSQL database: connections, and which errors are transient."""

from __future__ import annotations

import math
import re
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from tierwise.ledger.location import Location
from tierwise.spec.errors import SpecError

_LOCK = 0x7469_6572_7769_7365
"""The advisory lock of writers: `tierwise` in ASCII."""

_PASSING = re.compile("08|40|53|55P03|57P0|58")
"""SQLSTATEs of transient errors: broken connection, deadlock, insufficient disk space, memory or connections, lock
timeout, server shutdown or start-up, disk failure (PostgreSQL documentation, appendix A)."""

_BUSY = re.compile("starting up|shutting down|recovery mode|accepting connections|too many|connection slots")
"""Messages of a server that currently accepts no connections."""


def connect(location: Location, *, patience: float, read_only: bool = False, is_alone: bool = True) -> Engine:
    """A SQLAlchemy engine for a database. Nothing is opened before the first use.

    Args:
        location: the database.
        patience: seconds to wait for a lock, and for a connection unless the URL sets a timeout.
        read_only: open it for reading, each transaction on one snapshot. A writer takes the lock at the start of every
            transaction, so that its lookups stay valid until it inserts.
        is_alone: whether a writer takes that lock; without it, its transactions lock the rows that they select for it.

    Raises:
        SpecError: psycopg is not installed.
    """
    try:
        import psycopg  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SpecError(
            f"a ledger in PostgreSQL needs psycopg ({error}); install it with: pip install 'tierwise[postgresql]'",
            field="ledger",
        ) from error
    defaults: dict[str, Any] = {"application_name": "tierwise", "connect_timeout": max(2, math.ceil(patience))}
    options = {name: value for name, value in defaults.items() if f"{name}=" not in location.url}

    def opened() -> Any:
        return psycopg.connect(location.url, **options)

    def begin(connection: Connection) -> None:
        if read_only:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {math.ceil(patience * 1000)}")
        if is_alone and not read_only:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    engine = create_engine("postgresql+psycopg://", creator=opened, pool_pre_ping=True, hide_parameters=True)
    event.listen(engine, "begin", begin)
    return engine


def is_corrupt(error: DBAPIError) -> bool:
    """Whether the database says that its data or an index are damaged."""
    return getattr(error.orig, "sqlstate", None) in {"XX001", "XX002"}


def may_pass(error: DBAPIError) -> bool:
    """Whether an error is transient."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    if (state := getattr(error.orig, "sqlstate", None)) is not None:
        return _PASSING.match(state) is not None
    # For errors while connecting, libpq gives only a message; FATAL marks messages of the server.
    words = str(error.orig)
    return "FATAL" not in words or _BUSY.search(words) is not None
