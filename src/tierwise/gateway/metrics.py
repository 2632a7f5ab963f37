"""Prometheus metrics. Labels are names from the config file, which bounds the number of series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from tierwise.engines.metrics import METRICS, Scraper
from tierwise.gateway.caller_metrics import CallerMetrics
from tierwise.gateway.experts import ExpertMetrics
from tierwise.gateway.route_metrics import RouteMetrics
from tierwise.gateway.shadow_metrics import ShadowMetrics
from tierwise.gateway.tallies import Durations, Tally
from tierwise.ledger.prices import MOST_TOKENS, PriceBook
from tierwise.ledger.records import Check, Decision, Record
from tierwise.policies.cascade import SESSION
from tierwise.router.certified import CertifiedRoutes

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.shadowing import Shadows
    from tierwise.spec.call import Pass

_DELAYS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)


class Metrics:
    """All metrics of one endpoint, in a separate registry.

    Args:
        deployments: whose state is exported.
        by_key: whether actions of stored keys are counted by key too.
    """

    def __init__(self, deployments: Mapping[str, Deployment], *, by_key: bool = False) -> None:
        self._deployments = deployments
        self._certified = CertifiedRoutes()
        self.registry = registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Tally:
            return Tally(registry, name, about, *labels)

        def gauge(name: str, about: str) -> Gauge:
            return Gauge(name, about, ("deployment",), registry=registry)

        self._actions = counter("tierwise_actions", "User-visible requests.", "tier", "ending")
        self._refused = counter("tierwise_refused", "Requests refused before any pass.", "status")
        self._running = 0
        self.running_of: defaultdict[str, int] = defaultdict(int)
        """Running actions by session."""
        running = Gauge("tierwise_actions_running", "Running actions.", registry=registry)
        running.set_function(lambda: self._running)
        self._seconds = Durations(
            registry, "tierwise_action_seconds", "Duration of an answered action.", "tier", bounds=_SECONDS
        )
        first = "tierwise_action_first_output_seconds"
        self._first = Durations(registry, first, "Time to the first output of an answer.", "tier", bounds=_SECONDS)
        self._passes = counter("tierwise_passes", "Calls to engines.", "tier", "role", "outcome")
        self._tokens = counter(
            "tierwise_tokens", "Tokens of all passes; cached tokens are part of prompt.", "tier", "kind"
        )
        self._dollars = counter("tierwise_dollars", "Cost of passes.", "tier")
        self._limits = counter(
            "tierwise_budget_used_up", "Actions in which a bound of a budget was used up.", "tier", "bound"
        )
        self._callers = CallerMetrics(registry, by_key=by_key)
        self._checks = counter("tierwise_checks", "Verdicts of verifiers.", "kind", "accepted")
        self._resumed = counter(
            "tierwise_sessions_resumed", "Actions that began at the tier that their session had reached.", "tier"
        )
        self._alarms = Counter(
            "tierwise_ledger_alarms",
            "Alerts of the ledger: actions that could not be recorded at once.",
            registry=registry,
        )
        self.loop_delay = Histogram(
            "tierwise_event_loop_delay_seconds",
            "How late the event loop was, ten times a second.",
            registry=registry,
            buckets=_DELAYS,
        ).observe
        """Takes the seconds by which the event loop was late."""
        self._up = gauge("tierwise_deployment_up", "1 if the deployment is ready.")
        self._restarts = gauge("tierwise_deployment_restarts", "Restarts since the start.")
        self._resident = gauge("tierwise_deployment_resident_bytes", "Resident memory of its processes.")
        self._scraper = Scraper()
        registry.register(_EnginesOwn(self._scraper))

        self._experts = ExpertMetrics(registry)
        self._routes = RouteMetrics(registry)
        self._shadows: ShadowMetrics | None = None

    def watch(
        self,
        deployments: Mapping[str, Deployment],
        certified: CertifiedRoutes | None = None,
        shadows: Shadows | None = None,
    ) -> None:
        """Export the state of these deployments and routes, and what shadowing says about them; no longer of others."""
        self._deployments = deployments
        for gauge in (self._up, self._restarts, self._resident):
            gauge.clear()
        if self._shadows is not None:
            self._shadows.watch(shadows)
        elif shadows is not None:
            self._shadows = ShadowMetrics(self.registry, shadows)
        self._certified = certified or self._certified

    def begun(self, session: str) -> None:
        """An action begins; its session is empty without one."""
        self._running += 1
        if session:
            self.running_of[session] += 1

    def refused(self, status: int) -> None:
        self._refused.values[str(status),] += 1

    def alarm(self) -> None:
        self._alarms.inc()

    def finished(self, session: str) -> None:
        """An action has ended, and is in the ledger's journal."""
        self._running -= 1
        if session:
            self.running_of[session] -= 1
            if not self.running_of[session]:
                del self.running_of[session]

    def ended(self, record: Record, prices: PriceBook) -> None:
        """Count a completed action and its passes; of a shadow, which no user has seen, the passes only."""
        tier = record.tier
        if not record.shadow_of:
            self._actions.values[tier, record.ending] += 1
            self._routes.add(record)
            if record.ending == "answered":
                self._seconds.add(tier, record.seconds)
            if record.first_output is not None:
                self._first.add(tier, record.first_output)
        self._callers.add(record, prices)
        for done in record.trace.passes:
            self._pass(done, prices)
        for bound in record.trace.limits:
            self._limits.values[tier, bound] += 1
        for event in record.trace.events:
            if isinstance(event, Check):
                self._checks.values[event.kind, str(event.verdict.ok).lower()] += 1
            elif isinstance(event, Decision) and event.signal == SESSION:
                self._resumed.values[event.tier,] += 1

    def _pass(self, done: Pass, prices: PriceBook) -> None:
        tier, usage, tokens = done.tier, done.usage, self._tokens.values
        self._passes.values[tier, done.call.role, done.outcome] += 1
        if usage.prompt > 0:
            tokens[tier, "prompt"] += min(usage.prompt, MOST_TOKENS)
        if usage.cached > 0:
            tokens[tier, "cached"] += min(usage.cached, MOST_TOKENS)
        if usage.completion > 0:
            tokens[tier, "completion"] += min(usage.completion, MOST_TOKENS)
        if usage.reasoning > 0:
            tokens[tier, "reasoning"] += min(usage.reasoning, MOST_TOKENS)
        self._dollars.values[tier,] += prices.cost(done).dollars
        if done.routing is not None:
            self._experts.add(done.deployment, done.routing)

    def shadowed(self, route: str, outcome: str) -> None:
        """Count what became of an action that was to be observed."""
        if self._shadows is not None:
            self._shadows.counted(route, outcome)

    async def ask_engines(self) -> None:
        """Scrape the engines' own metrics for the next `text`; engines scraped recently are skipped."""
        health = {name: deployment.engine.health() for name, deployment in self._deployments.items()}
        await self._scraper.scrape({name: one.page for name, one in health.items() if one.page is not None})

    def text(self) -> bytes:
        """The metrics page, with the current state of every deployment."""
        self.refresh()
        return generate_latest(self.registry)

    def refresh(self, loads: Iterable[Mapping[str, Any]] = ()) -> None:
        """Take over the current state of every deployment and route.

        Args:
            loads: of mixtures of experts in other processes of the endpoint, as their `loads` says.
        """
        for name, deployment in self._deployments.items():
            health = deployment.engine.health()
            self._up.labels(name).set(health.state == "ready")
            self._restarts.labels(name).set(health.restarts)
            if health.resident_bytes is not None:
                self._resident.labels(name).set(health.resident_bytes)
        self._routes.refresh(self._certified)
        if self._shadows is not None:
            self._shadows.refresh()
        self._experts.refresh(loads)

    def loads(self) -> dict[str, Any]:
        """The load of the experts of every deployment that reports its routing."""
        return self._experts.loads()


class _EnginesOwn(Collector):
    """The engines' own metrics under our names: at most metrics × deployments series."""

    def __init__(self, scraper: Scraper) -> None:
        self._scraper = scraper

    def describe(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        return map(_family, METRICS)

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for name in METRICS:
            family = _family(name)
            for deployment, values in self._scraper.reported.items():
                if name in values:
                    family.add_metric([deployment], values[name])
            if family.samples:
                yield family


def _family(name: str) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if METRICS[name].kind == "counter" else GaugeMetricFamily
    return kind(f"tierwise_engine_{name}", METRICS[name].about, labels=["deployment"])
