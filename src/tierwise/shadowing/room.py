"""Whether a shadow may use its engines: users come first, and a shadow that they meet is stopped.

What is looked at: our own passes, at the moment at which one begins; and what the engines say of their queues, before a
shadow begins and twice a second while it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tierwise.engines.metrics import scrape_now
from tierwise.run.tier import reach

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.engines.metrics import MetricsPage
    from tierwise.engines.occupancy import PartOfOccupancy
    from tierwise.run.tier import Tier

QUEUE_SECONDS = 0.5
"""Between two looks at the engines' queues while a shadow runs."""
LONGEST_PAUSE = 4.0
"""Seconds for which engines have to be quiet before a shadow begins, at most."""
_FIRST_PAUSE = 0.5


@dataclass(frozen=True, slots=True)
class _Used:
    place: Deployment
    part: PartOfOccupancy
    """The shadow's passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The engines of one shadow.

    Attributes:
        tiers: the reference tier and those that it asks, on slots that no user's pass had when this was made.
        used: their engines, by name.
        idle: engines that no user may use meanwhile, by name, those that are used included.
    """

    tiers: Mapping[str, Tier]
    used: Mapping[str, _Used]
    idle: Mapping[str, Deployment]

    @classmethod
    def of(cls, reference: str, tiers: Mapping[str, Tier], *, is_alone: bool) -> Room:
        """The room of a shadow.

        Args:
            reference: the tier that it asks.
            tiers: all tiers.
            is_alone: whether it may run only while no user's pass runs in any deployment.
        """
        reached = reach(reference, tiers)
        places = {place.name: place for tier in reached for place in tier.deployments}
        used = {name: _Used(place, place.occupancy.part()) for name, place in places.items()}
        every = {place.name: place for tier in tiers.values() for place in tier.deployments}
        return cls(
            tiers={tier.name: _narrowed(tier, used) for tier in reached},
            used=used,
            idle=every if is_alone else {},
        )

    def needed(self) -> str:
        """Which room users need that the shadow has, or would have with its next pass; empty if none."""
        for name, one in self.used.items():
            if not one.place.occupancy.has_room(one.place.slots, one.part.own):
                return f"users need every slot of {name}"
        for name, place in self.idle.items():
            own = self.used[name].part.own if name in self.used else 0
            if place.occupancy.running > own:
                return f"a user's pass runs in {name}"
        return ""

    async def occupied(self) -> str:
        """Why no shadow may begin now; empty if it may. Takes at most a second."""
        for name, one in self.used.items():
            if (state := one.place.engine.health().state) != "ready":
                return f"{name} is {state}"
        for name, values in (await scrape_now(self._pages())).items():
            if values is None:
                return f"{name} did not say in time whether requests wait in it"
            if values.get("requests_waiting", 0) > 0:
                return f"requests wait in {name}"
        return self.needed()

    async def watch_queues(self, stop: Callable[[str], None]) -> None:
        """While a shadow runs: call `stop` with the reason once requests wait in an engine. Runs until cancelled.

        A request that waits may be the shadow's own, as long as the engine has not taken it in. So fewer than it has
        passes count only at two looks in a row. An engine that does not answer in time says nothing: it may compute a
        long prompt, which must not decide which shadows end.
        """
        before: set[str] = set()
        while self._pages():
            await asyncio.sleep(QUEUE_SECONDS)
            waiting = {
                name: values.get("requests_waiting", 0)
                for name, values in (await scrape_now(self._pages())).items()
                if values
            }
            for name, count in waiting.items():
                if count > self.used[name].part.own or (count > 0 and name in before):
                    stop(f"requests wait in {name}")
            before = {name for name, count in waiting.items() if count > 0}

    @contextmanager
    def watched(self, stop: Callable[[str], None]) -> Generator[None]:
        """During the block, call `stop` with the reason as soon as a user's pass begins that needs the room."""

        def look() -> None:
            if why := self.needed():
                stop(why)

        places = {**self.idle, **{name: one.place for name, one in self.used.items()}}
        with ExitStack() as stack:
            for place in places.values():
                stack.enter_context(place.occupancy.watched(look))
            yield

    def _pages(self) -> dict[str, MetricsPage]:
        found = {name: one.place.engine.health().page for name, one in self.used.items()}
        return {name: page for name, page in found.items() if page is not None}


def _narrowed(tier: Tier, used: Mapping[str, _Used]) -> Tier:
    """The same tier on the slots that are free now, so that its own passes never wait; they are counted apart."""

    def free(place: Deployment) -> Deployment:
        left = max(1, place.occupancy.free(place.slots))
        return replace(place, slots=left, occupancy=used[place.name].part)

    graders = {name: free(place) for name, place in tier.graders.items()}
    return replace(tier, deployment=free(tier.deployment), graders=graders)


@dataclass(slots=True)
class Pace:
    """For how long the engines of a route have to be quiet before its next shadow begins: twice as long after each that
    was stopped, half as long after each that ended. It knows nothing of the action whose turn it is, so it does not
    choose among them.
    """

    pause: float = 0.0
    _quiet_since: float | None = field(default=None, init=False)

    def is_over(self, now: float, *, is_quiet: bool) -> bool:
        """Whether the pause is over, after a look at the engines.

        Args:
            now: in seconds of a monotonic clock.
            is_quiet: what was seen.
        """
        if not is_quiet:
            self._quiet_since = None
            return False
        if self._quiet_since is None:
            self._quiet_since = now
        return now - self._quiet_since >= self.pause

    def yielded(self) -> None:
        """A shadow was stopped."""
        self._quiet_since = None
        self.pause = min(LONGEST_PAUSE, max(_FIRST_PAUSE, 2 * self.pause))

    def ended(self) -> None:
        """A shadow ran to its end."""
        self.pause = self.pause / 2 if self.pause > _FIRST_PAUSE else 0.0
