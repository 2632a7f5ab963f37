"""The user's cache folder: its layout, remembered hashes, and locking. Independent of where files come from.

checkpoints/SHA256[:16]/NAME.gguf    complete files and folders, by hash
manifests/SHA256[:16].txt            the input of a folder's hash: a line `HASH  PATH` per file
rewritten/DIGEST/NAME.gguf           copies with another number of active experts; safe to delete while none runs
sources/DIGEST.json                  the hash found for an unpinned source
environments/KEY/, validated/KEY.json  of mining (`tierwise workload from-git`); safe to delete while none runs
verified/DIGEST.json                 a file's hash, with its size and time, so that it is hashed once
partial/DIGEST/, partial/DIGEST.lock partial downloads; safe to delete while no pull runs
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tierwise.catalog.errors import CheckpointError
from tierwise.spec.replacing import sync_folder, write_beside

if TYPE_CHECKING:
    from hashlib import _Hash

Digest: TypeAlias = "_Hash"
Progress: TypeAlias = Callable[[int, int | None, str], None]
"""Called with `done_bytes, total_bytes, what`. A new `what` starts a new count; `None` means an unknown total."""
Report: TypeAlias = Callable[[int, int | None], None]
"""A `Progress` with a fixed `what`."""

BLOCK = 4 << 20
"""Bytes hashed between yields to the event loop: 5 ms."""


def silent(done_bytes: int, total_bytes: int | None, what: str) -> None:
    """A `Progress` that does nothing."""


def cache_folder() -> Path:
    """`$TIERWISE_CACHE`, else `$XDG_CACHE_HOME/tierwise`, else `~/.cache/tierwise`."""
    if chosen := os.environ.get("TIERWISE_CACHE"):
        return Path(chosen).expanduser().absolute()
    # The XDG specification requires that relative paths are ignored.
    if (shared := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return shared / "tierwise"
    return Path.home() / ".cache" / "tierwise"


def short_digest(*words: str) -> str:
    """16 hex digits derived from `words`, for the name of a folder or file."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def sealed_hash(path: Path, cache: Path) -> str | None:
    """The file's remembered SHA-256, if its size and time are unchanged; does not read the file."""
    try:
        note = json.loads(_seal_of(path, cache).read_bytes())
        untouched = (note["size"], note["mtime_ns"]) == _look(path)
    except (OSError, ValueError, LookupError, TypeError):  # never hashed, a torn note, or no such file
        return None
    return str(note["sha256"]) if untouched else None


async def verified_hash(path: Path, cache: Path, report: Report) -> str:
    """The file's SHA-256, computed if it is not remembered."""
    if known := sealed_hash(path, cache):
        return known
    before = _look(path)  # taken first: a file that changes while it is read must not look verified afterwards
    digest = await hash_of(path, before[0], report)
    _write_seal(path, before, digest.hexdigest(), cache)
    return digest.hexdigest()


def file_hash(path: Path, cache: Path) -> str:
    """A file's SHA-256, computed if it is not remembered; blocks. Empty if it cannot be read."""
    if known := sealed_hash(path, cache):
        return known
    try:
        before = _look(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
    with suppress(OSError):  # a cache that cannot be written remembers nothing
        _write_seal(path, before, sha256, cache)
    return sha256


def seal(path: Path, sha256: str, cache: Path) -> None:
    """Remember a hash that was computed while the file was written."""
    _write_seal(path, _look(path), sha256, cache)


def _look(path: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds, which detect changes without reading the file."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _write_seal(path: Path, look: tuple[int, int], sha256: str, cache: Path) -> None:
    note = {"path": str(path.absolute()), "size": look[0], "mtime_ns": look[1], "sha256": sha256}
    write_whole(_seal_of(path, cache), json.dumps(note))


def _seal_of(path: Path, cache: Path) -> Path:
    place = os.path.abspath(path)  # noqa: PTH100 - a/../b is b, and a link is not its target
    return cache / "verified" / f"{short_digest(place)}.json"


async def hash_of(path: Path, size: int, report: Report) -> Digest:
    """Hash the first `size` bytes without blocking the event loop."""
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as stream:

        def step() -> int:
            block = stream.read(min(BLOCK, size - done))
            digest.update(block)
            return len(block)

        while taken := await asyncio.to_thread(step):
            done += taken
            report(done, size)
    return digest


def write_whole(path: Path, text: str) -> None:
    """Replace a small file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_beside(path, text.encode())


def move(source: Path, target: Path) -> None:
    """Rename within the cache, durably across power failures."""
    source.replace(target)
    sync_folder(target.parent)


@asynccontextmanager
async def sole_worker(lock: Path, waiting: Callable[[str], None]) -> AsyncIterator[None]:
    """Hold an exclusive lock between processes; the kernel releases it when the holder dies.

    Args:
        lock: the lock file; never deleted, because a waiting process may have it open.
        waiting: called once with the current holder, if there is one.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    reported = False
    with lock.open("a+", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not reported:
                    file.seek(0)
                    waiting(file.read().strip() or "another process")
                    reported = True
                await asyncio.sleep(0.2)
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


def make_room(folder: Path, needed: int, what: str) -> None:
    """Check for free disk space.

    Raises:
        CheckpointError: `needed` bytes do not fit.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CheckpointError(
            f"{what} needs {readable_size(needed)} more in {folder}, where {readable_size(free)} are free;"
            " free some space, or point TIERWISE_CACHE at a larger disk"
        )


def readable_size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.1f} MB"
