"""Metrics of teams, and where asked for of keys; of sessions there are too many."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter

if TYPE_CHECKING:
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.records import Record

MOST_TEAMS = 100
"""Teams that have series of their own."""
MOST_KEYS = 1_000
"""Keys that have."""
OTHER = "(other)"


class CallerMetrics:
    """Counts actions of stored keys.

    Args:
        registry: where the metrics are registered.
        by_key: whether they are counted by key too.
    """

    def __init__(self, registry: CollectorRegistry, *, by_key: bool = False) -> None:
        self._groups = [_Group("team", MOST_TEAMS, registry)]
        if by_key:
            self._groups.append(_Group("key", MOST_KEYS, registry))

    def add(self, record: Record, prices: PriceBook) -> None:
        """Count an action that ended."""
        trace = record.trace
        if not trace.key:
            return
        dollars = prices.total(trace.passes).dollars
        for group, name in zip(self._groups, (trace.team, trace.key_name), strict=False):
            group.add(name, record.ending, dollars)


class _Group:
    """Actions and dollars by one label, whose values are bounded: the first ones have their names."""

    def __init__(self, label: str, most: int, registry: CollectorRegistry) -> None:
        actions = Counter(f"tierwise_{label}_actions", "Actions of stored keys.", [label, "ending"], registry=registry)
        dollars = Counter(f"tierwise_{label}_dollars", "Cost of passes of stored keys.", [label], registry=registry)
        self._actions, self._dollars = cache(actions.labels), cache(dollars.labels)
        self._names: set[str] = set()
        self._most = most

    def add(self, name: str, ending: str, dollars: float) -> None:
        if name not in self._names:
            if len(self._names) < self._most:
                self._names.add(name)
            else:
                name = OTHER
        self._actions(name, ending).inc()
        self._dollars(name).inc(dollars)
