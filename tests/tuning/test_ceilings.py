"""What any valid certificate can keep at most: the bound is that of known tests where these are the best ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import ceilings
import populations

DELTA = 0.05


def samples(units: int, size: int, repeats: int = 20_000) -> np.ndarray:
    return np.random.default_rng(0).integers(0, units, size=(repeats, size))


@pytest.mark.parametrize(("risk", "limit", "n"), [(0.002, 0.01, 500), (0.01, 0.05, 200), (0.03, 0.05, 200)])
def test_with_losses_of_0_or_1_it_is_the_power_of_the_exact_test_with_a_coin(risk, limit, n):
    losses = np.zeros(1000)
    losses[: round(1000 * risk)] = 1
    rows = samples(1000, n)
    allowed = int(stats.binom.ppf(DELTA, n, limit))  # the first number of losses at which the level is exceeded
    coin = (DELTA - stats.binom.cdf(allowed - 1, n, limit)) / stats.binom.pmf(allowed, n, limit)
    power = stats.binom.cdf(allowed - 1, n, risk) + coin * stats.binom.pmf(allowed, n, risk)
    assert ceilings.power(losses - limit, limit, rows, rows, DELTA) == pytest.approx(power, abs=0.02)


@pytest.mark.parametrize(("units", "power"), [(58, 0.95**-58 * DELTA), (59, 1.0), (30, 0.95**-30 * DELTA)])
def test_without_a_loss_it_is_one_from_59_units_on(units, power):
    rows = samples(10, units, 50)
    assert ceilings.power(np.full(10, -0.05), 0.05, rows, rows, DELTA) == pytest.approx(power, abs=1e-6)


def test_units_that_are_light_prove_less():
    """With a third of the largest weight, a unit without a loss excludes a third of the risk."""
    rows = samples(10, 100, 50)
    wealth = (1 + 0.05 / 3 / 0.95) ** 100
    assert ceilings.power(np.full(10, -0.05 / 3), 0.05, rows, rows, DELTA) == pytest.approx(DELTA * wealth, rel=1e-6)


def test_one_percent_with_500_equal_tasks_cannot_keep_60_percent_of_the_saving():
    """The share that is served up to the second loss has the mean Γ(7/3) / 155^(1/3) = .222; .122 of .219 is saved,
    and the coin adds a little.
    """
    equal = populations.SYNTHETIC[0]
    found = ceilings.ceiling(equal, 0.01, 500, price=0.1, delta=DELTA)
    assert found == pytest.approx(0.57, abs=0.03)
    assert ceilings.ceiling(equal, 0.05, 500, price=0.1, delta=DELTA) == pytest.approx(0.86, abs=0.02)


def test_a_pool_whose_oracle_saves_nothing_has_no_ceiling():
    assert ceilings.ceiling(populations.SYNTHETIC[0], 0.0001, 500, price=0.1, delta=DELTA) is None
