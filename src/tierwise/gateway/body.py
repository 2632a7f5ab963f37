"""Reads request bodies: JSON only, of bounded size, compressed or not."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Protocol

from tierwise.gateway.decoding import ValueCounter
from tierwise.gateway.exchange import HungUp
from tierwise.spec import limits
from tierwise.spec.errors import BodyTooLarge, NotJson, SpecError

if TYPE_CHECKING:
    from starlette.types import Receive

    from tierwise.gateway.headers import RequestHeaders

MOST_BYTES = limits.BODY_BYTES
BODY_SECONDS = 120.0
"""Time limit for receiving a body. Without it, a stalled body would block draining forever."""

_STEP_BYTES = 256 * 1024  # decompressed at a time, in about a millisecond; other requests run in between
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class BodySource(Protocol):
    """Where a body comes from."""

    @property
    def whole(self) -> bytes | None:
        """The body, if all of it has come; else it is read by `part`."""
        ...

    async def part(self) -> tuple[bytes, bool]:
        """What has come since the last call, and whether more is to come; waits for it.

        Raises:
            HungUp: the client has disconnected.
        """
        ...


class AsgiBody:
    """The body of an ASGI request, as a `BodySource`."""

    whole = None

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def part(self) -> tuple[bytes, bool]:
        """The next message of the request."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise HungUp
        return message.get("body", b""), message.get("more_body", False)


async def read_body(source: BodySource, headers: RequestHeaders) -> bytes | bytearray:
    """The body of a request, decompressed.

    Raises:
        HungUp: the client disconnected.
        NotJson: it is not declared as JSON, or its encoding is not read.
        BodyTooLarge: it has more than `MOST_BYTES`.
        SpecError: it did not arrive in time, cannot be decompressed, or has too many JSON values.
    """
    if headers.content_type != "application/json":
        _require_json(headers.content_type)
    encoding = headers.content_encoding.lower()
    if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
        raise NotJson(f"content-encoding {encoding!r} is not read; send the body as gzip or deflate, or uncompressed")
    if encoding in {"", "identity"}:
        return await _received(source, ValueCounter())
    return await _decompressed(await _received(source, None), ValueCounter())


def _require_json(content_type: str) -> None:
    """A web page of another origin may send any other type without asking."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        return
    seen = f"is {kind!r}" if kind else "is missing"
    raise NotJson(f"the header content-type {seen}; send the body as `content-type: application/json`")


async def _received(source: BodySource, counter: ValueCounter | None) -> bytes | bytearray:
    if (whole := source.whole) is not None and len(whole) <= min(MOST_BYTES, limits.VALUES):
        return whole  # it cannot have more values than bytes
    body = bytearray()  # grows in place: joining many parts at the end would take long
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                part, more = await source.part()
                if len(body) + len(part) > MOST_BYTES:
                    raise _too_large()
                if counter is not None:
                    counter.add(part)
                body += part
                if not more:
                    return body
    except TimeoutError:
        raise SpecError(f"the body stopped after {len(body)} bytes; it must arrive within {BODY_SECONDS:g} s") from None


async def _decompressed(body: bytes | bytearray, counter: ValueCounter) -> bytearray:
    """A gzip or zlib stream, in steps: a body of a few kilobytes may hold gigabytes."""
    stream = zlib.decompressobj(_GZIP_OR_ZLIB)
    found = bytearray()
    try:
        while not stream.eof:
            if not body:
                raise SpecError("the compressed body ends too early; send all of it")
            part = stream.decompress(body, _STEP_BYTES)
            body = stream.unconsumed_tail
            if len(found) + len(part) > MOST_BYTES:
                raise _too_large()
            counter.add(part)
            found += part
            await asyncio.sleep(0)
    except zlib.error as error:
        raise SpecError(f"the body cannot be decompressed: {error}") from error
    if stream.unused_data:
        raise SpecError(f"{len(stream.unused_data)} bytes follow the compressed body; send one gzip member")
    return found


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {MOST_BYTES // 2**20} MiB; send less, or give images as URLs")
