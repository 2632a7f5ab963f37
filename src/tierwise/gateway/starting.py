"""Starts requests, a few in a turn of the event loop: the events of open streams wait for a turn, not for a crowd."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

MOST_PER_TURN = 4
"""Requests that are started in one turn. Each takes a quarter of a millisecond until its engine is asked."""


class Starter:
    """Starts what has come in the order in which it came, and all of it in the turn in which it came if that is little.

    Args:
        loop: whose turns are counted.
    """

    __slots__ = ("_loop", "_room", "_waiting")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._room = MOST_PER_TURN
        """How many more this turn may start."""
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def start(self, begin: Callable[..., object], *args: Any) -> None:
        """Call a function now, or in one of the next turns if others were before it."""
        if not self._room:
            self._waiting.append((begin, args))
            return
        if self._room == MOST_PER_TURN:
            self._loop.call_soon(self._next_turn)
        self._room -= 1
        begin(*args)

    def _next_turn(self) -> None:
        count = min(MOST_PER_TURN, len(self._waiting))
        self._room = MOST_PER_TURN - count
        if count:
            self._loop.call_soon(self._next_turn)
        for _ in range(count):
            begin, args = self._waiting.popleft()
            begin(*args)
