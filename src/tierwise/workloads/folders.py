"""Identifies the folder of a task: its environment and its tests."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def folder_sha256(folder: Path) -> str:
    """The hash of the names and contents of all files in a folder."""
    found = hashlib.sha256()
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        found.update(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(folder).as_posix()}\n".encode()
        )
    return found.hexdigest()
