"""The exact interval against printed values and exact arithmetic."""

from __future__ import annotations

import math

import pytest

from tierwise.stats.exact import clopper_pearson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_clopper_and_pearson_give_what_newcombe_printed(
    successes, n, low, high
):  # Stat. Med. 17:857, table I, method 5
    found = clopper_pearson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_all_or_nothing_leaves_room_for_doubt():
    assert clopper_pearson(0, 50).high == pytest.approx(1 - 0.025 ** (1 / 50))
    assert clopper_pearson(50, 50).low == pytest.approx(0.025 ** (1 / 50))


@pytest.mark.parametrize("n", [10, 40])
def test_it_never_covers_less_than_95_percent(n):
    intervals = [clopper_pearson(k, n) for k in range(n + 1)]
    for share in (step / 200 for step in range(201)):
        chance = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)]
        held = sum(one for one, found in zip(chance, intervals, strict=True) if found.low <= share <= found.high)
        assert held >= 0.95
