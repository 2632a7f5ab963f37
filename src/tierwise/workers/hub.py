"""What the supervisor passes on between the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from tierwise.gateway.added_metrics import Family, added, counts_of, read_families
from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError
from tierwise.workers.channel import Channel
from tierwise.workers.observing import OBSERVER

_SECONDS = 1.5
"""How long a worker may take to answer another; it may be busy, or dying."""
_COMMIT_SECONDS = 5.0
_AGAIN_SECONDS = 0.02
"""Pause until a worker that ended is replaced."""


class Hub:
    """The supervisor's ends of all channels.

    Args:
        restart: called with the number of an engine's process, its URL and the reason if a worker asks for a restart.
        left: called with the numbers of a worker and of a version of the config file whose requests there have ended.
        changed: called with a version, a deployment of it, and what a worker found changed about its engine.
        own: the supervisor's own metrics.
    """

    def __init__(
        self,
        restart: Callable[[int, str, str], None],
        left: Callable[[int, int], None] = lambda *_: None,
        changed: Callable[[int, str, str], None] = lambda *_: None,
        own: Callable[[], list[Family]] = list,
    ) -> None:
        self._restart, self._left, self._changed, self._own = restart, left, changed, own
        self._channels: dict[int, Channel] = {}
        self._listening: set[int] = set()
        self._new_listener = asyncio.Event()
        self._version = 0
        self._void: list[Any] = []
        """Certificates of this version that do not hold any more: a worker that is forked later must know."""
        self._evidence: dict[str, Any] = {}
        """What shadowing says of routes."""
        self._counts: dict[int, dict[str, Family]] = {}
        """The metrics of each worker as they were last told, by name."""
        self._departed: list[Family] = []
        """Counts of workers that have ended."""

    def channel(self, number: int, first: Iterable[tuple[str, Any]] = ()) -> Channel:
        """The channel of a new worker.

        Args:
            number: the worker's, from 0.
            first: what it is told before anything else.
        """
        channel = Channel(
            {
                "listening": lambda _: self._listens(number),
                "gather": partial(self._gather, number),
                "restart": lambda told: self._restart(*told),
                "void": lambda told: self._voided(number, told),
                "session": lambda told: self.tell("session", told, but=number),
                "left": lambda version: self._left(number, version),
                "shadow": self._to_observer,
                "evidence": lambda told: self._known(number, told),
                "changed": lambda told: self._changed(*told),
                "counted": partial(self._counted, number),
            }
        )
        self._channels[number] = channel
        for about, body in first:
            channel.tell(about, body)
        for one in self._void:
            channel.tell("void", one)
        channel.tell("evidence", self._evidence)
        return channel

    @property
    def numbers(self) -> list[int]:
        """Of the workers that run."""
        return list(self._channels)

    def tell(self, about: str, body: Any = None, *, but: int | None = None) -> None:
        """Tell all workers, or all but one."""
        for number, channel in self._channels.items():
            if number != but:
                channel.tell(about, body)

    async def prepare(self, version: int, packed: bytes, *, seconds: float) -> list[Any]:
        """Have all workers make a version ready, also those that start meanwhile; when this returns, all that run have.

        Args:
            version: its number.
            packed: all that they need.
            seconds: how long they may take.

        Returns:
            Its certificates that do not hold, as any of them says.

        Raises:
            TierwiseError: a worker could not, or did not in time. All are told to let go of it.
        """
        ready: dict[Channel, list[Any]] = {}
        try:
            while missing := [each for each in self._channels.items() if each[1] not in ready]:
                await self._ask_ready(missing, packed, now() + seconds, ready)
                if any(channel not in ready for channel in self._channels.values()):
                    await asyncio.sleep(_AGAIN_SECONDS)  # one has ended, and is about to be replaced
        except BaseException:
            self.tell("abort", version)
            raise
        found: list[Any] = []
        for channel in self._channels.values():
            found += [one for one in ready[channel] if one not in found]
        return found

    async def _ask_ready(
        self, asked: list[tuple[int, Channel]], packed: bytes, until: float, ready: dict[Channel, list[Any]]
    ) -> None:
        async def ask(number: int, channel: Channel) -> None:
            answer = await channel.ask("prepare", packed, seconds=max(0.0, until - now()))
            if isinstance(answer, str):
                raise TierwiseError(f"worker {number}: {answer}")
            if answer is not None:
                ready[channel] = answer
            elif now() >= until:
                raise TierwiseError(f"worker {number} has not made the new config ready in time")

        try:
            async with asyncio.TaskGroup() as group:
                for number, channel in asked:
                    group.create_task(ask(number, channel))
        except* TierwiseError as failures:
            raise failures.exceptions[0] from None

    def commit(self, version: int, void: list[Any]) -> None:
        """Have all workers, which have made it ready, serve a version from now on, and know what does not hold."""
        self.tell("commit", [version, void])
        self._version, self._void = version, [[version, *one] for one in void]

    async def committed(self) -> None:
        """Wait until all workers serve what they were told to; not long for one that is busy, and will."""
        channels = list(self._channels.values())
        await asyncio.gather(*(channel.ask("committed", seconds=_COMMIT_SECONDS) for channel in channels))

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
        self._departed = added([self._departed, counts_of(self._counts.pop(number, {}).values())])

    def _listens(self, number: int) -> None:
        self._listening.add(number)
        self._new_listener.set()

    def _voided(self, number: int, told: Any) -> None:
        if told in self._void:
            return
        if told[0] == self._version:
            self._void.append(told)
        self.tell("void", told, but=number)

    def _to_observer(self, told: Any) -> None:
        if (channel := self._channels.get(OBSERVER)) is not None:
            channel.tell("shadow", told)

    def _known(self, number: int, told: Any) -> None:
        self._evidence = told
        self.tell("evidence", told, but=number)

    def _counted(self, number: int, families: Any) -> None:
        """A worker tells metrics; those that are not among them are as they were."""
        if number in self._channels:
            self._counts.setdefault(number, {}).update((one.name, one) for one in read_families(families))

    async def _gather(self, number: int, asked: Any) -> list[Any]:
        about, body = asked
        others = [other for other in self._channels if other != number]
        if about == "metrics":
            self._counted(number, body)
        answers = await asyncio.gather(*(self._asked(other, about, body) for other in others))
        found = {other: answer for other, answer in zip(others, answers, strict=True) if answer is not None}
        if about != "metrics":
            return list(found.values())
        silent = [list(one.values()) for other, one in self._counts.items() if other != number and other not in found]
        return [*found.values(), *silent, self._departed, self._own()]

    async def _asked(self, number: int, about: str, body: Any) -> Any:
        answer = await self._channels[number].ask(about, body, seconds=_SECONDS)
        if about == "metrics" and answer is not None:
            self._counted(number, answer)  # at once: what it tells next is newer
        return answer
