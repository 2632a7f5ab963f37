"""The protocol of a suite, and what its implementations share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.workloads.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeTasks:
    """The tasks that a suite made."""

    tasks: tuple[Task, ...]
    version: str
    """The version of the suite's package, or the name of its file."""
    notes: tuple[str, ...] = ()
    """Caveats of these tasks."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the user's that was read, by name."""


class Suite(Protocol):
    """Makes the tasks of a known suite. The same settings make the same tasks."""

    def make(self, base: Path) -> MadeTasks:
        """Make the tasks. Paths are relative to `base`.

        Raises:
            SpecError: a setting is invalid, a package or file is missing, or differs from its pin.
        """


def pinned_bytes(path: Path, sha256: str | None, what: str) -> tuple[bytes, str]:
    """A file and its SHA-256, which is checked if it is pinned.

    Raises:
        SpecError: the file cannot be read, or its hash differs.
    """
    with _reading(path, what):
        raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    _check_pin(path, found, sha256, what)
    return raw, found


def pinned_hash(file: BufferedReader, path: Path, sha256: str | None, what: str) -> str:
    """The SHA-256 of an open file, which is checked if it is pinned. The file is never whole in memory.

    Raises:
        SpecError: the file cannot be read, or its hash differs.
    """
    with _reading(path, what):
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _check_pin(path, found, sha256, what)
    return found


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpecError(f"{what} cannot be read from {path}: {error.strerror or error}", field="file") from error


def _check_pin(path: Path, found: str, sha256: str | None, what: str) -> None:
    if sha256 is not None and found != sha256.lower():
        raise SpecError(
            f"{path} is not the pinned {what}: its SHA-256 is {found}, expected {sha256.lower()}",
            field="sha256",
        )
