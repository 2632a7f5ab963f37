"""The predictive probability against an enumeration of every way to cast the rest, and against published figures."""

from __future__ import annotations

from itertools import product
from math import gamma, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from tierwise.stopping import Predictive, VotesSoFar
from tierwise.stopping.predictive import (
    is_decided,
    pair_win_probability,
    two_answer_win_probability,
    win_probability,
)


def rising(alpha: float, times: int) -> float:
    return gamma(alpha + times) / gamma(alpha)


def enumerated(counts: tuple[int, ...], left: int) -> float:
    """The probability of every sequence of answers that leaves the first ahead or tied: Pólya's urn."""
    alphas = [count + 0.5 for count in (*counts, 0)]
    total = 0.0
    for rest in product(range(len(alphas)), repeat=left):
        gained = [rest.count(place) for place in range(len(alphas))]
        final = [count + more for count, more in zip((*counts, 0), gained, strict=True)]
        if final[0] >= max(final):
            ways = prod(rising(alpha, more) for alpha, more in zip(alphas, gained, strict=True))
            total += ways / rising(sum(alphas), left)
    return total


@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 6))
def test_it_is_the_sum_over_every_way_to_cast_the_rest(counts, left):
    counts = tuple(sorted(counts, reverse=True))
    assert win_probability(counts, left) == pytest.approx(enumerated(counts, left))


@pytest.mark.parametrize(("first", "second", "left"), [(3, 0, 13), (4, 1, 11), (5, 2, 9), (6, 4, 6), (1, 1, 2)])
def test_the_pair_form_is_the_published_sum_with_a_prior_of_one_half(first, second, left):
    a, b = first + 0.5, second + 0.5
    total = sum(
        special.comb(left, x) * special.beta(a + x, b + left - x) / special.beta(a, b)
        for x in range(left + 1)
        if first + x >= second + left - x
    )
    assert two_answer_win_probability(first, second, left) == pytest.approx(total)


@pytest.mark.parametrize(
    ("counts", "left", "share"),
    [((1,), 15, 0.8471), ((2,), 14, 0.9491), ((3,), 13, 0.9840), ((4,), 12, 0.9956), ((8,), 8, 1.0)],
)
def test_unanimous_votes_of_sixteen(counts, left, share):
    assert win_probability(counts, left) == pytest.approx(share, abs=5e-5)


def test_it_agrees_with_draws_from_the_model():
    rng = np.random.default_rng(7)
    counts, left = (6, 3, 1), 12
    shares = rng.dirichlet([*(count + 0.5 for count in counts), 0.5], 40_000)
    final = np.array([rng.multinomial(left, one) for one in shares]) + np.array([*counts, 0])
    won = final[:, 0] >= final.max(axis=1)
    assert win_probability(counts, left) == pytest.approx(won.mean(), abs=4 * won.std() / 200)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 20))
def test_against_all_rivals_it_is_never_more_than_against_the_strongest(counts, left):
    counts = tuple(sorted(counts, reverse=True))
    assert 0 <= win_probability(counts, left) <= pair_win_probability(counts, left) + 1e-12


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 12), st.sampled_from([0.9, 0.97, 0.99]))
def test_the_shortcut_by_pairs_changes_no_decision(counts, left, probability):
    counts = tuple(sorted(counts, reverse=True))
    assert is_decided(counts, left, probability) == (win_probability(counts, left) >= probability)


def test_a_higher_probability_asks_for_more_votes():
    first = {
        probability: next(
            seen
            for seen in range(1, 17)
            if Predictive(probability=probability).stops(VotesSoFar(("A",) * seen, 16 - seen))
        )
        for probability in (0.9, 0.98, 0.99, 0.999)
    }
    assert first == {0.9: 2, 0.98: 3, 0.99: 4, 0.999: 6}


def test_a_vote_of_sixty_four_with_many_answers_is_decided_in_milliseconds():
    assert 0.8 < win_probability((9, 5, 3, 2, 1, 1, 1, 1), 41) < 1
