"""Prometheus metrics of mixtures of experts: about a dozen per deployment, regardless of layers and experts.

One series per layer and expert would be thousands (61 × 384 for Kimi-K2.6). They are aggregated here, and only the
hottest experts are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from statistics import fmean
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from tierwise.mixture.load import Layer, Load
from tierwise.mixture.window import Window
from tierwise.spec.errors import SpecError
from tierwise.spec.routing import Routing

HOTTEST = 8
"""Number of experts that are named."""


class ExpertMetrics:
    """Load windows and metrics of every deployment that reports its routing."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges: list[Gauge] = []

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            self._gauges.append(made := Gauge(name, about, ("deployment", *labels), registry=registry))
            return made

        self._windows: dict[str, Window] = {}
        self._sampled = Counter(
            "tierwise_moe_sampled_passes", "Passes whose routing was reported.", ("deployment",), registry=registry
        )
        over = "; over layers, of the last full window"
        self._balancedness = gauge("tierwise_moe_balancedness", f"Mean over maximum load, 1 is even{over}.", "over")
        self._entropy = gauge("tierwise_moe_entropy", f"Normalised entropy of the choices, 1 is even{over}.", "over")
        self._variation = gauge("tierwise_moe_variation", f"Coefficient of variation, 0 is even{over}.", "over")
        self._router = gauge(
            "tierwise_moe_router_entropy_nats", f"Mean entropy of the gate's distribution, if reported{over}.", "over"
        )
        self._active = gauge("tierwise_moe_active_ratio", f"Share of experts that got any token{over}.", "over")
        self._dead = gauge("tierwise_moe_dead_experts", "Experts without a token, given enough tokens.")
        self._drift = gauge("tierwise_moe_drift_bits", "Jensen-Shannon divergence of the last two full windows.")
        self._times = gauge("tierwise_moe_hot_expert_times", "Load relative to an equal share, by rank.", "rank")
        self._layer = gauge("tierwise_moe_hot_expert_layer", "Layer of the expert of this rank.", "rank")
        self._expert = gauge(
            "tierwise_moe_hot_expert_number", "Number of the expert of this rank within its layer.", "rank"
        )

    def add(self, deployment: str, routing: Routing) -> None:
        """Add the routing of a pass; a model of another shape starts a new window."""
        window = self._windows.setdefault(deployment, Window())
        try:
            window.add(routing)
        except SpecError:  # the server behind this deployment now serves another model
            window = self._windows[deployment] = Window()
            window.add(routing)
        self._sampled.labels(deployment).inc()

    def loads(self) -> dict[str, Any]:
        """The load of every deployment, as plain data for another process of the endpoint."""
        found = {name: window.load.as_one() for name, window in self._windows.items() if window.load.passes}
        return {name: msgspec.to_builtins(load) for name, load in found.items()}

    def refresh(self, others: Iterable[Mapping[str, Any]] = ()) -> None:
        """Update all metrics from the windows.

        Args:
            others: the `loads` of other processes, which are added.
        """
        for gauge in self._gauges:
            gauge.clear()
        for deployment, window in self._windows.items():
            if window.drift is not None:
                self._drift.labels(deployment).set(window.drift)
        for deployment, load in self._together(others).items():
            layers = load.layers
            self._both(self._balancedness, deployment, min, (layer.balancedness for layer in layers))
            self._both(self._entropy, deployment, min, (layer.entropy for layer in layers))
            self._both(self._variation, deployment, max, (layer.variation for layer in layers))
            self._both(self._router, deployment, min, (layer.router_entropy for layer in layers))
            self._both(self._active, deployment, min, (layer.active / len(layer.counts) for layer in layers))
            if (dead := _dead(layers)) is not None:
                self._dead.labels(deployment).set(dead)
            for rank, hot in enumerate(load.hottest(HOTTEST), 1):
                self._times.labels(deployment, str(rank)).set(hot.times)
                self._layer.labels(deployment, str(rank)).set(hot.layer)
                self._expert.labels(deployment, str(rank)).set(hot.expert)

    def _together(self, others: Iterable[Mapping[str, Any]]) -> dict[str, Load]:
        """The loads of all processes. One of another shape, of a model before or after, is left out."""
        found = {name: Load([window.load.as_one()]) for name, window in self._windows.items() if window.load.passes}
        for loads in others:
            for name, load in loads.items():
                with suppress(SpecError):
                    found.setdefault(name, Load()).add(msgspec.convert(load, Routing))
        return found

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
