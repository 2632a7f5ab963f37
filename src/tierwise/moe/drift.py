"""Whether two sets of passes are routed differently, beyond the difference between any two samples."""

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
"""The smallest number of units in each group for a p value. With fewer, there are too few permutations for 5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The divergence of two loads."""

    bits: float
    """The Jensen-Shannon divergence, mean over layers."""
    by_chance: float
    """Its mean over random permutations of the same units."""
    p_value: float | None
    """The share of permutations with at least this divergence; None with fewer than `FEWEST` units in a group."""
    layers: Sequence[float]
    """The divergence of each layer, in bits."""


def between(
    one: Sequence[Routing],
    other: Sequence[Routing],
    *,
    units: Sequence[str] = (),
    permutations: int = 999,
    seed: int = 0,
) -> Drift:
    """Compare two sets of passes by a permutation test (Fisher 1935; p values as in Phipson & Smyth 2010).

    Passes are permuted whole, because the tokens of one text are routed alike: a test over tokens would find any two
    texts different.

    Args:
        one: passes of the first group.
        other: passes of the second group.
        units: the unit (a task, a cluster) of each pass, first group first. Units are permuted whole, and each is in
            one group only. If empty, each pass is a unit.
        permutations: how many are drawn.
        seed: of the permutations.

    Raises:
        SpecError: a group is empty, or the passes are of models of different shapes.
    """
    if not one or not other:
        raise SpecError("one of the two groups has no passes, so they cannot be compared")
    whole = divergence(Load(one), Load(other))
    if not whole:
        raise SpecError("the passes have no mixture layers")
    names = list(units) or [str(number) for number in range(len(one) + len(other))]
    sums, first = _by_unit([*one, *other], names, len(one))
    bits = sum(whole) / len(whole)
    rng = np.random.default_rng(seed)
    permuted = np.array([_mean_bits(sums, rng.permutation(first)) for _ in range(permutations)])
    is_testable = min(int(first.sum()), int((~first).sum())) >= FEWEST
    as_far = int((permuted >= bits - 1e-12).sum())
    return Drift(
        bits=bits,
        by_chance=float(permuted.mean()),
        p_value=(1 + as_far) / (1 + permutations) if is_testable else None,
        layers=whole,
    )


def _by_unit(
    routings: Sequence[Routing], units: Sequence[str], in_first: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Counts of each unit (units × layers × experts), and whether it is in the first group."""
    order = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    sums = np.zeros((len(order), *np.shape(routings[0].counts)))
    first = np.zeros(len(order), dtype=np.bool_)
    for position, (routing, unit) in enumerate(zip(routings, units, strict=True)):
        sums[order[unit]] += routing.counts
        first[order[unit]] |= position < in_first
    return sums, first


def _mean_bits(sums: NDArray[np.float64], first: NDArray[np.bool_]) -> float:
    groups = [sums[first].sum(0), sums[~first].sum(0)]
    shares = [group / np.maximum(group.sum(axis=1, keepdims=True), 1e-300) for group in groups]
    middle = (shares[0] + shares[1]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(share > 0, share * np.log2(share / middle), 0.0).sum(axis=1) for share in shares]
    return float((parts[0] + parts[1]).mean() / 2)
