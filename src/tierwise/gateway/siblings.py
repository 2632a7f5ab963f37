"""The other processes that serve the same endpoint, if there are any (`tierwise serve --workers`)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from tierwise import service as running
from tierwise.certificate import certificates_of

if TYPE_CHECKING:
    from tierwise.certificate import Certificate
    from tierwise.engines.engine import Engine
    from tierwise.engines.occupancy import Occupancy
    from tierwise.gateway.metrics import Metrics
    from tierwise.plan import Plan
    from tierwise.service import Service


class Ending:
    """When the process shall finish what runs, and when it shall stop at once."""

    def __init__(self) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()

    def hear_signals(self) -> None:
        """Count termination signals."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.hear)

    def hear(self) -> None:
        """Finish; the second time stop at once."""
        (self.second if self.first.is_set() else self.first).set()


class Lends(Protocol):
    """Keeps responses that other processes may need."""

    def lent(self, names: Sequence[str], owner: str) -> list[tuple[str, float, bytes, tuple[bytes, ...]]]:
        """What another process needs of some responses."""

    def delete(self, response: str, owner: str) -> bool:
        """Drop a response. Returns whether it was stored."""


class Siblings(Protocol):
    """What a process of the endpoint shares with the others."""

    @property
    def number(self) -> int:
        """Which of the processes this is, from 0."""

    @property
    def count(self) -> int:
        """How many processes serve the endpoint, this one included."""

    def ending(self) -> Ending:
        """When this process shall end; called in its event loop."""

    def engines(self, plan: Plan) -> Mapping[str, Engine]:
        """The engine of every process of a plan, by name, not started."""

    def certificates(self, plan: Plan) -> Mapping[str, Certificate]:
        """The certificates of a plan's routes, by route."""

    def observing(self, plan: Plan, service: Service) -> Service:
        """The service with what observes its routes."""

    def occupancies(self) -> Mapping[str, Occupancy]:
        """Occupancies by deployment that are shared with others; deployments that are missing have their own."""

    def join(self, service: Service, metrics: Metrics, store: Lends) -> None:
        """This process is about to serve: what the others ask of it is answered from these."""

    def listening(self, scheme: str, host: str, port: int) -> None:
        """This process accepts connections."""

    async def gather(self, about: str, body: Any = None) -> list[Any]:
        """Ask all others. Returns the answers of those that have one, after 2 s at most."""


class Alone:
    """No other process serves the endpoint."""

    number, count = 0, 1

    def ending(self) -> Ending:
        """It ends by its own signals."""
        ending = Ending()
        ending.hear_signals()
        return ending

    def engines(self, plan: Plan) -> Mapping[str, Engine]:
        """They are launched here."""
        return running.build(plan)

    def certificates(self, plan: Plan) -> Mapping[str, Certificate]:
        """As their files are now."""
        return certificates_of(plan)

    def observing(self, plan: Plan, service: Service) -> Service:
        """It is done here."""
        return replace(service, shadows=running.shadows_of(plan, service))

    def occupancies(self) -> Mapping[str, Occupancy]:
        """None is shared."""
        return {}

    def join(self, service: Service, metrics: Metrics, store: Lends) -> None:
        """Nobody asks."""

    def listening(self, scheme: str, host: str, port: int) -> None:
        """Print the line that scripts wait for."""
        announce(scheme, host, port)

    async def gather(self, about: str, body: Any = None) -> list[Any]:  # noqa: ARG002 - as `Siblings`
        """Nobody answers."""
        return []


def announce(scheme: str, host: str, port: int) -> None:
    """Print the line that scripts wait for."""
    print(f"serving on {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)  # noqa: T201
