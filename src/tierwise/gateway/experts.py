"""What Prometheus sees of a mixture of experts: a dozen figures a deployment, however many layers and experts it has.

Separate from the other metrics, because layers × experts are thousands of series (61 × 384 for Kimi-K2.6) that no
dashboard can hold: they are summed up here, and only what stands out is named.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from tierwise.mixture.window import Window
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import CollectorRegistry

    from tierwise.mixture.load import Layer
    from tierwise.spec.routing import Routing

HOTTEST = 8
"""Experts that are named."""


class ExpertMetrics:
    """Windows of the load of every deployment that tells of its routing, and their figures."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(name, about, ("deployment", *labels), registry=registry)

        self._windows: dict[str, Window] = {}
        self._sampled = Counter(
            "tierwise_moe_sampled_passes", "Passes whose routing was told.", ("deployment",), registry=registry
        )
        over = "; over layers, of the last full window"
        self._balancedness = gauge("tierwise_moe_balancedness", f"Mean over maximum load, 1 is even{over}.", "over")
        self._entropy = gauge("tierwise_moe_entropy", f"Of the choices, 1 is even{over}.", "over")
        self._variation = gauge("tierwise_moe_variation", f"Coefficient of variation, 0 is even{over}.", "over")
        self._router = gauge(
            "tierwise_moe_router_entropy_nats", f"Of the gate's distribution, where it is told{over}.", "over"
        )
        self._active = gauge("tierwise_moe_active_ratio", f"Share of experts that got any token{over}.", "over")
        self._dead = gauge("tierwise_moe_dead_experts", "Experts without a token, where there were enough to tell.")
        self._drift = gauge("tierwise_moe_drift_bits", "Jensen-Shannon, between the last two full windows.")
        self._times = gauge("tierwise_moe_hot_expert_times", "Load over an equal share, by rank.", "rank")
        self._layer = gauge("tierwise_moe_hot_expert_layer", "Which layer the expert of this rank is in.", "rank")
        self._expert = gauge("tierwise_moe_hot_expert_number", "Which expert of that layer it is.", "rank")

    def add(self, deployment: str, routing: Routing) -> None:
        """Take the routing of a pass in; of a model of another shape than before, in a new window."""
        window = self._windows.setdefault(deployment, Window())
        try:
            window.add(routing)
        except SpecError:  # another model answers at the same place
            window = self._windows[deployment] = Window()
            window.add(routing)
        self._sampled.labels(deployment).inc()

    def refresh(self) -> None:
        """Set every figure to what the windows hold."""
        for deployment, window in self._windows.items():
            layers = window.load.layers
            self._both(self._balancedness, deployment, min, (layer.balancedness for layer in layers))
            self._both(self._entropy, deployment, min, (layer.entropy for layer in layers))
            self._both(self._variation, deployment, max, (layer.variation for layer in layers))
            self._both(self._router, deployment, min, (layer.router_entropy for layer in layers))
            self._both(self._active, deployment, min, (layer.active / len(layer.counts) for layer in layers))
            if (dead := _dead(layers)) is not None:
                self._dead.labels(deployment).set(dead)
            if window.drift is not None:
                self._drift.labels(deployment).set(window.drift)
            for rank, hot in enumerate(window.load.hottest(HOTTEST), 1):
                self._times.labels(deployment, str(rank)).set(hot.times)
                self._layer.labels(deployment, str(rank)).set(hot.layer)
                self._expert.labels(deployment, str(rank)).set(hot.expert)

    @staticmethod
    def _both(
        gauge: Gauge, deployment: str, worst: Callable[[list[float]], float], values: Iterable[float | None]
    ) -> None:
        known = [value for value in values if value is not None]
        if known:
            gauge.labels(deployment, "mean").set(fmean(known))
            gauge.labels(deployment, "worst").set(worst(known))


def _dead(layers: list[Layer]) -> int | None:
    reported = [layer.dead for layer in layers]
    return None if None in reported else sum(len(dead) for dead in reported if dead is not None)
