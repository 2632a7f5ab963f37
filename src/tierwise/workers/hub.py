"""What the supervisor passes on between the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from tierwise.engines.process.followed import Standing
from tierwise.gateway.added_metrics import Family, added, counts_of, read_families
from tierwise.workers.channel import Channel

_SECONDS = 1.5
"""How long a worker may take to answer another; it may be busy, or dying."""


class Hub:
    """The supervisor's ends of all channels.

    Args:
        restart: called with the deployment, the URL and the reason if a worker asks for a restart.
    """

    def __init__(self, restart: Callable[[str, str, str], None]) -> None:
        self._restart = restart
        self._channels: dict[int, Channel] = {}
        self._listening: set[int] = set()
        self._new_listener = asyncio.Event()
        self._void: list[Any] = []
        """Certificates that do not hold any more: a worker that is forked later must know."""
        self._counts: dict[int, list[Family]] = {}
        """The metrics of each worker when they were last read."""
        self._departed: list[Family] = []
        """Counts of workers that have ended."""

    def channel(self, number: int, standings: Mapping[str, Standing]) -> Channel:
        """The channel of a new worker. It is told these standings first.

        Args:
            number: the worker's, from 0.
            standings: of the engines' processes.
        """
        channel = Channel(
            {
                "listening": lambda _: self._listens(number),
                "gather": partial(self._gather, number),
                "restart": lambda told: self._restart(*told),
                "void": lambda told: self._voided(number, told),
                "session": lambda told: self.tell("session", told, but=number),
            }
        )
        self._channels[number] = channel
        channel.tell("engines", msgspec.to_builtins(dict(standings)))
        for one in self._void:
            channel.tell("void", one)
        return channel

    def tell(self, about: str, body: Any = None, *, but: int | None = None) -> None:
        """Tell all workers, or all but one."""
        for number, channel in self._channels.items():
            if number != but:
                channel.tell(about, body)

    async def all_listen(self, count: int) -> None:
        """Wait until so many workers accept connections."""
        while len(self._listening) < count:
            self._new_listener.clear()
            await self._new_listener.wait()

    def listens(self, number: int) -> bool:
        """Whether a worker accepts connections."""
        return number in self._listening

    def ended(self, number: int) -> None:
        """A worker has ended: what it counted stays."""
        self._channels.pop(number, None)
        self._listening.discard(number)
        self._departed = added([self._departed, counts_of(self._counts.pop(number, []))])

    def _listens(self, number: int) -> None:
        self._listening.add(number)
        self._new_listener.set()

    def _voided(self, number: int, told: Any) -> None:
        if told not in self._void:
            self._void.append(told)
            self.tell("void", told, but=number)

    async def _gather(self, number: int, asked: Any) -> list[Any]:
        about, body = asked
        others = {other: channel for other, channel in self._channels.items() if other != number}
        answers = await asyncio.gather(*(channel.ask(about, body, seconds=_SECONDS) for channel in others.values()))
        found = {other: answer for other, answer in zip(others, answers, strict=True) if answer is not None}
        if about != "metrics":
            return list(found.values())
        for other, one in {number: body, **found}.items():
            if other in self._channels:
                self._counts[other] = read_families(one)
        silent = [one for other, one in self._counts.items() if other != number and other not in found]
        return [*found.values(), *silent, self._departed]
