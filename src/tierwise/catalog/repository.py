"""Downloads a Hub repository file by file into one folder, and verifies each file against the Hub's hash."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tierwise.catalog import hub
from tierwise.catalog.cache import Report, make_room, move, seal, verified_hash
from tierwise.catalog.errors import CheckpointError
from tierwise.catalog.folder import needed
from tierwise.catalog.source import Hub, Repository

Doing = Callable[[str, str], Report]
"""Called with a verb and a file; returns a progress callback."""


async def bring_repository(source: Repository, work: Path, cache: Path, doing: Doing) -> Path:
    """A folder under `work` with the repository's files that inference needs; complete files of earlier runs are kept.

    Raises:
        CheckpointError: it cannot be downloaded, or is not a checkpoint that loads as a folder.
    """
    folder = _new_folder(work)
    doing("listing", str(source))(0, None)
    source, entries = await hub.list_files(source)
    listed = {file.name: file for file in entries}
    names = needed(listed)
    _refuse_no_checkpoint(source, list(listed), names)
    waiting = [name for name in names if not await _holds(folder / name, listed[name], cache, doing)]
    make_room(folder, sum(listed[name].size for name in waiting), f"'{source}'")
    for number, name in enumerate(waiting, 1):
        place = f" (file {number} of {len(waiting)})"
        await _bring(source.file(name), listed[name], folder / name, cache, doing, place)
    shutil.rmtree(work / "hub", ignore_errors=True)
    _drop_others(folder, keep=names)
    return folder


def _new_folder(work: Path) -> Path:
    folder = work / "folder"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _drop_others(folder: Path, *, keep: list[str]) -> None:
    """Delete files of an earlier state of a branch."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in keep:
            path.unlink()


def _refuse_no_checkpoint(source: Repository, listed: list[str], names: list[str]) -> None:
    if "config.json" in names:
        return  # other missing files are reported when it is read
    ggufs = sorted(name for name in listed if name.endswith(".gguf"))
    advice = f"; it has GGUF files: name one of them, such as '{source.file(ggufs[0])}'" if ggufs else ""
    raise CheckpointError(f"'{source}' has no config.json, so it does not load as a checkpoint folder{advice}")


async def _bring(source: Hub, file: hub.RepositoryFile, target: Path, cache: Path, doing: Doing, place: str) -> None:
    if held := hub.in_hub_cache(source):
        await asyncio.to_thread(_link_or_copy, held, target)
        found = await verified_hash(target, cache, doing("verifying", file.name + place))
        if file.sha256 in {None, found}:
            return
        # The cached copy is damaged: download it.
    scratch = target.parents[file.name.count("/") + 1] / "hub"
    fetching, verifying = doing("fetching", file.name + place), doing("verifying", file.name + place)
    path, digest = await hub.bring_file(source, scratch, fetching, verifying, listed=file)
    _put(path, target)
    seal(target, digest.hexdigest(), cache)


def _put(download: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    move(download, target)


async def _holds(path: Path, file: hub.RepositoryFile, cache: Path, doing: Doing) -> bool:
    """Whether the file exists and matches the Hub's listing."""
    if _size(path) != file.size:
        return False
    if file.sha256:
        return await verified_hash(path, cache, doing("checking", file.name)) == file.sha256
    return file.git_sha1 == _git_sha1(path)  # small files; large ones have a sha256


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _git_sha1(path: Path) -> str:
    from huggingface_hub.utils.sha import git_hash  # noqa: PLC0415 - the extra may not be installed

    return str(git_hash(path.read_bytes()))


def _link_or_copy(held: Path, target: Path) -> None:
    """Hard-link if possible, because a checkpoint may have a terabyte; else copy."""
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(held.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(held, target)
