"""Where a line is safe before the database has it: files beside the database that outlive the process.

A line is in the kernel's page cache when `append` returns, so `kill -9` cannot lose it; a power cut can, as it can the
last commits of SQLite in WAL mode. That a process lives is told by a lock and not by its id: in containers ids repeat.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Segment:
    """One file of lines, locked for as long as the process that fills it lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._size = 0

    @classmethod
    def create(cls, path: Path) -> Segment:
        """A new file, which takes its name only when it is locked, so that nobody takes it for a dead process's."""
        unnamed = path.with_name(f".{path.name}.new")
        descriptor = os.open(unnamed, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """The file of a dead process, now ours; None when the process lives, or the file is gone or forbidden."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except (FileNotFoundError, PermissionError):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def append(self, line: bytes) -> None:
        """Add a line that ends in a newline, whole or not at all.

        Raises:
            OSError: it was not added; the disk is full, say.
        """
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._size += written

    def lines(self) -> Iterator[bytes]:
        """From the first on; the last lacks its newline when its process died while writing it."""
        with open(self._descriptor, "rb", closefd=False) as file:  # the name may be gone, the file is not
            file.seek(0)
            yield from file

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self._size = 0

    def discard(self) -> None:
        """Give the file up, with all that is in it."""
        self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Leave the file to whoever opens the ledger next."""
        os.close(self._descriptor)


class Journal:
    """Two segments that take turns: one is filled while the lines of the other are stored. Not thread-safe."""

    def __init__(self, database: Path) -> None:
        stem = f"{database.name}.{os.getpid()}.{secrets.token_hex(4)}"
        self._filling, self._storing = (
            Segment.create(database.with_name(f"{stem}{half}.pending.jsonl")) for half in ("a", "b")
        )

    def append(self, line: bytes) -> None:
        """As `Segment.append`."""
        self._filling.append(line)

    def turn(self) -> Segment:
        """Fill the other segment, which must have been cleared, and return the one that was filled until now."""
        self._filling, self._storing = self._storing, self._filling
        return self._storing

    def discard(self) -> None:
        self._filling.discard()
        self._storing.discard()

    def release(self) -> None:
        """Leave both files to whoever opens the ledger next."""
        self._filling.release()
        self._storing.release()


def orphans(database: Path) -> list[Segment]:
    """The segments that dead processes left beside a database, oldest first; the caller discards or releases them."""
    adopted = (Segment.adopt(path) for path in sorted(segments(database), key=_modified))
    return [segment for segment in adopted if segment is not None]


def segments(database: Path) -> list[Path]:
    """The files of journals beside a database, of living processes and of dead ones."""
    name = re.compile(re.escape(database.name) + r"\.\d+\.[0-9a-f]{8}[ab]\.pending\.jsonl")
    return [path for path in database.parent.iterdir() if name.fullmatch(path.name)]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
