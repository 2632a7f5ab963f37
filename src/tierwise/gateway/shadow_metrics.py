"""Prometheus metrics of shadowing. Labels are routes of the config file, detectors and outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from tierwise.shadowing.watching import DETECTORS

if TYPE_CHECKING:
    from tierwise.shadowing import Shadows


class ShadowMetrics:
    """What shadowing says about the observed routes of one endpoint.

    Args:
        registry: of the endpoint's metrics.
        shadows: observes the routes.
    """

    def __init__(self, registry: CollectorRegistry, shadows: Shadows) -> None:
        self._shadows: Shadows | None = shadows
        self._shadowed = Counter(
            "tierwise_shadows",
            "Actions of certified routes that were to be observed: agreed, differed, own (the reference tier had "
            "answered), failed, yielded (stopped because users needed its engine; it is asked again), dropped (it "
            "never had its turn) or lost (it had to yield until it was too late, and counts as no difference).",
            ("route", "outcome"),
            registry=registry,
        )
        self._evidence = Gauge(
            "tierwise_route_evidence",
            "Evidence of shadowed actions against the certificate of the route; 1 raises an alarm.",
            ("route", "detector"),
            registry=registry,
        )

        self._labels = Gauge(
            "tierwise_route_labels",
            "Shadowed actions of the route that take labels: wanted (they wait for one), behind (their loss is known, "
            "and waits for those before), counted (in the evidence), unlabelled (nobody labelled them in time) and "
            "late (labels that came after that).",
            ("route", "state"),
            registry=registry,
        )

    def watch(self, shadows: Shadows | None) -> None:
        """Export what these say from now on; None if no route is observed any more."""
        self._shadows = shadows

    def counted(self, route: str, outcome: str) -> None:
        self._shadowed.labels(route, outcome).inc()

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        self._evidence.clear()
        self._labels.clear()
        if self._shadows is None:
            return
        for route, state in self._shadows.states.items():
            for detector in DETECTORS:
                self._evidence.labels(route, detector).set(getattr(state, detector).evidence)
            for name, count in self._shadows.feedback.counts(route).items():
                self._labels.labels(route, name).set(count)
