"""A running plan: engines launched and tiers built. Used by the gateway and by `tierwise ask`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from tierwise.catalog import cache_folder, local_path
from tierwise.catalog.weights import weights_of
from tierwise.certificate import Certificate, certificates_of, mismatches, notices, refusals
from tierwise.engines.engine import Deployment, Engine, TellsChanges
from tierwise.engines.occupancy import Occupancy
from tierwise.engines.settings import LaunchContext
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Trace, new_id
from tierwise.router import Router
from tierwise.router.certified import CertifiedRoute, CertifiedRoutes
from tierwise.run import Tier
from tierwise.run.sessions import SessionMemory
from tierwise.shadowing import ShadowedRoute, Shadows
from tierwise.shadowing.memory import KeptTexts, ShadowMemory
from tierwise.spec.clock import now
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import ConfigErrors, SpecError, TierwiseError
from tierwise.spec.stored import StoredResponses

if TYPE_CHECKING:
    from tierwise.keys.desk import Desk
    from tierwise.ledger.store import Ledger
    from tierwise.plan import Plan, PlannedProcess

_LOG = logging.getLogger("tierwise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certification:
    """The certificates of a plan's routes."""

    plan: Plan
    certificates: Mapping[str, Certificate]
    """By route."""
    uncertified: bool = False
    """Whether a route whose certificate does not hold is answered by its safe tier; else it is refused."""

    def differences(self, running: Mapping[str, Deployed] | None = None) -> dict[str, list[str]]:
        """What differs from the certified conditions, by route.

        Args:
            running: the deployments that are ready, by name; None before any is.

        Raises:
            ConfigErrors: something differs, and routes without a certificate that holds are refused.
        """
        found = mismatches(self.plan, self.certificates, running)
        if not self.uncertified and (errors := refusals(self.plan, self.certificates, found)):
            raise ConfigErrors(errors)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything needed to answer requests."""

    router: Router
    deployments: Mapping[str, Deployment]
    prices: PriceBook
    ledger: Ledger | None
    """None if no ledger is kept."""
    certification: Certification | None = None
    """None if no route can have a certificate."""
    shadows: Shadows | None = None
    """Observes the routes with a certificate and `shadow`; None if there are none."""
    desk: Desk | None = None
    """Keys and limits; None if none can be stored."""
    stored: StoredResponses = field(default_factory=StoredResponses)
    """How many responses are kept between requests."""

    @property
    def certificates(self) -> Mapping[str, Certificate]:
        """By route."""
        return {} if self.certification is None else self.certification.certificates

    async def start(self) -> None:
        """Start all engines concurrently, then compare the certificates of routes with them.

        Raises:
            Broken: an engine did not start; the message has its reason.
            ConfigErrors: a certificate does not hold, and its route is not to be answered by its safe tier.
        """
        await start_all(deployment.engine for deployment in self.deployments.values())
        self.certify()
        self.listen()

    def certify(self) -> None:
        """Compare the certificates of routes with the engines, which run.

        Raises:
            ConfigErrors: as `start`.
        """
        if self.certification is not None:
            for route, said in notices(self.certification.plan, self.certification.certificates).items():
                _LOG.info("certificate of route %s: %s", route, said)
            found = self.certification.differences({one.name: one for one in self.deployed()})
            for name, deployment in self.deployments.items():
                for what in deployment.changes:
                    self._add_change(name, what, found)
            self._apply(found)

    def listen(self) -> None:
        """Hear from now on when an engine may have become another."""
        for deployment in self.deployments.values():
            if isinstance(deployment.engine, TellsChanges):
                deployment.engine.when_changed = partial(self._changed, deployment)

    async def _changed(self, deployment: Deployment, what: str) -> None:
        """Compare the certificates again, because an engine was restarted or says that it is another."""
        certification = self.certification
        if certification is None:
            return
        plan = certification.plan
        if not what:
            what = await asyncio.to_thread(_other_weights, plan, deployment)
        found = mismatches(plan, certification.certificates, {one.name: one for one in self.deployed()})
        if what:
            deployment.changes.append(what)
            self.router.certified.when_changed(deployment.name, what)
            self._add_change(deployment.name, what, found)
        for route, reasons in found.items():
            for reason in reasons:
                self.router.certified.void(route, reason)

    def _add_change(self, deployment: str, what: str, found: dict[str, list[str]]) -> None:
        """Add a reason to those of every route that may ask a deployment."""
        assert self.certification is not None  # noqa: S101 - checked by the callers
        plan = self.certification.plan
        for route, reasons in found.items():
            if deployment in {plan.runs_as.get(name, name) for name in plan.reached_deployments(route)}:
                reasons.append(f"deployment {deployment!r} {what}")

    def _apply(self, differences: Mapping[str, Sequence[str]]) -> None:
        for route, reasons in differences.items():
            for reason in reasons:
                self.router.certified.void(route, reason)
            self.router.certified.hold(route)

    def deployed(self) -> list[Deployed]:
        """The current state of all deployments."""
        return [_deployed(deployment, self.router.tiers) for deployment in self.deployments.values()]

    def new_trace(self) -> Trace:
        """An empty trace that starts now."""
        return new_trace()


async def start_all(engines: Iterable[Engine]) -> None:
    """Start engines concurrently.

    Raises:
        Broken: one did not start; the message has its reason.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for engine in engines:
                group.create_task(engine.start())
    except* TierwiseError as failures:
        raise failures.exceptions[0] from None


def new_trace() -> Trace:
    """An empty trace that starts now."""
    started_at = time()
    return Trace(action=new_id(started_at), began=now(), started_at=started_at)


def _other_weights(plan: Plan, deployment: Deployment) -> str:
    """What changed about the checkpoint that a deployment has loaded again; empty if nothing did. Reads no weights."""
    before = deployment.weights
    if before is None or before.sha256 is None:
        return ""
    if weights_of(plan.checkpoint(before.checkpoint)).sha256 == before.sha256:
        return ""
    return "was restarted with a checkpoint that changed on disk since it was hashed; `tierwise pull` computes its hash"


def _deployed(deployment: Deployment, tiers: Mapping[str, Tier]) -> Deployed:
    health = deployment.engine.health()
    return Deployed(
        name=deployment.name,
        tiers=[name for name, tier in tiers.items() if any(one is deployment for one in tier.deployments)],
        engine=deployment.kind,
        weights=deployment.weights,
        slots=deployment.slots,
        context=deployment.context,
        command=health.command,
        facts=dict(health.facts),
        restarts=health.restarts,
        start_seconds=health.start_seconds,
        resident_bytes=health.resident_bytes,
        peak_bytes=health.peak_bytes,
    )


@asynccontextmanager
async def launched(
    plan: Plan,
    *,
    ledger: Ledger | None = None,
    uncertified: bool = False,
    desk: Desk | None = None,
    engines: Callable[[Plan], Mapping[str, Engine]] | None = None,
    occupancies: Mapping[str, Occupancy] | None = None,
    certificates: Mapping[str, Certificate] | None = None,
) -> AsyncGenerator[Service, None]:
    """A service whose engines are not started yet (see `Service.start`); leaving the block stops them.

    Args:
        plan: the config file.
        ledger: records every action.
        uncertified: answer a route whose certificate does not hold by its safe tier, instead of refusing it.
        desk: keys and limits.
        engines: makes the engine of every process by its name, not started; `build` if not given.
        occupancies: of deployments whose engines other processes ask too.
        certificates: of the plan's routes; read from their files if not given.

    Raises:
        SpecError: a checkpoint, or something that an engine needs, is not on this machine; a certificate cannot be
            read; or one does not hold, and `uncertified` is false.
    """
    found = certificates_of(plan) if certificates is None else certificates
    certification = Certification(plan=plan, certificates=found, uncertified=uncertified)
    certification.differences()
    made = (engines or build)(plan)
    service = assemble(plan, made, ledger, certification, desk=desk, occupancies=occupancies)
    try:
        yield service
    finally:
        stops = await asyncio.gather(*(engine.stop() for engine in made.values()), return_exceptions=True)
        for failure in filter(None, stops):
            raise failure


def log_folder(plan: Plan) -> Path:
    """The directory for the logs of a plan's engines."""
    return cache_folder() / "logs" / plan.path.stem


def build(plan: Plan) -> dict[str, Engine]:
    """The engine of every process by the process's name, not started.

    Raises:
        ConfigErrors: everything that cannot work on this machine.
        SpecError: a checkpoint is not on this machine.
    """
    if found := preflight(plan):
        raise ConfigErrors(found)
    return new_engines(plan, Kept())


def new_engines(plan: Plan, kept: Kept) -> dict[str, Engine]:
    """The engine of every process that is not kept, by the process's name, not started."""
    return {
        process.name: process.row.build(process.settings, process.name, launch_context(plan, process))
        for process in plan.processes
        if process.name not in kept.deployments
    }


def preflight(plan: Plan, *, runs: Collection[str] = ()) -> list[SpecError]:
    """What is right in the file and cannot work with the checkpoints and programs on this machine.

    Args:
        plan: of the file.
        runs: names of processes that run already.
    """
    return [
        SpecError(why, field=f"deployments.{name}.{setting}")
        for process in plan.processes
        if process.name not in runs
        for name in process.deployments[:1]
        for setting, why in process.row.preflight(process.settings, launch_context(plan, process))
    ]


def launch_context(plan: Plan, process: PlannedProcess) -> LaunchContext:
    """Where a process finds its checkpoint and writes its log."""
    name = process.settings.loads
    model = None if name is None else local_path(plan.checkpoint(name))
    return LaunchContext(base=plan.path.parent, logs=log_folder(plan), model=model)


def tiers_of(
    plan: Plan, deployments: Mapping[str, Deployment], sessions: Mapping[str, SessionMemory] | None = None
) -> dict[str, Tier]:
    """The tiers of a plan, routes included, on the deployments of its processes, by name.

    Args:
        plan: of the file.
        deployments: by the names of its processes.
        sessions: what tiers know of sessions already, by tier.
    """
    runs_as, known = plan.runs_as, sessions or {}
    return {
        name: Tier(
            name=name,
            deployment=deployments[runs_as[plan.deployment_of(name)]],
            policy=tier.policy.member,
            budget=tier.budget,
            sampling=tier.sampling.fields(),
            verifier=tier.policy.verifier,
            graders={one: deployments[runs_as[one]] for one in tier.policy.graders},
            sessions=known.get(name) or SessionMemory(),
        )
        for name, tier in plan.tiers.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a service takes over from the one before."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    """By the names of its processes."""
    sessions: Mapping[str, SessionMemory] = field(default_factory=dict)
    """By tier."""


def assemble(
    plan: Plan,
    engines: Mapping[str, Engine],
    ledger: Ledger | None,
    certification: Certification | None = None,
    *,
    desk: Desk | None = None,
    occupancies: Mapping[str, Occupancy] | None = None,
    kept: Kept | None = None,
) -> Service:
    """A service with tiers, routes included, for existing engines; the other arguments are those of `launched`.

    `kept` is what it shares with the service before; the engines of these deployments need not be in `engines`.
    """
    certificates = {} if certification is None else certification.certificates
    kept = kept or Kept()
    deployments = {
        process.name: kept.deployments.get(process.name)
        or Deployment(
            name=process.name,
            engine=engines[process.name],
            kind=process.engine,
            weights=None if (loads := process.settings.loads) is None else weights_of(plan.checkpoint(loads)),
            slots=process.settings.slots,
            context=process.settings.context,
            capabilities=process.row.capabilities(process.settings),
            occupancy=(occupancies or {}).get(process.name) or Occupancy(),
        )
        for process in plan.processes
    }
    router = Router(
        tiers=tiers_of(plan, deployments, kept.sessions),
        certified=CertifiedRoutes(
            {name: CertifiedRoute(certificate=one.sha256, safe=one.safe) for name, one in certificates.items()}
        ),
    )
    return Service(
        router=router,
        deployments=deployments,
        prices=PriceBook(plan.file.prices),
        ledger=ledger,
        certification=certification,
        desk=desk,
        stored=plan.file.stored_responses,
    )


def shadowed_routes(plan: Plan, certificates: Mapping[str, Certificate]) -> dict[str, ShadowedRoute]:
    """The routes of a plan that are observed, by name."""
    return {
        name: ShadowedRoute(certificate=certificate, settings=settings)
        for name, certificate in certificates.items()
        if (settings := plan.file.routes[name].shadow) is not None
    }


def shadows_of(plan: Plan, service: Service) -> Shadows | None:
    """What observes the certified routes of a plan; None if no route is observed."""
    if not (routes := shadowed_routes(plan, service.certificates)):
        return None
    ledger = service.ledger
    return Shadows(
        routes,
        service.router,
        service.prices,
        new_trace,
        memory=shadow_memory(ledger),
        texts=KeptTexts(None if ledger is None else ledger.beside("shadowed.jsonl")),
    )


def shadow_memory(ledger: Ledger | None) -> ShadowMemory:
    """Where the evidence of routes is kept."""
    return ShadowMemory(None if ledger is None else ledger.beside("shadows.json"))
