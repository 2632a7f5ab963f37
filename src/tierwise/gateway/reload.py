"""Reloads the config file while requests run.

A new plan becomes a new service, which shares the engines that both need. It is complete, with its engines ready and
its certificates compared, before anything changes for requests (`preparing.py`); whatever fails until then leaves the
service before serving. Then one step without a wait exchanges the two (`exchanging.py`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.gateway.preparing import Live, or_stopped, prepare, said
from tierwise.service import Service, assemble, new_engines, shadowed_routes, shadows_of, start_all
from tierwise.spec.errors import Stopping, TierwiseError

if TYPE_CHECKING:
    from tierwise.gateway.exchanging import Exchanger
    from tierwise.gateway.reload_metrics import ReloadMetrics
    from tierwise.gateway.tls import Tls
    from tierwise.plan import Plan

_LOG = logging.getLogger("tierwise")


class Reloads:
    """Reloads that have their turns, are counted, and are said in the log.

    Args:
        work: reloads, and returns what is different, in sentences. Raises TierwiseError if nothing changed.
        counts: what became of reloads.
        tls: returns the certificates that are served.
        has_started: set when the first plan has started, before which nothing is reloaded.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[list[str]]],
        counts: ReloadMetrics,
        tls: Callable[[], Tls | None],
        has_started: asyncio.Event,
    ) -> None:
        self._work, self._counts, self._tls, self._has_started = work, counts, tls, has_started
        self._tasks: set[asyncio.Task[list[str]]] = set()

    def request(self) -> None:
        """Reload in the background; the log and the metrics say what became of it."""
        self._spawn().add_done_callback(_heard)

    async def reload(self) -> list[str]:
        """Read the config file and the certificates of TLS again. Reloads have their turns.

        Returns:
            What is different, in sentences.

        Raises:
            TierwiseError: it failed, and nothing changed.
        """
        return await asyncio.shield(self._spawn())  # also if who asked leaves

    async def _reload(self) -> list[str]:
        try:
            await self._has_started.wait()
            lines = await self._work()
        except TierwiseError as error:
            self._failed(str(error))
            raise
        except Exception as error:
            self._failed(repr(error))
            _LOG.error("RELOAD: internal error", exc_info=error)
            raise TierwiseError(f"internal error in Tierwise: {error!r}; see its log") from error
        except asyncio.CancelledError:
            self._failed("the endpoint stops")
            raise
        self._counts.ended("applied", self._tls())
        for line in lines:
            _LOG.info("reload: %s", line)
        return lines

    def _failed(self, why: str) -> None:
        self._counts.ended("failed")
        _LOG.error("RELOAD: failed, and the config before is served on: %s", why)

    def _spawn(self) -> asyncio.Task[list[str]]:
        task = asyncio.get_running_loop().create_task(self._reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End what runs."""
        for task in set(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Reloader:
    """Reloads the config file of an endpoint that one process serves.

    Args:
        exchanger: of the endpoint.
    """

    def __init__(self, exchanger: Exchanger) -> None:
        self._exchanger = exchanger

    async def reload(self) -> list[str]:
        """As `Reloads.reload`."""
        exchanger = self._exchanger
        async with exchanger.turn:
            before = exchanger.live[-1]
            prepared = await asyncio.to_thread(prepare, exchanger.settings, list(exchanger.live))
            plan, kept = prepared.plan, prepared.kept
            if exchanger.is_closing:
                raise Stopping("the endpoint stops; nothing was reloaded")
            new = new_engines(plan, kept)
            async with or_stopped(new):
                await start_all(new.values())
                service = assemble(
                    plan, new, before.service.ledger, prepared.certification, desk=before.service.desk, kept=kept
                )
                service.certify()
                service = await self._observed(before.service, plan, service)
            exchanger.exchange(now := Live(plan, service), prepared.tls)
        return said(before, now, prepared.tls, sorted(new))

    async def _observed(self, before: Service, plan: Plan, service: Service) -> Service:
        """The service with what observes its routes: the same as before if their certificates are."""
        routes = shadowed_routes(plan, service.certificates) if self._exchanger.settings.shadow else {}
        if before.shadows is not None:
            if before.shadows.adopt(routes, service.router, service.prices):
                return replace(service, shadows=before.shadows)
            await before.shadows.stop()  # which stores the evidence, by certificate
        return replace(service, shadows=shadows_of(plan, service)) if routes else service


@asynccontextmanager
async def reloading(reloads: Reloads) -> AsyncGenerator[None]:
    """Reload on SIGHUP during the block; at its end, no reload runs.

    The kernel sends SIGHUP too when the terminal that the endpoint was started in is closed; then it drains.
    """
    loop, had_terminal = asyncio.get_running_loop(), os.isatty(0)

    def hear() -> None:
        if had_terminal and not os.isatty(0):
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            reloads.request()

    loop.add_signal_handler(signal.SIGHUP, hear)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        await reloads.close()


def _heard(task: asyncio.Task[list[str]]) -> None:
    """A reload that nobody waits for; it was logged."""
    if not task.cancelled():
        task.exception()
