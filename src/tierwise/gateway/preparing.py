"""What a reload makes ready before anything changes: the new plan is read and checked, and its engines are built."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tierwise import plan as planning
from tierwise.catalog.weights import weights_of
from tierwise.certificate import certificates_of
from tierwise.engines.engine import Deployment
from tierwise.engines.process.memory_usage import available_memory
from tierwise.service import Certification, Kept, Service, launch_context, preflight
from tierwise.spec.errors import ConfigErrors, SpecError

if TYPE_CHECKING:
    from tierwise.engines.engine import Engine
    from tierwise.gateway.settings import ServerSettings
    from tierwise.gateway.tls import Tls
    from tierwise.plan import Plan, PlannedProcess
    from tierwise.run.sessions import SessionMemory

FIXED = "host, ports, keys of the environment, the ledger's address and all other options change with a restart only"
"""What a reload cannot change: `tierwise serve` was told on its command line."""
LOADED_SHARE = 1.1
"""Memory of an engine that never ran, as a multiple of its weights, besides `LOADED_BYTES`."""
LOADED_BYTES = 256 * 2**20

_GIB = 2**30


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A plan that answers, or has requests that began with it."""

    plan: Plan
    service: Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A new plan after all checks that start nothing."""

    plan: Plan
    certification: Certification
    kept: Kept
    tls: Tls | None


def prepare(settings: ServerSettings, live: Sequence[Live]) -> Prepared:
    """Read the config file again and check all that can be checked without starting anything. To be run in a thread.

    Args:
        settings: what `tierwise serve` was told.
        live: the plans that run, the one that answers last.

    Raises:
        TierwiseError: something cannot be served.
    """
    before = live[-1].plan
    tls = None if settings.tls is None else settings.tls.load()
    if tls is not None and (problem := tls.problem()):
        raise SpecError(problem, field="--tls-cert")
    plan = planning.load(before.path)
    if plan.file.oidc != before.file.oidc:
        raise SpecError("whose tokens are accepted changes with a restart only", field="oidc")
    certification = Certification(plan=plan, certificates=certificates_of(plan), uncertified=settings.uncertified)
    certification.differences()
    runs = ((process.name, _running(process, plan, live)) for process in plan.processes)
    shared = {name: one for name, one in runs if one is not None}
    if found := preflight(plan, runs=shared):
        raise ConfigErrors(found)
    _require_room([process for process in plan.processes if process.name not in shared], plan, live)
    kept = Kept(deployments=shared, sessions=sessions_of(live[-1], plan))
    return Prepared(plan=plan, certification=certification, kept=kept, tls=tls)


@asynccontextmanager
async def or_stopped(engines: dict[str, Engine]) -> AsyncGenerator[None]:
    """Stop engines if the block fails."""
    try:
        yield
    except BaseException:
        await asyncio.gather(*(engine.stop() for engine in engines.values()), return_exceptions=True)
        raise


def _running(process: PlannedProcess, plan: Plan, live: Sequence[Live]) -> Deployment | None:
    """What runs already as a process of a new plan is to run: with the same settings, files and weights."""
    context = launch_context(plan, process)
    loads = process.settings.loads
    weights = None if loads is None else weights_of(plan.checkpoint(loads))
    for each in reversed(live):
        for other in each.plan.processes:
            if other.settings != process.settings or launch_context(each.plan, other) != context:
                continue
            found = each.service.deployments[other.name]
            if found.weights == weights:
                return found if found.name == process.name else replace(found, name=process.name)
    return None


def _require_room(new: Sequence[PlannedProcess], plan: Plan, live: Sequence[Live]) -> None:
    """Raise unless the engines that are to be started fit into the memory of this machine beside those that run.

    An engine with weights that were loaded before needs as much as it took at most; another one, its weights and some
    more. What is loaded into the memory of a GPU is not known before: an engine for which that is too small says so and
    does not start, which harms no other.
    """
    needs: dict[str, float] = {}
    for process in new:
        if (loads := process.settings.loads) is None:
            continue
        weights = weights_of(plan.checkpoint(loads))
        if weights.bytes is None:
            continue  # it is not on this machine, which its engine says
        peaks = (
            one.engine.health().peak_bytes
            for each in live
            for one in each.service.deployments.values()
            if one.weights is not None and one.weights.bytes == weights.bytes and one.kind == process.engine
        )
        needs[process.name] = max(filter(None, peaks), default=LOADED_SHARE * weights.bytes + LOADED_BYTES)
    free = available_memory()
    if (needed := sum(needs.values())) > free:
        named = ", ".join(f"{name} {size / _GIB:.1f} GiB" for name, size in needs.items())
        raise SpecError(
            f"new engines need about {needed / _GIB:.1f} GiB ({named}) beside those that run, and "
            f"{free / _GIB:.1f} GiB are available; free memory, or restart `tierwise serve`, which first stops the "
            "old engines",
            field="deployments",
        )


def sessions_of(before: Live, plan: Plan) -> dict[str, SessionMemory]:
    """What the tiers know of sessions, where they are as they were."""
    return {
        name: before.service.router.tiers[name].sessions
        for name, tier in plan.tiers.items()
        if before.plan.tiers.get(name) == tier
    }


def said(before: Live, now: Live, tls: Tls | None, started: Sequence[str]) -> list[str]:
    """What is different after a reload."""
    old, new = before.plan.tiers, now.plan.tiers
    kept = [name for name in now.service.deployments if name not in started]
    engines = {id(one.engine) for one in now.service.deployments.values()}
    left = [one.name for one in before.service.deployments.values() if id(one.engine) not in engines]
    parts = {
        "new": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "gone": [name for name in old if name not in new],
    }
    tiers = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names) or "as before"
    runs = {"started": started, "kept": kept, "stopped after their last request": left}
    engines_said = "; ".join(f"{what}: {', '.join(names)}" for what, names in runs.items() if names)
    said = [f"tiers and routes: {tiers}", f"engines: {engines_said}"]
    if before.plan.file.prices != now.plan.file.prices:
        said.append("prices: changed")
    if tls is not None:
        said += [f"TLS: {warning}" for warning in tls.warnings()] or ["TLS: certificate and key were read again"]
    return [*said, f"note: {FIXED}"]
