"""A new file that is whole or absent, and that never takes the place of another."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from tierwise.spec.errors import SpecError

_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK)
"""What a file system says that has no hard links."""


def require_new(path: Path) -> None:
    """Find out before anything is asked or paid for that a file can be made.

    Raises:
        SpecError: there is one already, or its folder cannot be written.
    """
    if path.exists() or path.is_symlink():
        raise _exists(path)
    folder = path.parent
    if not folder.is_dir():
        state = "is no folder" if folder.exists() else "does not exist"
        raise SpecError(f"{folder} {state}; make it first, or name another file with --out", field="--out")
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_new(path: Path, text: str) -> None:
    """Write a file under a name that is free: under another name first, which is then linked and taken away.

    Raises:
        SpecError: there is one of that name by now, or it cannot be written; nothing is left behind then.
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
    """Give a file its name. A link fails where the name is taken, which a rename would not."""
    try:
        os.link(fresh, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        fresh.replace(path)


def _umask() -> int:
    """The permissions that new files are not given; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _exists(path: Path) -> SpecError:
    return SpecError(
        f"{path} is there already, and nothing is written over; name another file with --out", field="--out"
    )


def _unwritable(path: Path, error: OSError) -> SpecError:
    return SpecError(
        f"{path} cannot be written: {error.strerror or error}; name a place that you may write with --out",
        field="--out",
    )
