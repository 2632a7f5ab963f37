"""Replaces files in one step. Needs only the standard library, because `tierwise.catalog` runs without any package."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tierwise.spec.errors import TierwiseError


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: after a failure, such as a full disk, the previous file is still there.

    Raises:
        TierwiseError: it cannot be written.
    """
    try:
        write_beside(path, content)
    except OSError as error:
        raise TierwiseError(f"cannot write {path}: {error.strerror or error}") from error


def write_beside(path: Path, content: bytes) -> None:
    """As `replace_file`: write the content to a file beside it, sync that to the disk, and rename it.

    What is no regular file, such as a device or a pipe, is written to as it is. A link stays a link.

    Raises:
        OSError: it cannot be written; the previous file is unchanged, and no other file remains.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            draft.chmod(path.stat().st_mode & 0o7777)
        draft.replace(path)
        sync_folder(path.parent)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk, so that a rename survives a power failure.

    Raises:
        OSError: it cannot be synced.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
