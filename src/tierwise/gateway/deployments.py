"""What runs behind the endpoint, as it tells of itself: what somebody needs who wants to have the same elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.catalog.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.engines.engine import Deployment
    from tierwise.run import Tier
    from tierwise.service import Service


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment: what it was launched with, what its engine says of itself, and what it takes."""

    name: str
    tiers: list[str] = []
    """Which of the endpoint's tiers it serves."""
    engine: str = ""
    """The engine's name in the config file."""
    weights: Weights | None = None
    """None where somebody else has loaded them."""
    slots: int
    """Passes that run side by side."""
    context: int | None = None
    """Tokens that one pass may hold; None where only the server knows."""
    command: str = ""
    """What it was launched with; empty where it runs elsewhere."""
    facts: dict[str, str] = {}
    """What the engine says of itself: `version`, `kernels`, `attention`, `dtype`, `device` and others."""
    restarts: int = 0
    start_seconds: float | None = None
    """Until its process was ready; None where we did not launch it, here and below."""
    resident_bytes: int | None = None
    """Memory of its processes now."""
    peak_bytes: int | None = None
    """The most that they held at any time."""


def deployed(service: Service) -> list[Deployed]:
    """All deployments of a service, as they are now."""
    return [_told(deployment, service.router.tiers) for deployment in service.deployments.values()]


def _told(deployment: Deployment, tiers: Mapping[str, Tier]) -> Deployed:
    health = deployment.engine.health()
    return Deployed(
        name=deployment.name,
        tiers=[name for name, tier in tiers.items() if tier.deployment is deployment],
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
