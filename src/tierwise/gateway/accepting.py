"""Accepts connections in batches. uvloop accepts one per turn of its loop, so that newcomers wait while it is busy."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

from tierwise.gateway.tls import HANDSHAKE_SECONDS

MOST_PER_TURN = 32
"""Connections that are accepted in one turn of the event loop; the others wait in the kernel's queue. Each brings a
request, for which the events of open streams wait: with 128 of them, for a tenth of a second in every turn.
"""
PAUSE_SECONDS = 0.25
"""Time without accepting after the process, or the system, ran out of what a connection needs."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LOG = logging.getLogger("tierwise")


class Acceptor:
    """Accepts the connections of one listening socket, and closes none that it accepted.

    While there are no file descriptors left, it pauses, and newcomers wait in the kernel's queue.

    Args:
        listener: a listening socket. It is made non-blocking, and not closed.
        protocol: makes the protocol of a connection.
        tls: of new connections; None for plain ones.
    """

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._protocol = protocol
        self.tls = tls
        """May be replaced: connections that are open keep theirs."""
        self._shaking_hands: set[socket.socket] = set()
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._opening: set[asyncio.Task[object]] = set()
        self._has_warned = False
        self._loop.add_reader(listener, self._accept)

    async def close(self) -> None:
        """Accept no more, and wait until every accepted connection has its protocol, which can then be told to end.

        Cancelling would lose connections: one that is cancelled on its way has a protocol that never hears of its end.
        Of those in a handshake no request can be lost, so they are ended.
        """
        if self._pause is None:
            self._loop.remove_reader(self._listener)
        else:
            self._pause.cancel()
        for accepted in self._shaking_hands:
            with suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(*self._opening, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(MOST_PER_TURN):
            try:
                accepted, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._wait(error)
                    return
                continue  # the client has left already
            opening = self._loop.create_task(self._open(accepted))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        is_open = False
        try:
            with suppress(OSError):
                if self.tls is None:
                    await self._loop.connect_accepted_socket(self._protocol, accepted)
                else:
                    await self._shake_hands(accepted, self.tls)
                is_open = True
        finally:
            if not is_open:
                accepted.close()

    async def _shake_hands(self, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        """Open a connection with TLS. One that does not finish its handshake in time is closed, without a word."""
        self._shaking_hands.add(accepted)
        try:
            await self._loop.connect_accepted_socket(
                self._protocol, accepted, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS
            )
        finally:
            self._shaking_hands.discard(accepted)

    def _wait(self, error: OSError) -> None:
        """Leave newcomers in the kernel's queue for a while: the listener would be reported ready in every turn."""
        if not self._has_warned:
            self._has_warned = True
            _LOG.error("connections wait: %s; raise the limit of open files (ulimit -n)", error.strerror)
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)
