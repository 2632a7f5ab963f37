"""One of several processes that serve a port: what it asks of the supervisor and of the others."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvloop

from tierwise.engines.part import Part
from tierwise.engines.process.followed import FollowedProcess, Standing
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.gateway.added_metrics import families_of
from tierwise.gateway.pages import ledger_standing
from tierwise.gateway.server import serve
from tierwise.gateway.siblings import Ending
from tierwise.service import build
from tierwise.workers.channel import Channel

if TYPE_CHECKING:
    from tierwise.engines.engine import Engine
    from tierwise.engines.occupancy import Occupancy
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.siblings import Lends
    from tierwise.plan import Plan
    from tierwise.service import Service
    from tierwise.workers.shared_occupancy import SharedRoom

_LOG = logging.getLogger("tierwise")
_LAST_SECONDS = 4.0
"""How long a worker may take to record what it runs once the supervisor is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which of the workers one is."""

    number: int
    """From 0."""
    count: int
    """How many workers there are."""
    listener: socket.socket
    """Where it accepts connections."""
    room: SharedRoom
    """The occupancies that all share."""


class Worker:
    """As `gateway.siblings.Siblings`.

    Args:
        place: which of the workers this is.
    """

    def __init__(self, place: Place) -> None:
        self.number, self.count, self._room = place.number, place.count, place.room
        self._ending = Ending()
        self._followed: dict[str, FollowedProcess] = {}
        self._void: list[tuple[str, str]] = []
        """What was told before the routes were there."""
        self._service: Service | None = None
        self._metrics: Metrics | None = None
        self._store: Lends | None = None
        self.channel = Channel(
            {
                "drain": lambda _: self._ending.first.set(),
                "stop": lambda _: self._stop(),
                "engines": self._told,
                "void": self._voided,
                "session": self._session_kept,
                "metrics": self._tell_metrics,
                "ledger": self._tell_ledger,
                "responses": self._lend,
                "forget": self._forget,
            }
        )

    def ending(self) -> Ending:
        """The supervisor says when."""
        return self._ending

    def gone(self) -> None:
        """The supervisor is gone, and the engines with it: what runs is recorded as failed."""
        _LOG.error("worker %d: the supervisor is gone; stopping at once", self.number)
        self._stop()

    def _stop(self) -> None:
        self._ending.first.set()
        self._ending.second.set()

    def engines(self, plan: Plan) -> Mapping[str, Engine]:
        """Engines whose processes the supervisor runs; others are asked at their URL."""
        made = build(plan)
        for name, engine in made.items():
            if isinstance(engine, LaunchedEngine):
                engine.follow(self._process(name), Part(self.number, self.count))
        return made

    def _process(self, name: str) -> FollowedProcess:
        """What the supervisor told of a deployment's process."""
        if name not in self._followed:
            self._followed[name] = FollowedProcess(name, partial(self._restart, name))
        return self._followed[name]

    def _restart(self, name: str, url: str, reason: str) -> None:
        self.channel.tell("restart", [name, url, reason])

    def occupancies(self) -> Mapping[str, Occupancy]:
        """Those of all deployments: a second is divided among the passes of all workers."""
        return {name: self._room.occupancy(name, self.number) for name in self._room.names}

    def join(self, service: Service, metrics: Metrics, store: Lends) -> None:
        """As `Siblings.join`."""
        self._service, self._metrics, self._store = service, metrics, store
        certified = service.router.certified
        for route, reason in self._void:
            certified.void(route, reason)
        certified.when_void = lambda route, reason: self.channel.tell("void", [route, reason])
        for name, tier in service.router.tiers.items():
            tier.sessions.when_kept = partial(self._tell_session, name)

    def _tell_session(self, tier: str, session: str, word: str, until: float) -> None:
        self.channel.tell("session", [tier, session, word, until])

    def listening(self, scheme: str, host: str, port: int) -> None:  # noqa: ARG002 - the supervisor says where
        """The supervisor is told."""
        self.channel.tell("listening")

    async def gather(self, about: str, body: Any = None) -> list[Any]:
        """As `Siblings.gather`."""
        return await self.channel.ask("gather", [about, body]) or []

    def _told(self, standings: Any) -> None:
        for name, standing in msgspec.convert(standings, dict[str, Standing]).items():
            self._process(name).told(standing)

    def _voided(self, told: Any) -> None:
        route, reason = told
        if self._service is None:
            self._void.append((route, reason))
        else:
            self._service.router.certified.void(route, reason)

    def _session_kept(self, told: Any) -> None:
        tier, session, word, until = told
        if self._service is not None and tier in self._service.router.tiers:
            self._service.router.tiers[tier].sessions.learn(session, word, until)

    def _lend(self, asked: Any) -> Any:
        return None if self._store is None else self._store.lent(*asked)

    def _forget(self, asked: Any) -> bool | None:
        return None if self._store is None else self._store.delete(*asked)

    def _tell_metrics(self, _: Any) -> Any:
        if self._metrics is None:
            return None
        self._metrics.refresh()
        return families_of(self._metrics.registry)

    def _tell_ledger(self, _: Any) -> Any:
        if self._service is None or self._service.ledger is None:
            return None
        return ledger_standing(self._service.ledger.health())


def work(
    place: Place, connected: socket.socket, plan: Plan, settings: ServerSettings, ledger: str | Path, *, content: bool
) -> None:
    """Serve until the supervisor says so, or is gone.

    Args:
        place: which of the workers this is.
        connected: its end of the channel.
        plan: the config file.
        settings: how it is served.
        ledger: the ledger.
        content: whether it stores requests and answers.
    """

    async def main() -> None:
        worker = Worker(place)
        following = asyncio.create_task(worker.channel.run(connected))
        following.add_done_callback(lambda task: None if task.cancelled() else worker.gone())
        tls = None if settings.tls is None else settings.tls.load()
        serving = asyncio.create_task(
            serve(plan, settings, place.listener, ledger, tls, content=content, siblings=worker)
        )
        await asyncio.wait((following, serving), return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            _die_later()
        await serving

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def _die_later() -> None:
    """Whatever still hangs, it ends with the process: nothing is left running without the supervisor."""

    def die() -> None:
        time.sleep(_LAST_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=die, daemon=True).start()
