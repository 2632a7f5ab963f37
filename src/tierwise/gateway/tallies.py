"""Counters and histograms that every request adds to: plain numbers, which become metrics when they are read.

prometheus-client takes a lock and checks its labels for each number. Here only the thread of the event loop adds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Tally(Collector):
    """A counter.

    Attributes:
        values: by the values of its labels; a missing one is 0.
    """

    def __init__(self, registry: CollectorRegistry, name: str, about: str, *labels: str) -> None:
        self.values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._name, self._about, self._labels = name, about, labels
        registry.register(self)

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._about, labels=self._labels)

    def collect(self) -> Iterator[CounterMetricFamily]:
        for family in self.describe():
            for labels, value in self.values.copy().items():
                family.add_metric(labels, value)
            yield family


class Durations(Collector):
    """A histogram of seconds with one label.

    Args:
        registry: where it is registered.
        name: of the metric.
        about: what it says.
        label: its label.
        bounds: the upper bounds of its buckets, ascending; a last one without bound is added.
    """

    def __init__(
        self, registry: CollectorRegistry, name: str, about: str, label: str, *, bounds: Sequence[float]
    ) -> None:
        self._name, self._about, self._label, self._bounds = name, about, label, (*bounds, inf)
        self._of: dict[str, tuple[list[int], list[float]]] = {}
        """By the value of the label: observations of each bucket, and the sum of all seconds."""
        registry.register(self)

    def add(self, value: str, seconds: float) -> None:
        """Add an observation for a value of the label."""
        if (of := self._of.get(value)) is None:
            of = self._of[value] = [0] * len(self._bounds), [0.0]
        counts, total = of
        counts[bisect_left(self._bounds, seconds)] += 1
        total[0] += seconds

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(self._name, self._about, labels=[self._label])

    def collect(self) -> Iterator[HistogramMetricFamily]:
        for family in self.describe():
            for value, (counts, total) in self._of.copy().items():
                buckets, seen = [], 0
                for bound, count in zip(self._bounds, counts, strict=True):
                    seen += count
                    buckets.append(("+Inf" if bound == inf else str(float(bound)), seen))
                family.add_metric([value], buckets, total[0])
            yield family
