"""Files into a sandbox and out of it. What comes out is data: no link of it is followed, and none is made."""

from __future__ import annotations

import asyncio
import io
import shlex
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tierwise.environments.sandbox import Ended, Sandbox
from tierwise.spec.errors import TierwiseError

SECONDS = 600.0


class TransferError(TierwiseError):
    """A file could not be copied; the message is that of the sandbox."""


async def upload(sandbox: Sandbox, source: Path, target: str, *, keep: Callable[[str], bool] = lambda _: True) -> None:
    """Copy a file to a path, or what a folder contains into a folder, which is made.

    Args:
        sandbox: that gets it.
        source: a file or a folder of this machine; links in it stay links.
        target: an absolute path there.
        keep: whether a path below the folder is wanted.
    """
    packed, mode = await asyncio.to_thread(_pack, source, keep)
    if mode is None:
        command = f"mkdir -p {shlex.quote(target)} && tar -xf - --no-same-owner -C {shlex.quote(target)}"
    else:
        parent, place = (shlex.quote(one) for one in (str(PurePosixPath(target).parent), target))
        command = f"mkdir -p {parent} && cat > {place} && chmod {mode:o} {place}"
    _check(await sandbox.run(command, cwd="/", stdin=packed, seconds=SECONDS), f"{source} to {target}")


async def download(sandbox: Sandbox, source: str, target: Path) -> None:
    """Copy a file to a path of this machine, whose folder is made.

    Raises:
        TransferError: there is no such file.
    """
    await asyncio.to_thread(_write, target, await read(sandbox, source))


async def read(sandbox: Sandbox, path: str) -> bytes:
    """The bytes of a file there.

    Raises:
        TransferError: there is no such file.
    """
    most = sandbox.limits.storage_bytes
    return _check(await sandbox.run(f"cat -- {shlex.quote(path)}", seconds=SECONDS, most_bytes=most), path).stdout


async def download_folder(sandbox: Sandbox, source: str, target: Path) -> list[str]:
    """Copy what a folder contains into a folder, which is made; returns what was left out: links and devices.

    Raises:
        TransferError: there is no such folder.
    """
    command = f"tar -cf - -C {shlex.quote(source)} ."
    most = 2 * sandbox.limits.storage_bytes
    done = _check(await sandbox.run(command, cwd="/", seconds=SECONDS, most_bytes=most), source)
    return await asyncio.to_thread(_unpack, done.stdout, target)


def _check(done: Ended, what: str) -> Ended:
    if done.code:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.code}"
        raise TransferError(f"{what} could not be copied: {said}")
    return done


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


def _pack(folder: Path, keep: Callable[[str], bool]) -> tuple[bytes, int | None]:
    """A folder's archive, or a file's bytes and mode."""
    if not folder.is_dir():
        return folder.read_bytes(), folder.stat().st_mode & 0o777
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if keep(name):
                archive.add(path, name, recursive=False, filter=_owned_by_root)
    return held.getvalue(), None


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _unpack(data: bytes, target: Path) -> list[str]:
    left_out = []
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()):
                left_out.append(member.name)
                continue
            try:
                archive.extract(tarfile.data_filter(member, str(target)), target, filter="data")
            except tarfile.FilterError:
                left_out.append(member.name)
    return left_out
