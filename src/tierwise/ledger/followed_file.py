"""A file that is followed while its name may be moved, replaced or deleted."""

from __future__ import annotations

import os
from pathlib import Path

_BY_PATH = getattr(os, "O_PATH", 0)
"""Linux. Closing such a descriptor does not release the locks of the process, which SQLite relies on."""


class FollowedFile:
    """The file that a path named when this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, _BY_PATH | os.O_CLOEXEC) if _BY_PATH else None
        self._identity = identity_of(path)

    @property
    def is_in_place(self) -> bool:
        """Whether the path still names this file."""
        return self._identity is not None and identity_of(self._path) == self._identity

    @property
    def is_deleted(self) -> bool:
        """Whether the file has no name any more; False where the system cannot tell."""
        return self._descriptor is not None and os.fstat(self._descriptor).st_nlink == 0

    @property
    def whereabouts(self) -> str:
        """What became of the file, for messages."""
        if self.is_deleted:
            return "was deleted or replaced"
        if self._descriptor is None:
            return "was moved, replaced or deleted"
        try:
            return f"was moved to {Path(f'/proc/self/fd/{self._descriptor}').readlink()}"
        except OSError:
            return "was moved"

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def identity_of(path: Path | str) -> tuple[int, int] | None:
    """Device and inode; None if there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - every request asks, and a Path takes longer
    except OSError:
        return None
    return found.st_dev, found.st_ino
