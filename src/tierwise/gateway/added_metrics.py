"""Metrics of several processes, added up to one page.

Counters and histograms are sums. A process that died takes its counts along, and Prometheus would take the drop for a
restart of everything; so what it had when the page was last read stays in the sum. What is not a count is the same in
all processes, or belongs to an engine that all of them ask: the table below says how it is combined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENGINES = "tierwise_engine_"
_EXPERTS = "tierwise_moe_"
"""Balance is not that of any process, nor the largest: who is asked adds the loads up, and comes first."""
_OVER: dict[str, Callable[[Sequence[float]], float]] = {
    "tierwise_actions_running": sum,
    "tierwise_route_certified": min,
    f"{_EXPERTS}drift_bits": max,
}
"""How gauges are combined; for others the largest value counts."""


Key = tuple[str, tuple[tuple[str, str], ...]]
"""Name and labels of a sample."""


class Family(msgspec.Struct, frozen=True, array_like=True):
    """One metric of one process."""

    name: str
    kind: str
    about: str
    samples: tuple[tuple[str, dict[str, str], float], ...]


def families_of(registry: CollectorRegistry) -> list[Family]:
    """All metrics of a process, as plain data."""
    return [
        Family(one.name, one.type, one.documentation, tuple((each[0], dict(each[1]), each[2]) for each in one.samples))
        for one in registry.collect()
    ]


def read_families(body: Any) -> list[Family]:
    """The families of a message."""
    return msgspec.convert(body, list[Family])


def counts_of(families: Iterable[Family]) -> list[Family]:
    """What remains of a process that died."""
    return [one for one in families if _is_summed(one)]


def added(parts: Iterable[Sequence[Family]]) -> list[Family]:
    """The sum of the metrics of several processes.

    Args:
        parts: of each; first those of the one that is asked.
    """
    found: dict[str, Family] = {}
    values: dict[str, dict[Key, list[float]]] = {}
    for families in parts:
        for one in families:
            found.setdefault(one.name, one)
            of_name = values.setdefault(one.name, {})
            for name, labels, value in one.samples:
                of_name.setdefault((name, tuple(labels.items())), []).append(value)
    return [
        msgspec.structs.replace(one, samples=tuple(_samples(one, values[one.name].items()))) for one in found.values()
    ]


def _samples(one: Family, values: Iterable[tuple[Key, list[float]]]) -> Iterator[tuple[str, dict[str, str], float]]:
    for (name, labels), some in values:
        yield name, dict(labels), _combined(one, name, some)


def page(families: Iterable[Family]) -> bytes:
    """As Prometheus reads it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(families))
    return generate_latest(registry)


def _is_summed(one: Family) -> bool:
    return one.kind in ("counter", "histogram") and not one.name.startswith(_ENGINES)


def _combined(one: Family, sample: str, values: Sequence[float]) -> float:
    if sample.endswith("_created"):
        return min(values)
    if one.name.startswith(_EXPERTS) and one.name not in _OVER and not _is_summed(one):
        return values[0]
    return float((sum if _is_summed(one) else _OVER.get(one.name, max))(values))


class _Given(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for one in self._families:
            metric = Metric(one.name, one.about, one.kind)
            for name, labels, value in one.samples:
                metric.add_sample(name, labels, value)
            yield metric
