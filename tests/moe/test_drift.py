"""Whether two sets of passes are routed differently."""

from __future__ import annotations

import numpy as np
import pytest

from tierwise.mixture.load import Load, divergence
from tierwise.moe.drift import between
from tierwise.spec.errors import SpecError
from tierwise.spec.routing import Routing


def drawn(rng: np.random.Generator, shares: list[float], passes: int, tokens: int = 50) -> list[Routing]:
    """Passes of two layers, whose texts have habits of their own."""
    return [
        Routing(
            source="vllm",
            layers=[0, 1],
            counts=[rng.multinomial(tokens, rng.dirichlet(np.array(shares) * 20)).tolist() for _ in range(2)],
            tokens=tokens,
            active=1,
        )
        for _ in range(passes)
    ]


def test_the_bits_are_those_of_the_loads():
    rng = np.random.default_rng(0)
    one, other = drawn(rng, [0.5, 0.3, 0.2], 8), drawn(rng, [0.2, 0.3, 0.5], 8)
    found = between(one, other, permutations=19)
    assert found.layers == divergence(Load(one), Load(other))
    assert found.bits == pytest.approx(sum(found.layers) / 2)


def test_different_routing_is_found_and_lies_above_what_chance_gives():
    rng = np.random.default_rng(1)
    found = between(drawn(rng, [0.6, 0.2, 0.2], 20), drawn(rng, [0.2, 0.2, 0.6], 20), permutations=199)
    assert found.p_value == 1 / 200
    assert found.bits > 5 * found.by_chance


def test_equal_routing_is_called_different_no_more_often_than_the_level_says():
    """A test over tokens instead of passes would call it different nearly always."""
    rng = np.random.default_rng(2)
    shares = [0.4, 0.3, 0.3]
    found = [between(drawn(rng, shares, 8), drawn(rng, shares, 8), permutations=39, seed=n).p_value for n in range(200)]
    assert sum(p is not None and p <= 0.05 for p in found) <= 20  # expected 10 of 200; 20 is three deviations above


def test_tasks_stand_or_fall_whole():
    rng = np.random.default_rng(3)
    one, other = drawn(rng, [0.5, 0.5], 8), drawn(rng, [0.5, 0.5], 8)
    units = [f"task {number // 4}" for number in range(16)]
    assert between(one, other, units=units, permutations=9).p_value is None  # two tasks in each group are too few


def test_an_empty_side_is_named():
    with pytest.raises(SpecError, match="one of the two groups has no passes"):
        between([], drawn(np.random.default_rng(0), [0.5, 0.5], 2))
