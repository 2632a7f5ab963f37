"""A plan brought to life: engines launched, tiers built. The gateway and `tierwise ask` both stand on it."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

from tierwise.catalog import cache_folder, local_path
from tierwise.catalog.weights import weights_of
from tierwise.engines.engine import Deployment, Engine, Site
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Trace
from tierwise.router import Router
from tierwise.run import Tier
from tierwise.spec.clock import now
from tierwise.spec.errors import ConfigErrors, SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

    from tierwise.ledger.store import Ledger
    from tierwise.plan import Plan, PlannedProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that a request needs, up and running."""

    router: Router
    deployments: Mapping[str, Deployment]
    prices: PriceBook
    ledger: Ledger | None
    """None when nobody asked for a ledger."""

    async def start(self) -> None:
        """Start every engine, all at once.

        Raises:
            Broken: one did not come up; its own reason is in the message.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for deployment in self.deployments.values():
                    group.create_task(deployment.engine.start())
        except* TierwiseError as failures:
            raise failures.exceptions[0] from None

    def new_trace(self) -> Trace:
        """An empty trace that begins now."""
        # Not uuid4, which asks the kernel each time.
        return Trace(action=f"act_{random.getrandbits(96):024x}", began=now(), started_at=time())


@asynccontextmanager
async def launched(plan: Plan, *, ledger: Ledger | None = None) -> AsyncGenerator[Service, None]:
    """A service whose engines are about to start (see `Service.start`); leaving the block stops them all.

    Raises:
        SpecError: a checkpoint is not on this machine, or something that an engine needs is not.
    """
    engines = build(plan)
    try:
        yield assemble(plan, engines, ledger)
    finally:
        stops = await asyncio.gather(*(engine.stop() for engine in engines.values()), return_exceptions=True)
        for failure in filter(None, stops):
            raise failure


def log_folder(plan: Plan) -> Path:
    """Where the engines of a plan leave their logs."""
    return cache_folder() / "logs" / plan.path.stem


def build(plan: Plan) -> dict[str, Engine]:
    """The engine of every process, not started, by the process's name.

    Raises:
        ConfigErrors: all that cannot work on this machine.
        SpecError: a checkpoint is not on it.
    """
    if found := misfits(plan):
        raise ConfigErrors(found)
    return {process.name: process.settings.build(process.name, site_of(plan, process)) for process in plan.processes}


def misfits(plan: Plan) -> list[SpecError]:
    """What is right in the file and cannot work with the checkpoints and programs as they lie on this machine."""
    return [
        SpecError(why, field=f"deployments.{name}.{setting}")
        for process in plan.processes
        for name in process.deployments[:1]
        for setting, why in process.settings.misfits(site_of(plan, process))
    ]


def site_of(plan: Plan, process: PlannedProcess) -> Site:
    """Where a process finds its checkpoint and leaves its log."""
    name = process.settings.loads
    model = None if name is None else local_path(plan.checkpoint(name))
    return Site(base=plan.path.parent, logs=log_folder(plan), model=model)


def assemble(plan: Plan, engines: Mapping[str, Engine], ledger: Ledger | None) -> Service:
    """Tiers around engines that run; a route is one of them."""
    deployments = {
        process.name: Deployment(
            name=process.name,
            engine=engines[process.name],
            kind=process.engine,
            weights=None if (loads := process.settings.loads) is None else weights_of(plan.checkpoint(loads)),
            slots=process.settings.slots,
            context=process.settings.context,
        )
        for process in plan.processes
    }
    runs_as = {name: process.name for process in plan.processes for name in process.deployments}
    tiers = {
        name: Tier(
            name=name,
            deployment=deployments[runs_as[plan.deployment_of(name)]],
            policy=tier.policy.member,
            budget=tier.budget,
            sampling=tier.sampling.fields(),
            verifier=tier.policy.verifier,
        )
        for name, tier in plan.tiers.items()
    }
    return Service(
        router=Router(tiers=tiers),
        deployments=deployments,
        prices=PriceBook(plan.file.prices),
        ledger=ledger,
    )
