"""Where a ledger may be, for tests that hold wherever it is: a SQLite file, or a database of a private PostgreSQL."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tierwise.ledger.location import locate

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place:
    """One ledger. Made anew from `where` in other processes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.location = locate(where)

    @property
    def is_file(self) -> bool:
        return self.location.path is not None

    @property
    def path(self) -> Path:
        """The SQLite file."""
        assert self.location.path is not None
        return self.location.path

    @property
    def journal(self) -> Path:
        return self.location.journal

    def execute(self, statement: str) -> list[tuple]:
        """What a statement gives, when it is run past the ledger's own code."""
        with contextlib.closing(self._connection()) as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

    def stored(self) -> set[str]:
        """The ids in the database, whatever its journals hold."""
        return {row[0] for row in self.execute("select id from actions")}

    def left_over(self) -> list[str]:
        """Names of the files beside the database."""
        folder = self.journal.parent
        return sorted(file.name for file in folder.iterdir() if file != self.location.path) if folder.is_dir() else []

    def journals(self) -> list[Path]:
        """Those that hold something."""
        return [file for file in self.journal.parent.glob("*.pending.jsonl") if file.stat().st_size]

    def clear(self) -> None:
        """Take the ledger away."""
        if self.is_file:
            for file in self.path.parent.glob(f"{self.path.name}*"):
                file.unlink()
        else:
            self.execute("drop schema public cascade; create schema public")

    @contextlib.contextmanager
    def locked(self) -> Iterator[sqlite3.Connection | Any]:
        """Hold the lock that writers take, in a transaction that comes to nothing."""
        with contextlib.closing(self._connection()) as connection:
            if self.is_file:
                connection.execute("begin immediate")
            else:
                connection.execute("begin")
                connection.execute("select pg_advisory_xact_lock(x'7469657277697365'::bigint)")
            yield connection

    def _connection(self) -> sqlite3.Connection | Any:
        if self.is_file:
            return sqlite3.connect(self.path, isolation_level=None)
        import psycopg  # noqa: PLC0415 - only where there is PostgreSQL

        return psycopg.connect(self.location.url, autocommit=True)


def on_a_small_disk(command: list, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with a disk of 4 MB at a folder; skips the test where no such disk can be made."""
    namespaces = ["unshare", "--mount", "--user", "--map-root-user"]
    if subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no user namespaces here")
    mount_and_run = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
    whole = [*namespaces, "sh", "-c", mount_and_run, "sh", folder, *command]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=120)


def fill(folder: Path, *, leaving: int = 0) -> Path:
    """A file that takes what the disk of a folder has, but for some bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
        file.truncate(max(0, file.tell() - leaving))
    return ballast


def here() -> Place:
    """In a program that a test starts: the place that it was given."""
    return Place(sys.argv[1])
