"""Metrics of routes: which tier answered and why, which answers were not kept, and whether the certificate holds."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from tierwise.run.steps import decided_by, of_route, steps_of

if TYPE_CHECKING:
    from tierwise.ledger.records import Record
    from tierwise.router.certified import CertifiedRoutes

LAST = "last"
"""The reason of an answer of the last tier, which no signal judges."""


class RouteMetrics:
    """A reason is the name of a signal, and a route or tier that of the config file, which bounds the number of series.

    Args:
        registry: of the endpoint's metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("route", "tier", "reason")
        self._escalations = cache(
            Counter(
                "tierwise_escalations",
                "Answers of a tier that its route did not keep, by reason.",
                labels,
                registry=registry,
            ).labels
        )
        self._answers = cache(
            Counter(
                "tierwise_route_answers",
                "Answered actions of routes, by the tier that answered and why.",
                labels,
                registry=registry,
            ).labels
        )
        self._certified = Gauge(
            "tierwise_route_certified",
            "1 if the certificate of the route holds; 0 if its safe tier answers instead.",
            ("route",),
            registry=registry,
        )

    def add(self, record: Record) -> None:
        """Count what routes decided in an action."""
        steps = steps_of(record.trace)
        for step in steps:
            if step.accepted is False:
                self._escalations(step.tier, step.about, step.signal).inc()
        if record.ending == "answered" and record.reason.startswith(f"{record.model}: "):
            own = of_route(steps, record.model)
            signal = decided_by(own)
            self._answers(record.model, own[-1].about if signal else record.tier, signal or LAST).inc()

    def refresh(self, routes: CertifiedRoutes) -> None:
        """Take over which certificates hold."""
        self._certified.clear()
        for route in routes:
            state = routes.state(route)
            self._certified.labels(route).set(state is not None and state.holds)
