"""Expert load per layer, summed over passes, and measures of balance.

Measures are defined as in vLLM and SGLang, so that they are comparable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import add

from tierwise.spec.errors import SpecError
from tierwise.spec.routing import Routing

ENOUGH_FOR_DEAD = 20.0
"""Minimum mean choices per expert for calling an unused expert dead. With equal probabilities an expert would be unused
with probability e^-20."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The load of one mixture layer."""

    number: int
    """Index among the model's layers, from 0."""
    counts: Sequence[int]
    """Tokens per expert."""
    router_entropy: float | None
    """Mean entropy over tokens of the gate's distribution, in nats; None if not reported."""

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def balancedness(self) -> float | None:
        """Mean over maximum load: 1 if all are equal, 1/experts if one gets everything; None without load."""
        most = max(self.counts, default=0)
        return self.total / len(self.counts) / most if most else None

    @property
    def variation(self) -> float | None:
        """Coefficient of variation: the load's standard deviation over its mean; None without load."""
        if not (total := self.total):
            return None
        mean = total / len(self.counts)
        return math.sqrt(sum((count - mean) ** 2 for count in self.counts) / len(self.counts)) / mean

    @property
    def entropy(self) -> float | None:
        """Entropy of the choices over that of equal shares: 1 if all are equal, 0 if one gets everything.

        None without load, and for a single expert.
        """
        total = self.total
        if not total or len(self.counts) < 2:
            return None
        return math.fsum(-count / total * math.log(count / total) for count in self.counts if count) / math.log(
            len(self.counts)
        )

    @property
    def active(self) -> int:
        """Number of experts with any token: what a memory-bound engine must read."""
        return sum(count > 0 for count in self.counts)

    @property
    def dead(self) -> tuple[int, ...] | None:
        """Experts without tokens; None if there are too few tokens to tell (`ENOUGH_FOR_DEAD`)."""
        if self.total < ENOUGH_FOR_DEAD * len(self.counts):
            return None
        return tuple(expert for expert, count in enumerate(self.counts) if not count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hot:
    """An expert with more than an equal share."""

    layer: int
    expert: int
    share: float
    """Share of its layer's choices."""
    times: float
    """Its share relative to an equal share."""


class Load:
    """Sums routing records of one engine and checkpoint. Its size is layers × experts, independent of the number of
    passes.
    """

    def __init__(self, routings: Iterable[Routing] = ()) -> None:
        self.source = ""
        """The engine that reported; empty before the first record."""
        self.passes = 0
        self.tokens = 0
        self._numbers: tuple[int, ...] = ()
        self._counts: list[list[int]] = []
        self._entropy: list[float] = []  # nats × tokens, over tokens with a known gate
        self._known = 0
        for routing in routings:
            self.add(routing)

    def add(self, routing: Routing) -> None:
        """Add a pass.

        Raises:
            SpecError: it comes from another engine, or from a model of another shape.
        """
        shape = (routing.source, tuple(routing.layers), [len(row) for row in routing.counts])
        if not self.source:
            self.source, self._numbers = routing.source, tuple(routing.layers)
            self._counts = [[0] * len(row) for row in routing.counts]
            self._entropy = [0.0] * len(self._counts)
        if shape != (self.source, self._numbers, [len(row) for row in self._counts]):
            raise SpecError(
                f"a record of {_described(*shape)} cannot be added to one of "
                f"{_described(self.source, self._numbers, [len(row) for row in self._counts])}"
            )
        self._counts = [list(map(add, row, more)) for row, more in zip(self._counts, routing.counts, strict=True)]
        self.passes += 1
        self.tokens += routing.tokens
        if routing.entropy is not None:
            self._known += routing.tokens
            self._entropy = [
                sum_ + nats * routing.tokens for sum_, nats in zip(self._entropy, routing.entropy, strict=True)
            ]

    def as_one(self, active: int = 1) -> Routing:
        """All passes as one, which adds what they added.

        Args:
            active: experts chosen for each token, which a load does not know and adding does not need.
        """
        entropy = [nats / self._known for nats in self._entropy] if self._known else None
        tokens, counts = self.tokens, self._counts
        return Routing(
            source=self.source, layers=self._numbers, counts=counts, tokens=tokens, active=active, entropy=entropy
        )

    @property
    def layers(self) -> list[Layer]:
        return [
            Layer(number=number, counts=counts, router_entropy=nats / self._known if self._known else None)
            for number, counts, nats in zip(self._numbers, self._counts, self._entropy, strict=True)
        ]

    def hottest(self, most: int) -> list[Hot]:
        """The experts with the largest shares of their layers, over all layers."""
        found = (
            Hot(layer=layer.number, expert=expert, share=count / total, times=count / total * len(layer.counts))
            for layer in self.layers
            if (total := layer.total)
            for expert, count in enumerate(layer.counts)
        )
        return sorted(found, key=lambda hot: (-hot.times, hot.layer, hot.expert))[:most]


def divergence(one: Load, other: Load) -> list[float]:
    """Jensen–Shannon divergence of two loads, in bits, for each layer: 0 if equal, 1 if disjoint.

    Samples of the same distribution differ too; see `moe.drift` (Lin, 1991, IEEE Trans. Inf. Theory 37).

    Raises:
        SpecError: they have different shapes.
    """
    pairs = list(zip(one.layers, other.layers, strict=False))
    if len(one.layers) != len(other.layers) or any(len(a.counts) != len(b.counts) for a, b in pairs):
        raise SpecError("loads of models of different shapes cannot be compared")
    return [jensen_shannon(a.counts, b.counts) for a, b in pairs]


def jensen_shannon(one: Sequence[float], other: Sequence[float]) -> float:
    """Jensen–Shannon divergence in bits of two histograms over the same bins; 0 if one is empty."""
    first, second = math.fsum(one), math.fsum(other)
    if not first or not second:
        return 0.0
    pairs = [(a / first, b / second) for a, b in zip(one, other, strict=True)]
    return max(0.0, math.fsum(chain.from_iterable((_part(a, b), _part(b, a)) for a, b in pairs)) / 2)


def _part(p: float, q: float) -> float:
    return p * math.log2(2 * p / (p + q)) if p else 0.0


def _described(source: str, layers: Sequence[int], experts: Sequence[int]) -> str:
    return f"{source} with {len(layers)} mixture layers of {max(experts, default=0)} experts"
