"""One connection of our client of HTTP/1.1: the callbacks of the event loop and of the parser."""

from __future__ import annotations

import asyncio
import os
import socket
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

import aiohttp
import httptools

from tierwise.spec.limits import HEAD_BYTES

KEEP_SECONDS = 15.0
"""For which an idle connection is kept."""
GATHERED_BYTES = 64 * 1024
"""Bytes of a body after which a reader is woken who waits for its end."""
HELD_BYTES = 256 * 1024
"""Bytes of a body that may wait for their reader; then the server has to."""
_JOINED_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_INFLATED_BYTES = 256 * 1024


class InvalidHttp(aiohttp.ClientResponseError):
    """What came is no response of HTTP/1.1 that we can read."""

    def __init__(self, message: str) -> None:
        super().__init__(cast("aiohttp.RequestInfo", None), (), message=message)

    def __str__(self) -> str:
        return self.message


class Keeper(Protocol):
    """Whose connections they are."""

    def keep(self, connection: Connection) -> None:
        """One is idle, and may be used again."""

    def forget(self, connection: Connection) -> None:
        """One is lost."""

    def gathered(self, seconds: float) -> None:
        """An answer was gathered for so long."""


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    __slots__ = (
        "_blocks",
        "_counted",
        "_ending",
        "_ends_with_connection",
        "_gathers",
        "_has_head",
        "_has_parsed",
        "_head_bytes",
        "_idle_since",
        "_is_lost",
        "_is_paused",
        "_keeps_alive",
        "_parser",
        "_pool",
        "_silence",
        "_silent_seconds",
        "_unparsed",
        "_waiter",
        "_waits_since",
        "encoding",
        "error",
        "has_spoken",
        "held",
        "is_complete",
        "is_idle",
        "loop",
        "on_body",
        "pairs",
        "place",
        "sleeps",
        "status",
        "take_on",
        "transport",
    )

    def __init__(self, pool: Keeper, place: tuple[str, int], loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.place = place
        self.status = 0
        self.pairs: list[tuple[bytes, bytes]] = []
        """The headers of the response; names in lower case."""
        self.encoding = b""
        """The content encoding that they name; empty for none."""
        self.held = 0
        """Bytes of the body that wait for their reader."""
        self.error: Exception | None = None
        self.is_complete = False
        self.has_spoken = False
        """Whether anything came after the request."""
        self.is_idle = True
        self._pool = pool
        self._blocks: list[bytes] = []
        self.on_body = self._blocks.append
        """The parser's callback, often one for each event of a stream: `data_received` counts what it was given."""
        self._parser = httptools.HttpResponseParser(self)
        # As aiohttp's, for servers whose HTTP is not quite that.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._waiter: asyncio.Future[None] | None = None
        self._waits_since: float | None = None
        self._silence: asyncio.TimerHandle | None = None
        self.take_on: Callable[[bytes], bool] | None = None
        """Takes each block of the body in place of a reader, who is woken when it returns false."""
        self._ending: asyncio.TimerHandle | None = None
        """Closes it unless its response is complete in time, which nobody reads any more."""
        self._is_lost = False
        self._is_paused = False
        self._gathers = False
        self.sleeps = False
        """Whether it is told only of much, or of the end."""
        self._idle_since = 0.0
        self._forget()

    def _forget(self) -> None:
        self.status, self.pairs, self.encoding, self.held, self._counted = 0, [], b"", 0, 0
        self.is_complete = self.has_spoken = False
        self._blocks.clear()
        self._has_head = self._has_parsed = self._ends_with_connection = self._keeps_alive = False
        self._head_bytes = self._unparsed = 0

    # ── a request ────────────────────────────────────────────────────────
    async def ask(self, parts: list[bytes], silent_seconds: float) -> None:
        """Send a request and wait for the head of the response.

        Raises:
            aiohttp.ClientError: as `HttpPool.post`.
        """
        self._forget()
        self.is_idle = False
        self._silent_seconds = silent_seconds
        silent_at = self.loop.time() + silent_seconds
        if self._silence is None or self._silence.when() > silent_at:
            self._stop_looking()
            self._silence = self.loop.call_at(silent_at, self._check)
        try:
            if len(parts) > 2 or len(parts[-1]) > _JOINED_BYTES:
                self.transport.writelines(parts)
            else:
                self.transport.write(b"".join(parts))  # one system call costs less than a vector of two parts
            while not self._has_head:
                self.require()
                await self.something()
        except BaseException:
            self.release()
            raise

    def require(self) -> None:
        """Raise the error of the connection, if it has one."""
        if self.error is not None:
            raise self.error

    async def wait(self, until: float | None = None, *, since: float | None = None, gathers: bool = False) -> None:
        """Wait for something to come, or for a time of the event loop.

        Args:
            until: the time; None to wait for any length of time.
            since: when the wait began, if this goes on with one.
            gathers: wait for the end of the response, for many bytes of it, or for what ends it.
        """
        waiter = self.something(gathers=gathers)
        if since is not None:
            self._waits_since = since
        timer = None if until is None else self.loop.call_at(until, self._wake)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()

    def something(self, *, gathers: bool = False) -> asyncio.Future[None]:
        """Done when something has come; `gathers` as of `wait`."""
        self._waiter = waiter = self.loop.create_future()
        self._waits_since = self.loop.time()
        self._gathers = gathers
        return waiter

    def take(self) -> bytes:
        """What has come of the body."""
        blocks, self.held, self._counted = self._blocks, 0, 0
        block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        blocks.clear()
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        return block

    def sleep_until_end(self) -> None:
        """Be told of what comes when it is much, or when the server closes the connection, if it said that it will."""
        if not self._keeps_alive and not self.is_complete:
            self._be_told_of(GATHERED_BYTES)

    def wake_for_all(self) -> None:
        """Be told of all that comes again, and read what has come, of which nobody is told any more."""
        self._be_told_of(1)
        self.read_now()

    def _be_told_of(self, size: int) -> None:
        self.sleeps = size > 1
        with suppress(OSError):  # one system that has no such mark tells of each event
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def note_gathered(self, seconds: float) -> None:
        """Its answer was gathered for so long."""
        self._pool.gathered(seconds)

    def read_now(self) -> None:
        """Read what the system holds, of which the event loop would tell later."""
        while self.held < HELD_BYTES and not (self.is_complete or self._is_lost or self.transport.is_closing()):
            try:
                data = os.read(self.transport.get_extra_info("socket").fileno(), _READ_BYTES)
            except OSError:  # nothing, most of all
                return
            if not data:
                return  # the event loop will see the end, too
            self.data_received(data)

    def release(self) -> None:
        """End the request: keep the connection if its response is complete, else close it."""
        if not (self.is_complete and self._keeps_alive and self.may_be_used):
            self.abort()
            return
        self._blocks.clear()
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        self.is_idle = True
        self._idle_since = self.loop.time()
        self._pool.keep(self)

    def release_soon(self, seconds: float) -> None:
        """`release` it as soon as its response is complete. What still comes of that is dropped; after so many seconds
        the connection is closed.
        """
        if self.is_complete or not self.may_be_used:
            self.release()
        else:
            self._ending = self.loop.call_later(seconds, self.abort)

    def _stop_ending(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def abort(self) -> None:
        self._fail(aiohttp.ServerDisconnectedError("the connection was closed here"))

    @property
    def may_be_used(self) -> bool:
        return self.error is None and not self._is_lost and not self.transport.is_closing()

    @property
    def is_fresh(self) -> bool:
        """Whether it has not been idle for long."""
        return self.loop.time() - self._idle_since < KEEP_SECONDS

    def _stop_looking(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _check(self) -> None:
        """End a response whose server has been silent while it was waited for. One timer looks after all requests of a
        connection: it comes early for the later ones, and then looks again.
        """
        self._silence = None
        if self.is_idle:
            return
        now = self.loop.time()
        silent_at = (now if self._waits_since is None else self._waits_since) + self._silent_seconds
        if now < silent_at:
            self._silence = self.loop.call_at(silent_at, self._check)
        else:
            self._fail(aiohttp.ServerTimeoutError(f"it sent nothing for {self._silent_seconds:g} s"))

    def _fail(self, error: Exception) -> None:
        if self.error is None:
            self.error = error
        self.transport.abort()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter, self._waits_since = self._waiter, None, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ── callbacks of the event loop ──────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.is_idle:  # nobody asked
            self.abort()
            return
        self.has_spoken = True
        self._has_parsed = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_complete:  # what follows a complete response is nobody's
                self._fail(InvalidHttp(str(error)))
            self._keeps_alive = False
        if self.take_on is not None and len(self._blocks) == 1:  # nearly every event that comes alone
            self._unparsed = 0
            self._give(self._blocks.pop())
            return
        self._count_body()
        self._unparsed = 0 if self._has_parsed else self._unparsed + len(data)
        if self._unparsed > HEAD_BYTES and not self.is_complete:
            self._fail(InvalidHttp(_TOO_LARGE))
        if self._ending is not None:
            if self.is_complete:
                self._stop_ending()
                self.release()
        elif self.take_on is not None:
            self._give(self.take())
        elif self._waiter is not None and (not self._gathers or self.is_complete or self.held >= GATHERED_BYTES):
            self._wake()

    def _give(self, block: bytes) -> None:
        """Give a block, which may be empty, to what takes it in place of a reader."""
        self._waits_since = self.loop.time()
        assert self.take_on is not None  # noqa: S101 - checked by the caller
        if (block and not self.take_on(block)) or self.is_complete:
            self.take_on = None  # what comes before the reader is back waits for him
            self._wake()

    def _count_body(self) -> None:
        """Count what has come of the body. The server has to wait if that is much."""
        if new := self._blocks[self._counted :]:
            self._counted += len(new)
            self._has_parsed = True
            self.held += sum(map(len, new))
            if self.held > HELD_BYTES and not self._is_paused:
                self._is_paused = True
                self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._stop_looking()
        self._stop_ending()
        if not self.is_complete and self.error is None:
            if self._ends_with_connection and exc is None:
                self.is_complete = True
            elif exc is not None:
                self.error = aiohttp.ClientOSError(getattr(exc, "errno", None), str(exc))
            elif self._has_head:
                self.error = aiohttp.ClientPayloadError("Response payload is not completed")
            else:
                self.error = aiohttp.ServerDisconnectedError("Server disconnected")
        self._pool.forget(self)
        self._wake()

    # ── callbacks of the parser ──────────────────────────────────────────
    def on_message_begin(self) -> None:
        if self.is_complete:
            raise ValueError("sent more than its response")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > HEAD_BYTES:
            self.error = InvalidHttp(_TOO_LARGE)
            raise self.error
        if not self._has_head:  # else it is a trailer
            name = name.lower()
            self.pairs.append((name, value))
            if name == b"content-encoding" and not self.encoding:
                self.encoding = value

    def on_headers_complete(self) -> None:
        self._has_parsed = True
        status = self._parser.get_status_code()
        if 100 <= status < 200:  # another head follows
            self.pairs, self.encoding = [], b""
            return
        self.status = status
        self._keeps_alive = self._parser.should_keep_alive()
        names = dict(self.pairs)
        if b"content-length" not in names and b"chunked" not in names.get(b"transfer-encoding", b"").lower():
            self._ends_with_connection = status not in (204, 304)
        self._has_head = True

    def on_message_complete(self) -> None:
        self._has_parsed = True
        self.is_complete = self._has_head


_TOO_LARGE = f"its headers are larger than {HEAD_BYTES >> 10} KiB"


class Inflating:
    """Undoes a compression that nobody asked for, in blocks of a bounded size."""

    def __init__(self, *, may_be_raw: bool) -> None:
        self._inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip, or zlib as `deflate` should be
        self._rest = b""
        self._may_be_raw = may_be_raw
        self._has_any = False

    def take(self, connection: Connection) -> bytes:
        """The next bytes; empty if more have to come first."""
        while self._rest or connection.held:
            data, self._rest = self._rest or connection.take(), b""
            try:
                block = self._inflater.decompress(data, _INFLATED_BYTES)
            except zlib.error as error:
                if not self._may_be_raw:
                    raise aiohttp.ClientPayloadError(f"Can not decode content-encoding: {error}") from error
                self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)  # `deflate` as some servers send it
                self._may_be_raw, self._rest = False, data
                continue
            self._may_be_raw, self._has_any = False, True
            self._rest = self._inflater.unconsumed_tail
            if block:
                return block
        if connection.is_complete and self._has_any and not self._inflater.eof:
            raise aiohttp.ClientPayloadError("Can not decode content-encoding: it ends too early")
        return b""


def inflating(encoding: bytes) -> Inflating | None:
    """What undoes an encoding; None if there is none.

    Raises:
        InvalidHttp: it is none that we know.
    """
    match encoding.strip().lower():
        case b"" | b"identity":
            return None
        case b"gzip" | b"x-gzip" | b"deflate" as known:
            return Inflating(may_be_raw=known == b"deflate")
        case other:
            raise InvalidHttp(f"its content-encoding {other.decode('latin-1')!r} was not asked for")
