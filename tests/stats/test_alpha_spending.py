"""Looks before the end: published boundaries are met, counts are exact, and the error adds up to what was planned."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import special

from tierwise.stats.alpha_spending import LOOKS, TAIL, counts, looks, spent, widths


@pytest.mark.parametrize(
    ("spend", "published"),
    [
        (lambda t: 2 * special.ndtr(special.ndtri(TAIL / 2) / math.sqrt(t)), [4.877, 3.357, 2.680, 2.290, 2.031]),
        (lambda t: TAIL * math.log(1 + (math.e - 1) * t), [2.438, 2.427, 2.410, 2.397, 2.386]),
    ],
    ids=["O'Brien-Fleming", "Pocock"],
)
def test_boundaries_are_those_of_the_published_tables(spend, published):
    """DeMets & Lan 1994, Statistics in Medicine 13:1341, five looks."""
    found = widths((1, 2, 3, 4, 5), tuple(float(spend(look / 5)) for look in range(1, 6)))
    assert found == pytest.approx(published, abs=0.001)


def test_a_single_look_is_a_plain_test():
    assert widths((50,), (TAIL,)) == pytest.approx((1.959964,), abs=1e-6)


def test_a_look_right_after_another_one_is_as_good_as_that_one():
    at = (*looks(9750, 10000, is_last=False), 9751)
    one, other = (widths(some, tuple(spent(some, 10000, is_last=True)))[-1] for some in (at, at[:-1]))
    assert one == pytest.approx(other, abs=0.002)


def test_walks_cross_the_boundary_as_often_as_planned():
    at = looks(1000, 1000, is_last=True)
    steps = np.diff([0, *at])
    walks = np.cumsum(np.random.default_rng(0).normal(size=(40_000, len(at))) * np.sqrt(steps), axis=1) / np.sqrt(at)
    crossed = (walks >= np.array(widths(tuple(at), tuple(spent(at, 1000, is_last=True))))).any(axis=1).mean()
    assert crossed == pytest.approx(TAIL, abs=0.0025), "three standard errors of 40,000 walks"


@pytest.mark.parametrize("chance", [0.5, 0.05, 0.9])
def test_counts_are_exact(chance):
    trials, most = [3, 3, 7, 12], [0.1, 0.15, 0.2, 0.3]
    edges = counts(trials, chance, most)
    wrong = [0.0] * 4
    for walk in itertools.product([0, 1], repeat=12):
        hits = sum(walk)
        first = next((look for look, n in enumerate(trials) if sum(walk[:n]) >= edges[look]), None)
        for look in range(4) if first is None else range(first, 4):
            wrong[look] += chance**hits * (1 - chance) ** (12 - hits) * (first is not None)
    assert all(error <= most[look] for look, error in enumerate(wrong))
    lower = [*edges[:-1], edges[-1] - 1]
    more = sum(
        chance ** sum(walk) * (1 - chance) ** (12 - sum(walk))
        for walk in itertools.product([0, 1], repeat=12)
        if any(sum(walk[:n]) >= edge for n, edge in zip(trials, lower, strict=True))
    )
    assert more > most[-1], "one success fewer at the end would be one too few"


def test_looks_are_set_by_the_plan_alone():
    whole = looks(1000, 1000, is_last=True)
    assert (len(whole), whole[-1]) == (LOOKS, 1000)
    for seen in (10, 333, 999):
        assert looks(seen, 1000, is_last=False) == [look for look in whole if look <= seen]


def test_the_end_of_a_run_is_a_look_wherever_it_comes():
    assert looks(983, 1000, is_last=True)[-2:] == [975, 983]
    assert spent(looks(983, 1000, is_last=True), 1000, is_last=True)[-1] == TAIL


def test_a_small_plan_is_looked_at_after_every_task():
    assert looks(7, 7, is_last=False) == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_is_looked_at_before_there_is_enough():
    assert looks(120, 200, is_last=False, least=50)[0] == 50
    assert looks(30, 30, is_last=True, least=50) == []
