"""Journal files beside the database: they keep lines that are not in the database yet, across process crashes.

A line is in the kernel's page cache when `append` returns, so it survives `kill -9`; a power failure can lose it until
it is stored. Live processes are recognised by a lock, not by their id, because ids repeat in containers. Files that are
moved or deleted while in use are written again at their place, by the first line `LOOK_SECONDS` after the last look, or
when their lines are stored.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from tierwise.ledger.followed_file import identity_of

LOOK_SECONDS = 0.01
"""For which a file is expected to keep its name: a look at each line would cost more than the line, because both let
the thread that stores lines go on with Python's lock."""

_NOT_OURS = frozenset({errno.ENOENT, errno.EACCES, errno.EPERM, errno.EROFS})
"""Errors of opening the file of another process: it is gone, or we may not write it."""


class Segment:
    """One file of lines, locked while the process that writes it lives."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self._name = path, str(path)
        self._descriptor = descriptor
        self._size = 0
        self._identity = identity_of(path)

    @classmethod
    def create(cls, path: Path) -> Segment:
        """A new file. It gets its name only when it is locked, so that no process adopts it as orphaned."""
        unnamed = path.with_name(f".{path.name}.new")
        descriptor = os.open(unnamed, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unnamed.rename(path)
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """Take over the file of a dead process; None if the process lives, or the file is gone or inaccessible."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            if error.errno in _NOT_OURS:
                return None
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(path, descriptor)

    def append(self, line: bytes) -> None:
        """Append a line that ends in a newline, atomically.

        Raises:
            OSError: it was not appended, for instance because the disk is full.
        """
        written = os.write(self._descriptor, line)
        if written < len(line):
            os.ftruncate(self._descriptor, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._size += written

    def restore(self) -> None:
        """Write the file again at its place if it was moved or deleted, so that the next process finds its lines.

        Raises:
            OSError: it was deleted and cannot be written again.
        """
        if identity_of(self._name) == self._identity:
            return
        try:
            fresh = Segment.create(self.path)
            for line in self.lines():
                fresh.append(line)
        except OSError:  # the folder is gone
            if os.fstat(self._descriptor).st_nlink:
                return  # moved with the folder: its lines are safe there
            raise
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
        vars(self).update(vars(fresh))

    def lines(self) -> Iterator[bytes]:
        """All lines; the last one lacks its newline if its process died while writing it."""
        with open(self._descriptor, "rb", closefd=False) as file:  # the file is open even if its name is gone
            file.seek(0)
            yield from file

    def clear(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self._size = 0

    def discard(self) -> None:
        """Delete the file."""
        self.clear()
        if identity_of(self.path) == self._identity:
            self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Keep the file for the next process that opens the ledger."""
        os.close(self._descriptor)


class Journal:
    """Two alternating segments: one is filled while the lines of the other are stored. Not thread-safe."""

    def __init__(self, database: Path) -> None:
        stem = f"{database.name}.{os.getpid()}.{secrets.token_hex(4)}"
        self._filling, self._storing = (
            Segment.create(database.with_name(f"{stem}{half}.pending.jsonl")) for half in ("a", "b")
        )
        self._look_at = 0.0

    def append(self, line: bytes) -> None:
        """As `Segment.append`."""
        if (now := time.monotonic()) >= self._look_at:
            self._filling.restore()
            self._look_at = now + LOOK_SECONDS
        self._filling.append(line)

    def turn(self) -> Segment:
        """Switch to the other segment, which must be empty, and return the one filled so far."""
        self._filling, self._storing = self._storing, self._filling
        self._look_at = 0.0
        return self._storing

    def discard(self) -> None:
        self._filling.discard()
        self._storing.discard()

    def release(self) -> None:
        """Keep both files for the next process that opens the ledger."""
        self._filling.release()
        self._storing.release()


def orphans(database: Path) -> list[Segment]:
    """The segments left beside a database by dead processes, oldest first; the caller discards or releases them."""
    adopted = (Segment.adopt(path) for path in sorted(segments(database), key=_modified))
    return [segment for segment in adopted if segment is not None]


def segments(database: Path) -> list[Path]:
    """All journal files beside a database, of live and dead processes."""
    name = re.compile(re.escape(database.name) + r"\.\d+\.[0-9a-f]{8}[ab]\.pending\.jsonl")
    return [path for path in database.parent.iterdir() if name.fullmatch(path.name)]


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
