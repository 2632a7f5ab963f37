"""Which chain of settings is tested."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tierwise.tuning.chains import best_chain, largest_rate


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
    chosen = best_chain(
        [[0, 1, 2], [3, 4, 5]],
        np.concatenate([lucky, sure]),
        dollars,
        reference=1.0,
        rate=largest_rate(0.05, 0.05, 150, is_plain=True),
        units=150,
    )
    assert list(chosen) == [3, 4, 5]


def test_the_cheapest_of_sure_chains_is_taken():
    harm = np.zeros((2, 60))
    options = {"reference": 1.0, "rate": 0.02, "units": 150}
    assert list(best_chain([[0], [1]], harm, np.array([0.6, 0.4]), **options)) == [1]


def test_no_chain_is_an_error():
    with pytest.raises(ValueError, match="no chain"):
        best_chain([], np.zeros((1, 5)), np.ones(1), reference=1.0, rate=0.1, units=5)
