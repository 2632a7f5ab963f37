"""Whether two sets of passes are routed differently, beyond what any two samples differ by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tierwise.mixture.load import Load, divergence
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tierwise.spec.routing import Routing

FEWEST = 5
"""Units on each side, below which no permutation can show anything at the 5 % level for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far two loads are apart."""

    bits: float
    """The mean over layers of the Jensen-Shannon divergence."""
    by_chance: float
    """What it is on average where the same units are dealt to the two sides at random."""
    p_value: float | None
    """The share of such deals that are at least as far apart; None with fewer than `FEWEST` units on a side."""
    layers: Sequence[float]
    """Bits of each layer."""


def between(
    one: Sequence[Routing], other: Sequence[Routing], *, units: Sequence[str] = (), deals: int = 999, seed: int = 0
) -> Drift:
    """Compare two sets of passes by a permutation test (Fisher, 1935; p-values as Phipson & Smyth, 2010).

    Passes are dealt whole, since the tokens of one text are routed alike: a test over tokens would call any two texts
    different.

    Args:
        one: passes of one side.
        other: of the other.
        units: of all passes, first side first: what may not be torn apart (a task, a cluster), and lies on one side;
            each pass by itself when empty.
        deals: permutations.
        seed: of the deals.

    Raises:
        SpecError: a side is empty, or the passes are of models of different shapes.
    """
    if not one or not other:
        raise SpecError("one of the two sides has no passes; nothing can be compared")
    whole = divergence(Load(one), Load(other))
    if not whole:
        raise SpecError("the passes have no mixture layers")
    names = list(units) or [str(number) for number in range(len(one) + len(other))]
    sums, first = _by_unit([*one, *other], names, len(one))
    bits = sum(whole) / len(whole)
    rng = np.random.default_rng(seed)
    dealt = np.array([_mean_bits(sums, rng.permutation(first)) for _ in range(deals)])
    told = min(int(first.sum()), int((~first).sum())) >= FEWEST
    as_far = int((dealt >= bits - 1e-12).sum())
    return Drift(
        bits=bits,
        by_chance=float(dealt.mean()),
        p_value=(1 + as_far) / (1 + deals) if told else None,
        layers=whole,
    )


def _by_unit(
    routings: Sequence[Routing], units: Sequence[str], on_first: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Counts of each unit (units × layers × experts), and whether it is on the first side."""
    order = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    sums = np.zeros((len(order), *np.shape(routings[0].counts)))
    first = np.zeros(len(order), dtype=np.bool_)
    for position, (routing, unit) in enumerate(zip(routings, units, strict=True)):
        sums[order[unit]] += routing.counts
        first[order[unit]] |= position < on_first
    return sums, first


def _mean_bits(sums: NDArray[np.float64], first: NDArray[np.bool_]) -> float:
    sides = [sums[first].sum(0), sums[~first].sum(0)]
    shares = [side / np.maximum(side.sum(axis=1, keepdims=True), 1e-300) for side in sides]
    middle = (shares[0] + shares[1]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(share > 0, share * np.log2(share / middle), 0.0).sum(axis=1) for share in shares]
    return float((parts[0] + parts[1]).mean() / 2)
