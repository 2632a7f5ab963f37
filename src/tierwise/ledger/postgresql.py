"""A ledger in a PostgreSQL database: how it is connected to, and which of its errors pass."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import InterfaceError, OperationalError

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import DBAPIError

    from tierwise.ledger.location import Location

_LOCK = 0x7469_6572_7769_7365
"""The advisory lock that writers hold, one at a time: `tierwise` in ASCII."""

_PASSING = re.compile("08|40|53|55P03|57P0|58")
"""SQLSTATEs of what may pass: the connection broke, a deadlock, no room or memory or connections left, a lock that was
not to be had, the server stops or starts, its disk fails (PostgreSQL's documentation, appendix A)."""

_BUSY = re.compile("starting up|shutting down|recovery mode|accepting connections|too many|connection slots")
"""What a server says that takes no connection now."""


def connect(location: Location, *, patience: float, read_only: bool = False) -> Engine:
    """An engine for a database. Nothing is opened before the first use.

    Args:
        location: of the database.
        patience: seconds to wait for a lock, and for a connection, where the URL does not say how long.
        read_only: open it for reading, each transaction on one snapshot; a writer begins every transaction by taking
            the lock, so that what it looks up cannot change before what it inserts.

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
        if not read_only:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    engine = create_engine("postgresql+psycopg://", creator=opened, pool_pre_ping=True, hide_parameters=True)
    event.listen(engine, "begin", begin)
    return engine


def may_pass(error: DBAPIError) -> bool:
    """Whether the database may take tomorrow what it refused today."""
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    if (state := getattr(error.orig, "sqlstate", None)) is not None:
        return _PASSING.match(state) is not None
    # Of what goes wrong while it connects, libpq tells the words only. FATAL is what a server says.
    words = str(error.orig)
    return "FATAL" not in words or _BUSY.search(words) is not None
