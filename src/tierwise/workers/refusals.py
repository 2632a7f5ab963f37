"""What several workers cannot serve as one process does; refused, so that nothing is served otherwise than it says."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tierwise.engines.process.launched import LaunchedEngine
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tierwise.engines.engine import Deployment
    from tierwise.plan import Plan


def refusals(plan: Plan, deployments: Mapping[str, Deployment], workers: int) -> Iterator[SpecError]:
    """Everything that keeps a plan from being served by several workers, each with what to do."""
    if not hasattr(socket, "SO_REUSEPORT"):
        yield SpecError("--workers needs SO_REUSEPORT, which this system lacks; serve with one", field="--workers")
    for process in plan.processes:
        slots = process.settings.slots
        if isinstance(deployments[process.name].engine, LaunchedEngine) and slots < workers:
            yield SpecError(
                f"{slots}: the slots of an engine are divided among {workers} workers, and each needs one; set at "
                f"least {workers}, or --workers {slots}",
                field=f"deployments.{process.deployments[0]}.slots",
            )
