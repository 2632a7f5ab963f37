"""Prometheus metrics of reloads and of the certificate of TLS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from tierwise.gateway.tls import Tls


class ReloadMetrics:
    """What became of reloads.

    Args:
        registry: of the endpoint's metrics.
        tls: what is served with; None without TLS.
    """

    def __init__(self, registry: CollectorRegistry, tls: Tls | None) -> None:
        self._reloads = Counter(
            "tierwise_config_reloads",
            "Reloads of the config file: applied, or failed, after which the config before is served on.",
            ("result",),
            registry=registry,
        )
        for result in ("applied", "failed"):
            self._reloads.labels(result)
        self._succeeded = Gauge(
            "tierwise_config_last_success_timestamp_seconds",
            "When the config file that is served was read, in seconds since 1970.",
            registry=registry,
        )
        self._succeeded.set_to_current_time()
        self._ends: Gauge | None = None
        if tls is not None:
            self._ends = Gauge(
                "tierwise_tls_certificate_expiry_timestamp_seconds",
                "When the certificate that is served ends, in seconds since 1970.",
                registry=registry,
            )
            self._ends.set(tls.ends)

    def ended(self, result: Literal["applied", "failed"], tls: Tls | None = None) -> None:
        """Count a reload; `tls` is what is served with after one that was applied."""
        self._reloads.labels(result).inc()
        if result == "applied":
            self._succeeded.set_to_current_time()
        if tls is not None and self._ends is not None:
            self._ends.set(tls.ends)
