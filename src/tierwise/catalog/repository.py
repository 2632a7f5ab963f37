"""A whole repository of the Hub, brought file by file into one folder. Apart from `joined`, which makes one file of
many: here each file arrives alone, and is checked against what the Hub says of it.
"""

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
"""Told a verb and a file; gives where to report how far it is."""


async def bring_repository(source: Repository, work: Path, cache: Path, doing: Doing) -> Path:
    """The folder under `work` with what inference needs of the repository; whole files of an earlier run are kept.

    Raises:
        CheckpointError: it does not come, or is no checkpoint that can be loaded from a folder.
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
    """What an earlier state of a branch left."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in keep:
            path.unlink()


def _refuse_no_checkpoint(source: Repository, listed: list[str], names: list[str]) -> None:
    if "config.json" in names:
        return  # what else may be missing is told by reading it
    ggufs = sorted(name for name in listed if name.endswith(".gguf"))
    advice = f"; it holds GGUF files: name one of them, such as '{source.file(ggufs[0])}'" if ggufs else ""
    raise CheckpointError(f"'{source}' holds no config.json, so it is no checkpoint that loads as a folder{advice}")


async def _bring(source: Hub, file: hub.RepositoryFile, target: Path, cache: Path, doing: Doing, place: str) -> None:
    if held := hub.in_hub_cache(source):
        await asyncio.to_thread(_link_or_copy, held, target)
        found = await verified_hash(target, cache, doing("verifying", file.name + place))
        if file.sha256 in {None, found}:
            return
        # The other program's copy is damaged: ask the Hub.
    scratch = target.parents[file.name.count("/") + 1] / "hub"
    fetching, verifying = doing("fetching", file.name + place), doing("verifying", file.name + place)
    path, digest = await hub.bring_file(source, scratch, fetching, verifying, listed=file)
    _put(path, target)
    seal(target, digest.hexdigest(), cache)


def _put(download: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    move(download, target)


async def _holds(path: Path, file: hub.RepositoryFile, cache: Path, doing: Doing) -> bool:
    """Whether the file is there and is the one that the Hub lists."""
    if _size(path) != file.size:
        return False
    if file.sha256:
        return await verified_hash(path, cache, doing("checking", file.name)) == file.sha256
    return file.git_sha1 == _git_sha1(path)  # small: what is large has a sha256


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _git_sha1(path: Path) -> str:
    from huggingface_hub.utils.sha import git_hash  # noqa: PLC0415 - the extra may not be installed

    return str(git_hash(path.read_bytes()))


def _link_or_copy(held: Path, target: Path) -> None:
    """A second name for the same bytes where the disk can, since a checkpoint may have a terabyte."""
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(held.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(held, target)
