"""aiohttp's connection pool, without a fault of its read timeout.

aiohttp 3.14 stops reading while a response is read slowly, and restarts the timeout when it reads on. If the end of the
response was among what it had already received, the timeout then runs on a connection without a request: it expires in
the pool, and the next request on the connection fails at once.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import aiohttp
from aiohttp.client_proto import ResponseHandler


class Connector(aiohttp.TCPConnector):
    """Connections whose read timeout ends with the response."""

    def __init__(self) -> None:
        super().__init__(limit=0)  # the panel and the engine's own queue limit passes
        self._factory = cast("partial[ResponseHandler]", partial(_ResponseHandler, loop=self._loop))


class _ResponseHandler(ResponseHandler):
    def resume_reading(self, resume_parser: bool = True) -> None:
        before = self._read_timeout_handle
        super().resume_reading(resume_parser)
        has_ended = self._payload is not None and self._payload.is_eof()
        if has_ended and self._read_timeout_handle is not before:  # else it is the timeout of the next request
            self._drop_timeout()
