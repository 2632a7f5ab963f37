"""Hugging Face repositories, through the extra `[hf]`: it knows the user's token, endpoint and own cache; the
bytes come the way all others do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tierwise.catalog.errors import AccessError, CheckpointError
from tierwise.catalog.fetch import Address, fetch

if TYPE_CHECKING:
    from tierwise.catalog.cache import Digest, Report
    from tierwise.catalog.source import Hub, Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of a repository, as the Hub lists it."""

    name: str
    size: int
    sha256: str | None = None
    """Of a large file (LFS)."""
    git_sha1: str | None = None
    """Of a small one: what `git hash-object` prints."""


def in_hub_cache(source: Hub) -> Path | None:
    """The file, if another program brought it through `huggingface_hub` before."""
    require(source)
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - the extra may not be installed

    held = try_to_load_from_cache(source.repository, source.file, revision=source.revision)
    return Path(held) if isinstance(held, str) else None


def require(source: Hub | Repository) -> None:
    """Raises CheckpointError where `huggingface_hub` is not installed."""
    if find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"'{source}' needs the extra [hf]: pip install 'tierwise[hf]', or use a pypi: or file: source"
        )


async def bring_file(source: Hub, target: Path, report: Report, *, sha256: str | None = None) -> Digest:
    """Bring the file to `target`; returns its hash.

    Raises:
        CheckpointError: the hub cannot be reached, or has no such file, revision or repository for this user.
    """
    from huggingface_hub import hf_hub_url  # noqa: PLC0415 - as above

    url = hf_hub_url(source.repository, source.file, revision=source.revision)
    return await _fetch(_address(str(source), url, sha256), target, report)


async def list_files(source: Repository, scratch: Path, report: Report) -> list[Entry]:
    """What the repository holds at its revision; offline, what `huggingface_hub` keeps of it, whole or not.

    The Hub's answer lies at `scratch` meanwhile.

    Raises:
        CheckpointError: as `bring_file`, or the Hub's answer cannot be read.
    """
    from huggingface_hub import constants  # noqa: PLC0415 - as above

    if constants.HF_HUB_OFFLINE and (marker := in_hub_cache(source.file("config.json"))):
        return _entries_of(marker.parent)
    revision = quote(source.revision, safe="")
    url = f"{constants.ENDPOINT}/api/models/{source.repository}/revision/{revision}?blobs=true"
    await _fetch(_address(str(source), url), scratch, report)
    return _read_list(source, scratch)


def _entries_of(folder: Path) -> list[Entry]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [Entry(name=path.relative_to(folder).as_posix(), size=path.stat().st_size) for path in files]


def _read_list(source: Repository, path: Path) -> list[Entry]:
    """`GET /api/models/OWNER/REPO/revision/REVISION?blobs=true`, as huggingface_hub's `model_info` reads it."""
    try:
        return [_entry(file) for file in json.loads(path.read_bytes())["siblings"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"'{source}': the Hub's list of files cannot be read ({error!r})") from error
    finally:
        path.unlink()  # asked anew next time


def _entry(file: dict[str, Any]) -> Entry:
    large = file.get("lfs")
    return Entry(
        name=str(file["rfilename"]),
        size=int(file.get("size") or 0),
        sha256=large["sha256"] if large else None,
        git_sha1=None if large else file.get("blobId"),
    )


async def _fetch(address: Address, target: Path, report: Report) -> Digest:
    try:
        return await fetch(address, target, report)
    except AccessError as error:
        raise AccessError(
            f"{error}: the repository does not exist, is private or asks for an agreement; check its spelling,"
            " accept its terms on the Hub, and log in with `hf auth login` or HF_TOKEN"
        ) from error


def _address(what: str, url: str, sha256: str | None = None) -> Address:
    from huggingface_hub import constants, get_token  # noqa: PLC0415

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(f"'{what}' is not in the cache, and HF_HUB_OFFLINE forbids to fetch it")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return Address(url=url, what=f"'{what}'", sha256=sha256, headers=headers)
