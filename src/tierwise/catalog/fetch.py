"""Resumable download of one file over HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tierwise.catalog.cache import Digest, Report, hash_of, make_room, readable_size
from tierwise.catalog.errors import AccessError, CheckpointError

if TYPE_CHECKING:
    import aiohttp

CONNECT_SECONDS = 10
SILENCE_SECONDS = 60
WAITS = (0.5, 1, 2, 4, 8, 10, 10)
"""Seconds between attempts without progress; in total, about a minute of network outage."""
WAITS_BEFORE_FIRST_BYTE = 2
"""Number of these waits for a server that never answered, so that a machine without network fails within seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The URL of a file, and what is known of it in advance."""

    url: str
    what: str
    """The file's name in messages; the URL may contain a password."""
    sha256: str | None = None


async def fetch(address: Address, target: Path, report: Report, *, waits: Sequence[float] = WAITS) -> Digest:
    """Download a file to `target`, keep partial downloads, and verify its hash if known.

    Raises:
        AccessError: the server requires credentials, or its certificate is not trusted.
        CheckpointError: the file is unreachable, missing, different from its hash, or too large for the disk.
    """
    # aiohttp takes 0.2 s to import, and is not needed if everything is in the cache.
    import aiohttp  # noqa: PLC0415

    partial = await _Partial.recall(target, report)
    resumed = partial.size > 0
    if not address.sha256 or partial.digest.hexdigest() != address.sha256:
        async with aiohttp.ClientSession(
            trust_env=True,  # proxies and .netrc, as in pip
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS),
            connector=aiohttp.TCPConnector(ssl=_trust()),
        ) as session:
            await _insist(session, address, partial, report, waits)
            if resumed and address.sha256 not in {None, partial.digest.hexdigest()}:
                partial.restart()  # the partial download may be damaged: retry from the start
                await _insist(session, address, partial, report, waits)
        if address.sha256 not in {None, found := partial.digest.hexdigest()}:
            partial.restart()
            raise CheckpointError(
                f"{address.what}: {_host(address)} sent bytes whose SHA-256 is {found}, expected {address.sha256};"
                " the download was deleted; pull again, and if it happens again the mirror is at fault"
            )
    return partial.digest


async def _insist(
    session: aiohttp.ClientSession, address: Address, partial: _Partial, report: Report, waits: Sequence[float]
) -> None:
    """Retry until the file is complete or retries make no progress."""
    import aiohttp  # noqa: PLC0415 - as above

    started_with = most = partial.size
    failures = 0
    while True:
        try:
            await _stream(session, address, partial, report)
        except _OtherFileError:
            partial.restart()
        except (
            aiohttp.ClientConnectorCertificateError,
            aiohttp.ClientConnectorSSLError,
            aiohttp.ClientHttpProxyError,
        ) as error:
            raise AccessError(f"{address.what}: {_host(address)} or a proxy is not trusted ({error})") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            # Compared with the maximum so far: a server that cannot resume and fails early must not loop forever.
            failures = 0 if partial.size > most else failures + 1
            most = max(most, partial.size)
            if failures > (len(waits) if most > started_with else WAITS_BEFORE_FIRST_BYTE):
                reason = str(error) or type(error).__name__
                raise CheckpointError(
                    f"{address.what}: {_host(address)} stopped answering ({reason}); {readable_size(partial.size)} are"
                    " downloaded: pull again to resume"
                    if partial.size
                    else f"{address.what}: {_host(address)} cannot be reached ({reason}); check the network, or use a"
                    " file: source"
                ) from error
            await asyncio.sleep(waits[failures - 1] if failures else 0)
        else:
            return


async def _stream(session: aiohttp.ClientSession, address: Address, partial: _Partial, report: Report) -> None:
    """Append the missing bytes in one attempt."""
    headers = {"Accept-Encoding": "identity"}
    if partial.size:
        headers["Range"] = f"bytes={partial.size}-"
    async with session.get(address.url, headers=headers) as response:
        identity = address.sha256 or response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        first, total = _extent(response)
        same = bool(identity) and identity == partial.identity
        if response.status == 416 and partial.size:
            if same and total == partial.size:
                return
            raise _OtherFileError
        _admit(response, address)
        if response.status == 206 and not (same and first == partial.size):
            raise _OtherFileError
        if response.status == 200:
            partial.restart(identity)
        if total is not None:
            make_room(partial.path.parent, total - partial.size, address.what)
        report(partial.size, total)
        with partial.path.open("ab") as file:
            async for block in response.content.iter_chunked(1 << 20):
                file.write(block)
                partial.took(block)
                report(partial.size, total)


class _OtherFileError(Exception):
    """The server's file differs from the partial download."""


def _host(address: Address) -> str:
    return urlsplit(address.url).hostname or "the server"


def _admit(response: aiohttp.ClientResponse, address: Address) -> None:
    words = response.headers.get("X-Error-Message") or response.reason
    seen = f"{address.what}: {response.url.host} answered {response.status} ({words})"
    if response.status in {401, 403, 407}:
        raise AccessError(seen)
    if response.status in {404, 410}:
        raise CheckpointError(f"{seen}; check the source's spelling and version")
    if response.status in {408, 425, 429} or response.status >= 500:
        response.raise_for_status()
    if response.status not in {200, 206}:
        raise CheckpointError(seen)


def _extent(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """The offset of the body and the size of the whole file, if the server reports them."""
    if found := re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "")):
        first, total = found.groups()
        return int(first) if first else None, int(total) if total != "*" else None
    return 0, response.content_length


def _trust() -> ssl.SSLContext:
    """The system's certificates, including SSL_CERT_FILE, and those configured for pip or requests."""
    context = ssl.create_default_context()
    for variable in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if place := os.environ.get(variable):
            folder = Path(place).is_dir()
            try:
                context.load_verify_locations(cafile=None if folder else place, capath=place if folder else None)
            except OSError as error:
                raise CheckpointError(f"{variable} names {place}, which has no certificates ({error})") from error
            break
    return context


class _Partial:
    """A partial download with its hash, and a note of the file's identity."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.digest: Digest = hashlib.sha256()
        self.identity = ""

    @classmethod
    async def recall(cls, path: Path, report: Report) -> _Partial:
        partial = cls(path)
        partial._reread()
        if partial.size:
            partial.digest = await hash_of(path, partial.size, report)
        return partial

    def _reread(self) -> None:
        self.path.touch()
        self.size = self.path.stat().st_size
        self.identity = self._note.read_text(encoding="utf-8") if self._note.exists() else ""

    @property
    def _note(self) -> Path:
        return self.path.with_name(self.path.name + ".identity")

    def restart(self, identity: str = "") -> None:
        self.path.write_bytes(b"")
        self.size = 0
        self.digest = hashlib.sha256()
        self.identity = identity
        self._note.write_text(identity, encoding="utf-8")

    def took(self, block: bytes) -> None:
        self.size += len(block)
        self.digest.update(block)
