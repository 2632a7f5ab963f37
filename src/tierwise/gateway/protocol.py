"""uvicorn's HTTP protocol, so that a client who leaves is always noticed, and one who sends nothing is not kept."""

from __future__ import annotations

from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from tierwise.gateway.bounded_http import BoundedHttpProtocol

HEAD_SECONDS = 30.0
"""Time limit for the head of a request, from the connection or from its first byte on a kept connection."""
MOST_AHEAD_BYTES = 256 * 1024
"""Bytes of pipelined requests that are read while another request of the connection is answered."""

_REQUEST_BYTES = 1024  # what a queued request counts besides its body


class HttpProtocol(BoundedHttpProtocol):
    """Reads on while requests are pipelined, and tells the running one when the client has left.

    uvicorn stops reading then, so that it notices nothing; and it tells the connection's last request only.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._answering: RequestResponseCycle | None = None
        self._head_timer: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        cycle = self._answering
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            if self._head_timer is None:
                self._await_head()
        elif self._head_timer is not None:
            self._forget_head()
        if self.pipeline and self._ahead() <= MOST_AHEAD_BYTES:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _ahead(self) -> int:
        return sum(len(cycle.body) + _REQUEST_BYTES for cycle, _ in self.pipeline)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
