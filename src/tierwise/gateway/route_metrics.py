"""Prometheus metrics of certified routes. Labels are routes of the config file, detectors and outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from tierwise.shadowing.watching import DETECTORS

if TYPE_CHECKING:
    from tierwise.router.certified import CertifiedRoutes
    from tierwise.shadowing import Shadows


class RouteMetrics:
    """Whether the certificates of one endpoint's routes hold, and what shadowing says about them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._certificates = Gauge(
            "tierwise_route_certified",
            "1 if the certificate of the route holds; 0 if its safe tier answers instead.",
            ("route",),
            registry=registry,
        )
        self._shadowed = Counter(
            "tierwise_shadows",
            "Actions of certified routes that were to be observed: agreed, differed, own (the reference tier had "
            "answered), failed, yielded (a pass waited for a slot) or dropped.",
            ("route", "outcome"),
            registry=registry,
        )
        self._evidence = Gauge(
            "tierwise_route_evidence",
            "Evidence of shadowed actions against the certificate of the route; 1 raises an alarm.",
            ("route", "detector"),
            registry=registry,
        )
        self._certified: CertifiedRoutes | None = None
        self._shadows: Shadows | None = None

    def watch(self, certified: CertifiedRoutes | None, shadows: Shadows | None) -> None:
        """Export the state of these."""
        self._certified, self._shadows = certified, shadows

    def shadowed(self, route: str, outcome: str) -> None:
        """Count what became of an action that was to be observed."""
        self._shadowed.labels(route, outcome).inc()

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        if self._certified is not None:
            for route in self._certified:
                state = self._certified.state(route)
                self._certificates.labels(route).set(state is not None and state.holds)
        if self._shadows is not None:
            for route, observed in self._shadows.states.items():
                for detector in DETECTORS:
                    self._evidence.labels(route, detector).set(getattr(observed, detector).evidence)
