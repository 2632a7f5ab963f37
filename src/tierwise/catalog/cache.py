"""The user's cache folder: what lies where, how a file is known to be good, and who may write. Nothing here knows
where bytes come from.

    checkpoints/SHA256[:16]/NAME.gguf    finished files and folders, by what they hold
    manifests/SHA256[:16].txt            what a folder's hash is made of: a line `HASH  PATH` for each file
    rewritten/DIGEST/NAME.gguf           copies with another number of active experts; safe to delete while none runs
    sources/DIGEST.json                  the hash that an unpinned source turned out to have
    verified/DIGEST.json                 a file's hash, with the size and time it had then, so that it is hashed once
    partial/DIGEST/, partial/DIGEST.lock what a pull has so far; safe to delete while none runs
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tierwise.catalog.errors import CheckpointError

if TYPE_CHECKING:
    from hashlib import _Hash

Digest: TypeAlias = "_Hash"
Progress: TypeAlias = Callable[[int, int | None, str], None]
"""Told `done_bytes, total_bytes, what`; a new `what` starts a new count, `None` means that no total is known."""
Report: TypeAlias = Callable[[int, int | None], None]
"""A `Progress` whose `what` is settled."""

BLOCK = 4 << 20
"""Bytes between two looks at the event loop: 5 ms of hashing."""


def silent(done_bytes: int, total_bytes: int | None, what: str) -> None:
    """Progress that nobody watches."""


def cache_folder() -> Path:
    """`$TIERWISE_CACHE`, else `$XDG_CACHE_HOME/tierwise`, else `~/.cache/tierwise`."""
    if chosen := os.environ.get("TIERWISE_CACHE"):
        return Path(chosen).expanduser().absolute()
    # The XDG specification says that a relative path is to be ignored.
    if (shared := Path(os.environ.get("XDG_CACHE_HOME", ""))).is_absolute():
        return shared / "tierwise"
    return Path.home() / ".cache" / "tierwise"


def short_digest(*words: str) -> str:
    """16 hex digits that name a folder or a note after `words`."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]


def sealed_hash(path: Path, cache: Path) -> str | None:
    """The file's SHA-256, if it was computed before and size and time are still what they were; reads no weights."""
    try:
        note = json.loads(_seal_of(path, cache).read_bytes())
        untouched = (note["size"], note["mtime_ns"]) == _look(path)
    except (OSError, ValueError, LookupError, TypeError):  # never sealed, a torn note, or no such file
        return None
    return str(note["sha256"]) if untouched else None


async def verified_hash(path: Path, cache: Path, report: Report) -> str:
    """The file's SHA-256, computed only if it is not remembered."""
    if known := sealed_hash(path, cache):
        return known
    before = _look(path)  # taken first: a file that changes while it is read must not look sealed afterwards
    digest = await hash_of(path, before[0], report)
    _write_seal(path, before, digest.hexdigest(), cache)
    return digest.hexdigest()


def seal(path: Path, sha256: str, cache: Path) -> None:
    """Remember a hash that was computed while the file was written."""
    _write_seal(path, _look(path), sha256, cache)


def _look(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in nanoseconds: what tells a touched file without reading it."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _write_seal(path: Path, look: tuple[int, int], sha256: str, cache: Path) -> None:
    note = {"path": str(path.absolute()), "size": look[0], "mtime_ns": look[1], "sha256": sha256}
    write_whole(_seal_of(path, cache), json.dumps(note))


def _seal_of(path: Path, cache: Path) -> Path:
    return cache / "verified" / f"{short_digest(str(path.absolute()))}.json"


async def hash_of(path: Path, size: int, report: Report) -> Digest:
    """Hash the first `size` bytes without holding up the event loop."""
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
    """Replace a small file so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    with fresh.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    move(fresh, path)


def move(source: Path, target: Path) -> None:
    """Rename within the cache, and make the new name outlive a power cut."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@asynccontextmanager
async def sole_worker(lock: Path, waiting: Callable[[str], None]) -> AsyncIterator[None]:
    """Let one process at a time work on what `lock` stands for; the kernel frees it when its holder dies.

    Args:
        lock: a file that is never deleted, since a waiter may hold it open.
        waiting: told once who is ahead of us, when somebody is.
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
    """Fail before the disk does.

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
