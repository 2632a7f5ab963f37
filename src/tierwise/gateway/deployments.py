"""The deployments behind the endpoint: the response to `GET /v1/deployments`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from tierwise.run import Tier
from tierwise.spec.deployed import Deployed

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.service import Service


def deployed(service: Service, *, in_full: bool) -> list[Deployed]:
    """The current state of all deployments of a service; in full with their command lines, which contain paths."""
    found = [_deployed(deployment, service.router.tiers) for deployment in service.deployments.values()]
    return found if in_full else [msgspec.structs.replace(one, command="") for one in found]


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
