"""Writes new files atomically, without overwriting."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from tierwise.spec.errors import SpecError

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
"""Errors of file systems without hard links."""


def require_new(path: Path) -> None:
    """Check that a file can be created, before any other work.

    Raises:
        SpecError: it exists, or its folder is not writable.
    """
    if path.exists() or path.is_symlink():
        raise _exists(path)
    folder = path.parent
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "does not exist"
        raise SpecError(f"{folder} {state}; create it, or name another file with --out", field="--out")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_new(path: Path, text: str) -> None:
    """Write a new file: under a temporary name first, which is then linked to the final name.

    Raises:
        SpecError: it exists by now, or cannot be written; no temporary file remains.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        _settle(Path(name), path)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _settle(fresh: Path, path: Path) -> None:
    """Link a file to its final name. Unlike a rename, this fails if the name exists."""
    try:
        os.link(fresh, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        fresh.replace(path)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _exists(path: Path) -> SpecError:
    return SpecError(f"{path} exists and is never overwritten; name another file with --out", field="--out")


def _unwritable(path: Path, error: OSError) -> SpecError:
    return SpecError(
        f"{path} cannot be written: {error.strerror or error}; name a writable place with --out",
        field="--out",
    )
