"""uvicorn's HTTP protocol with limits on what is not a body: heads, trailers, chunks and pipelined requests.

uvicorn has no such limits with httptools, which joins a header's value again with every read: 60 MB in one header take
seconds in which nothing else runs.
"""

from __future__ import annotations

import logging
from typing import Any

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tierwise.spec import limits

_REASONS = {400: b"Bad Request", 413: b"Content Too Large", 431: b"Request Header Fields Too Large"}
PROTOCOL_LOG = logging.getLogger("tierwise.http")
"""The log of the connections, from level ERROR on: a warning per bad request costs more than refusing it."""
PROTOCOL_LOG.setLevel(logging.ERROR)
_PER_HEADER = 4  # a colon, a space and the end of the line


class _Refused(Exception):
    """Ends the parsing of a request; httptools reports it as a parser error."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses what exceeds a limit, and closes the connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._refusal: tuple[int, str, str] | None = None
        """Status, code and message of the response to a request that is refused."""
        self._head_bytes = 0
        self._chunks = 0
        self._body_bytes = 0
        self._unread_bytes = 0
        """Bytes since something complete was parsed."""
        self._has_parsed = False

        self.logger = PROTOCOL_LOG

    def data_received(self, data: bytes) -> None:
        self._has_parsed = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade:
            pass  # nothing is upgraded; the request is answered as it is
        self._unread_bytes = 0 if self._has_parsed else self._unread_bytes + len(data)
        if self._unread_bytes > limits.HEAD_BYTES and self._refusal is None:
            self._refusal = _head_too_large()
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be parsed, or the refusal. A response that has begun is cut off instead."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.close()
            return
        status, code, message = self._refusal or (400, "invalid_request", msg)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = msgspec.json.encode({"error": error})
        head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, _REASONS[status], len(body)) + body)
        self.transport.close()

    # ── callbacks of the parser ──────────────────────────────────────────
    def on_message_begin(self) -> None:
        self._has_parsed = True
        self._head_bytes = self._chunks = self._body_bytes = 0
        if len(self.pipeline) >= limits.PIPELINED:
            most = limits.PIPELINED
            self._refuse(400, "too_many_requests", f"more than {most} requests wait on this connection; open others")
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _PER_HEADER
        if self._head_bytes > limits.HEAD_BYTES:
            self._refuse(*_head_too_large())
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def _continue_as_asgi(self) -> None:
        """The head is complete: begin what uvicorn begins with the first byte, and hand it over."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._count_body(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._has_parsed = True
        super().on_message_complete()

    def _count_body(self, part: bytes) -> None:
        self._has_parsed = True
        self._chunks += 1
        self._body_bytes += len(part)
        if self._chunks > limits.FREE_CHUNKS + self._body_bytes // limits.CHUNK_BYTES:
            least = limits.CHUNK_BYTES
            seen = f"the body has {self._chunks:,} chunks of {self._body_bytes:,} bytes"
            self._refuse(413, "body_too_large", f"{seen}; send at least {least} bytes in each")

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > limits.HEAD_BYTES:
            self._refuse(*_head_too_large())

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._refusal = (status, code, message)
        raise _Refused


def _head_too_large() -> tuple[int, str, str]:
    most = limits.HEAD_BYTES // limits.KIB
    message = f"the request's line and headers are larger than {most} KiB; send fewer or shorter headers"
    return 431, "head_too_large", message
