"""Lets a few requests begin or end in a turn of the event loop: the events of open streams do not wait for a crowd."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

MOST_PER_TURN = 4
"""Requests that begin or end in one turn: a quarter of a millisecond each, until the engine is asked, or at the end
until usage and ledger are written.
"""


class Pacer:
    """Gives turns in the order in which they were asked for, at once if few were.

    Args:
        loop: whose turns are counted.
    """

    __slots__ = ("_loop", "_room", "_waiting")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._room = MOST_PER_TURN
        """How many more this turn of the loop has."""
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def start(self, begin: Callable[..., object], *args: Any) -> None:
        """Call a function now, or in one of the next turns."""
        if self._takes():
            begin(*args)
        else:
            self._waiting.append((begin, args))

    async def turn(self) -> None:
        """Go on now, or in one of the next turns."""
        if not self._takes():
            waiter = self._loop.create_future()
            self._waiting.append((_go_on, (waiter,)))
            await waiter

    def _takes(self) -> bool:
        """Whether this turn has room for one more; then it is taken."""
        if not self._room:
            return False
        if self._room == MOST_PER_TURN:
            self._loop.call_soon(self._next_turn)
        self._room -= 1
        return True

    def _next_turn(self) -> None:
        count = min(MOST_PER_TURN, len(self._waiting))
        self._room = MOST_PER_TURN - count
        if count:
            self._loop.call_soon(self._next_turn)
        for _ in range(count):
            call, args = self._waiting.popleft()
            call(*args)


def _go_on(waiter: Future[None]) -> None:
    if not waiter.done():  # else it was cancelled
        waiter.set_result(None)
