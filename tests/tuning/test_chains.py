"""Which chain of settings is tested."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tierwise.stats.promises import Losses
from tierwise.tuning.chains import BETS, EXACT, best_chain, largest_rate, rehearsed


@pytest.mark.parametrize(("limit", "units"), [(0.05, 58), (0.05, 59), (0.05, 150), (0.02, 250), (0.01, 500)])
def test_the_largest_rate_is_that_of_the_exact_test(limit, units):
    passing = [lost for lost in range(units + 1) if stats.binom.cdf(lost, units, limit) <= 0.05]
    rate = largest_rate(limit, 0.05, units, is_plain=True)
    assert rate == (passing[-1] / units if passing else -1 / units)


def test_a_bet_passes_with_fewer_losses_than_the_exact_test():
    exact, bet = (largest_rate(0.05, 0.05, 300, is_plain=plain) for plain in (True, False))
    assert 0 <= bet < exact


def test_a_cheap_chain_whose_every_setting_harms_is_left_for_one_that_passes():
    rng = np.random.default_rng(3)
    tasks = 90
    lucky = (rng.random((3, tasks)) < 0.07).astype(float)  # cheap, and above the limit of 5 % however strict
    lucky[0] = np.eye(tasks)[:4].sum(axis=0)  # on the tuning tasks one of them seems to be within it
    sure = np.stack([np.zeros(tasks), np.eye(tasks)[0], np.eye(tasks)[:2].sum(axis=0)])
    dollars = np.array([0.30, 0.25, 0.20, 0.80, 0.60, 0.50])
    harm = np.concatenate([lucky, sure])
    exposure = np.full(6, 0.5)
    passes = rehearsed(harm, np.ones(tasks), 0.05, 0.05, exposure=exposure, units=150, most=1.0, is_plain=True)
    chosen, bet = best_chain([[0, 1, 2], [3, 4, 5]], passes, dollars, reference=1.0)
    assert (list(chosen), bet) == ([3, 4, 5], 0.0)


def test_the_cheapest_of_sure_chains_is_taken():
    passes = {0.0: np.ones((2, 9), dtype=bool)}
    assert best_chain([[0], [1]], passes, np.array([0.6, 0.4]), reference=1.0) == ([1], 0.0)


def test_the_size_of_bets_with_which_most_is_saved_is_taken():
    passes = {0.9: np.array([[True] * 4, [False] * 4]), 0.5: np.array([[True] * 4, [True] * 4])}
    assert best_chain([[0, 1]], passes, np.array([0.6, 0.4]), reference=1.0) == ([0, 1], 0.5)
    assert best_chain([[0]], passes, np.array([0.6, 0.4]), reference=1.0) == ([0], 0.9)  # the first of equal ones


def test_a_rehearsal_of_bets_passes_what_the_test_passes():
    """A resample of alike units is the calibration part itself."""
    for lost in (0, 1):
        harm = np.full((1, 40), 0.02 * lost)
        exposure = np.full(1, 0.01 * lost)
        passes = rehearsed(harm, np.full(40, 2.0), 0.05, 0.05, exposure=exposure, units=70, most=3.0, is_plain=False)
        assert set(passes) == set(BETS)
        for bet, found in passes.items():
            values, weights = (0.01 * lost,) * 70, (2.0,) * 70
            made = Losses(values=values, weights=weights, is_plain=False, tasks=70, most_weight=3.0, bet=bet)
            assert found.all() == found.any() == (made.p_value(0.05) <= 0.05)


def test_of_two_settings_without_a_loss_the_one_that_is_at_stake_less_often_is_safer():
    harm, exposure = np.zeros((2, 60)), np.array([0.9, 0.1])
    passes = rehearsed(harm, np.ones(60), 0.05, 0.05, exposure=exposure, units=120, most=1.0, is_plain=True)
    assert set(passes) == {EXACT}
    often, seldom = passes[EXACT].mean(axis=1)
    assert often < seldom


def test_no_chain_is_an_error():
    with pytest.raises(ValueError, match="no chain"):
        best_chain([], {0.0: np.ones((1, 5), dtype=bool)}, np.ones(1), reference=1.0)
