"""The protocol of a source, apart from its members so that a new one is one file and one line in the table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.workloads.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeTasks:
    """What a source made."""

    tasks: tuple[Task, ...]
    version: str
    """Of its package, or what its file was."""
    notes: tuple[str, ...] = ()
    """What whoever uses these tasks should know."""


class Suite(Protocol):
    """Makes the tasks of a known suite, the same ones from the same settings."""

    def make(self, base: Path) -> MadeTasks:
        """Make them; files are looked for from `base`.

        Raises:
            SpecError: a setting is impossible, a package or a file is missing, or is not the one that is pinned.
        """


def pinned_bytes(path: Path, sha256: str | None, what: str) -> bytes:
    """The bytes of a file, once they are known to be those that are wanted.

    Raises:
        SpecError: there is no such file, or it is another one.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{what} cannot be read from {path}: {error.strerror or error}", field="file") from error
    found = hashlib.sha256(raw).hexdigest()
    if sha256 is not None and found != sha256.lower():
        raise SpecError(
            f"{path} is not the {what} that is pinned: its SHA-256 is {found}, {sha256.lower()} is wanted",
            field="sha256",
        )
    return raw
