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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from tierwise.gateway import session_page
from tierwise.gateway.added_metrics import Family, counts_of, families_of
from tierwise.gateway.pages import ledger_standing
from tierwise.gateway.server import serve
from tierwise.gateway.siblings import Ending
from tierwise.workers.channel import Channel
from tierwise.workers.following import Following, Place
from tierwise.workers.observing import Observing

if TYPE_CHECKING:
    from tierwise.certificate import Certificate
    from tierwise.engines.engine import Engine
    from tierwise.engines.occupancy import Occupancy
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.siblings import Lends
    from tierwise.plan import Plan
    from tierwise.service import Service
    from tierwise.shadowing import Shadows

_LOG = logging.getLogger("tierwise")
COUNT_SECONDS = 1.0
"""Pause between two reports of what was counted: so much is lost of it if a worker is killed."""
_LAST_SECONDS = 4.0
"""How long a worker may take to record what it runs once the supervisor is gone."""


class Worker:
    """As `gateway.siblings.Siblings`.

    Args:
        place: which of the workers this is.
    """

    def __init__(self, place: Place) -> None:
        self.number, self.count = place.number, place.count
        self._ending = Ending()
        self._void: list[Any] = []
        """What was told before the routes were there."""
        self._metrics: Metrics | None = None
        self._store: Lends | None = None
        self._observing = Observing(place.number, self._tell)
        self.following = Following(
            place, self._observing, self._restart, lambda version: self.channel.tell("left", version)
        )
        self.channel = Channel(
            {
                "drain": lambda _: self._ending.first.set(),
                "stop": lambda _: self._stop(),
                "engines": self.following.told,
                "begin": self.following.begin,
                "prepare": self.following.prepare,
                "abort": self.following.abort,
                "commit": self.following.commit,
                "committed": lambda _: True,
                "void": self._voided,
                "session": self._session_kept,
                "shadow": lambda told: self._observing.take(self._shadows, told),
                "labels": lambda asked: self._observing.labels(self._shadows, asked),
                "evidence": self._observing.learn,
                "metrics": self._tell_metrics,
                "loads": self._tell_loads,
                "ledger": self._tell_ledger,
                "running": self._tell_running,
                "responses": self._lend,
                "forget": self._forget,
            }
        )

    def _tell(self, about: str, body: Any) -> None:
        self.channel.tell(about, body)

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
        return self.following.engines(plan)

    def certificates(self, plan: Plan) -> Mapping[str, Certificate]:  # noqa: ARG002 - it is that of the supervisor
        """As the supervisor read them."""
        return self.following.first.certificates

    def observing(self, plan: Plan, service: Service) -> Service:
        """One worker keeps the evidence."""
        return self._observing.observing(plan, service)

    @property
    def _shadows(self) -> Shadows | None:
        return self.following.service.shadows if self.following.services else None

    def occupancies(self) -> Mapping[str, Occupancy]:
        """Those of all deployments: a second is divided among the passes of all workers."""
        return self.following.occupancies(self.following.first)

    def _restart(self, run: int, url: str, reason: str) -> None:
        self.channel.tell("restart", [run, url, reason])

    def join(self, service: Service, metrics: Metrics, store: Lends) -> None:
        """As `Siblings.join`."""
        if self._metrics is None:
            self._counting = asyncio.create_task(self._count(metrics))
        self._metrics, self._store = metrics, store
        version = self.following.serve(service)
        certified, void, self._void = service.router.certified, self._void, []
        for about, route, reason in void:
            if about == version:
                certified.void(route, reason)
        for route, reason in certified.void_ones():
            self.channel.tell("void", [version, route, reason])
        certified.when_void = lambda route, reason: self.channel.tell("void", [version, route, reason])
        certified.when_changed = lambda name, what: self.channel.tell("changed", [version, name, what])
        for name, tier in service.router.tiers.items():
            tier.sessions.when_kept = partial(self._tell_session, version, name)

    def _tell_session(self, version: int, tier: str, session: str, word: str, until: float) -> None:
        self.channel.tell("session", [version, tier, session, word, until])

    def listening(self, scheme: str, host: str, port: int) -> None:  # noqa: ARG002 - the supervisor says where
        """The supervisor is told."""
        self.channel.tell("listening")

    async def gather(self, about: str, body: Any = None) -> list[Any]:
        """As `Siblings.gather`."""
        return await self.channel.ask("gather", [about, body]) or []

    def _voided(self, told: Any) -> None:
        version, route, reason = told
        if not self.following.services:
            self._void.append(told)
        elif (service := self.following.services.get(version)) is not None:
            service.router.certified.void(route, reason)

    def _session_kept(self, told: Any) -> None:
        version, tier, session, word, until = told
        if (service := self.following.services.get(version)) is not None:
            service.router.tiers[tier].sessions.learn(session, word, until)

    def _lend(self, asked: Any) -> Any:
        return None if self._store is None else self._store.lent(*asked)

    def _forget(self, asked: Any) -> bool | None:
        return None if self._store is None else self._store.delete(*asked)

    def _tell_metrics(self, _: Any) -> Any:
        if self._metrics is None:
            return None
        self._metrics.refresh()
        return families_of(self._metrics.registry)

    def _tell_loads(self, _: Any) -> Any:
        return None if self._metrics is None else self._metrics.loads()

    async def _count(self, metrics: Metrics) -> None:
        """Tell the supervisor what was counted, so that little is lost if this process is killed."""
        told: dict[str, Family] = {}
        while True:
            await asyncio.sleep(COUNT_SECONDS)
            new = [one for one in counts_of(families_of(metrics.registry)) if told.get(one.name) != one]
            told.update((one.name, one) for one in new)
            self.channel.tell("counted", new)
            self._observing.report(self._shadows)

    def _tell_ledger(self, _: Any) -> Any:
        if not self.following.services or (ledger := self.following.service.ledger) is None:
            return None
        return ledger_standing(ledger.health())

    def _tell_running(self, session: Any) -> Any:
        return session_page.told_of(
            session, self.following.service.ledger if self.following.services else None, self._metrics
        )


def work(
    place: Place, connected: socket.socket, settings: ServerSettings, ledger: str | Path, *, content: bool
) -> None:
    """Serve until the supervisor says so, or is gone.

    Args:
        place: which of the workers this is.
        connected: its end of the channel.
        settings: how it is served.
        ledger: the ledger.
        content: whether it stores requests and answers.
    """

    async def main() -> None:
        worker = Worker(place)
        following = asyncio.create_task(worker.channel.run(connected))
        following.add_done_callback(lambda task: None if task.cancelled() else worker.gone())
        await asyncio.wait(
            (following, beginning := asyncio.create_task(worker.following.has_begun.wait())),
            return_when=asyncio.FIRST_COMPLETED,
        )
        beginning.cancel()
        if following.done():
            return
        first = worker.following.first
        serving = asyncio.create_task(
            serve(
                first.plan,
                settings,
                place.listener,
                ledger,
                first.tls,
                content=content,
                siblings=worker,
                exchange_with=worker.following.exchange_with,
            )
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
