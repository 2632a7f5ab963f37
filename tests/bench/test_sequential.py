"""Tests that may be looked at after every task: they are wrong as rarely as they say, and stop early."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special

from tierwise.bench import sequential
from tierwise.bench.sequential import GOAL, LAST, Stop, mean_below_zero, noninferior, paired, paired_interval, share

RUNS = 200
MOST = 13
"""Of 200 runs with an error of 2.5 %, more are wrong in one of a thousand seeds."""


def drawn(change, flips, n, seed=0):
    luck = np.random.default_rng(seed).random((RUNS, n))
    return np.where(luck < (flips - change) / 2, -1, np.where(luck > 1 - (flips + change) / 2, 1, 0))


def verdicts(rows, margin):
    return [paired(row.tolist(), margin, is_last=True).verdict for row in rows]


def test_no_loss_is_seldom_called_one():
    assert verdicts(drawn(0.0, 0.1, 600), 0.03).count("FAIL") <= MOST


def test_a_loss_of_the_margin_seldom_passes():
    assert verdicts(drawn(-0.05, 0.15, 600), 0.05).count("PASS") <= MOST


def test_the_first_look_that_settles_it_ends_it():
    stop = paired([0] * 1000, 0.05, is_last=False)
    assert stop.verdict == "PASS"
    assert paired([0] * (stop.tasks - 1), 0.05, is_last=False).verdict is None
    assert paired([0] * stop.tasks, 0.05, is_last=False).tasks == stop.tasks


def test_a_large_loss_is_found_after_a_few_tasks():
    stop = paired([-1] * 12 + [0] * 988, 0.03, is_last=False)
    assert (stop.verdict, stop.tasks <= 12) == ("FAIL", True)


def test_runs_alike_need_less_than_half_of_their_tasks():
    stops = [paired(row.tolist(), 0.05, is_last=True) for row in drawn(0.0, 0.05, 731)]
    assert np.mean([stop.tasks for stop in stops]) < 0.45 * 731
    assert [stop.verdict for stop in stops].count("PASS") >= 0.98 * RUNS


def test_what_is_not_settled_says_how_much_is_missing():
    stop = paired([0] * 100, 0.03, is_last=False)
    assert stop.verdict is None
    assert 0 < stop.needed < 200
    assert Stop(verdict=None, tasks=9, to_pass=-1.0, to_fail=-2.0).needed is None


def test_nothing_seen_settles_nothing():
    assert paired([], 0.03, is_last=True).verdict is None


def test_the_interval_and_the_verdict_are_one():
    for n in range(100, 200, 3):
        low, high = paired_interval(0, 0, n, 0.03)
        assert (low > -0.03) == (paired([0] * n, 0.03, is_last=False).verdict == "PASS")
        assert low <= 0 <= high


def test_the_interval_holds_the_truth_at_every_look():
    missed = 0
    for row in drawn(-0.02, 0.2, 300)[:40]:
        for n in range(30, 301, 30):
            seen = row[:n]
            low, high = paired_interval(int((seen > 0).sum()), int((seen < 0).sum()), n, 0.03)
            if not low <= -0.02 <= high:
                missed += 1
                break
    assert missed <= 7, "5 % of 40 are 2"


def test_wealth_is_the_product_of_the_bets():
    gains = [0.03, 1.03, 0.03, -0.97]
    bets = np.geomspace(0.1, 0.98, 8) / 0.97
    slow = np.mean([math.prod(1 + bet * gain for gain in gains) for bet in bets])
    steps = [(np.array([gains.count(gain)]), gain) for gain in sorted(set(gains))]
    assert sequential.wealth(steps, 0.1)[0] == pytest.approx(math.log(slow))


@pytest.mark.parametrize(("wins", "losses", "n"), [(10, 12, 500), (0, 0, 200), (30, 5, 300), (5, 30, 300)])
def test_the_look_at_the_end_is_tangos_score_test(wins, losses, n):
    margin = 0.03

    def unlikely(lost):
        logs = special.xlogy(wins, lost - margin) + special.xlogy(losses, lost)
        return -logs - special.xlogy(n - wins - losses, 1 - 2 * lost + margin)

    lost = optimize.minimize_scalar(
        unlikely, bounds=(margin + 1e-12, 0.5), method="bounded", options={"xatol": 1e-12}
    ).x
    z = (wins - losses + n * margin) / math.sqrt(n * (2 * lost - margin - margin**2))
    assert noninferior(wins, losses, n, margin) == pytest.approx(special.ndtr(-z), rel=1e-4)


def test_the_look_at_the_end_finds_what_the_walk_did_not():
    row = ([0] * 18 + [1, -1]) * 50
    walk, whole = paired(row, 0.02, is_last=False), paired(row, 0.02, is_last=True)
    assert walk.verdict is None
    assert (whole.verdict == "PASS") == (noninferior(50, 50, 1000, 0.02) <= LAST)


def test_a_quantile_lies_on_the_side_on_which_enough_actions_are():
    chance = np.random.default_rng(4)
    assert share([True] * 300, 0.95, is_last=False).verdict == "PASS"
    assert share((chance.random(300) < 0.7).tolist(), 0.95, is_last=False).verdict == "FAIL"
    at = [share(row.tolist(), 0.95, is_last=True).verdict for row in chance.random((RUNS, 300)) < 0.95]
    assert max(at.count("PASS"), at.count("FAIL")) <= MOST


def test_a_mean_is_seldom_found_on_a_side_on_which_it_is_not():
    values = np.random.default_rng(5).lognormal(size=(RUNS, 500)) - math.exp(0.5)
    found = [mean_below_zero(row.tolist(), 500, is_last=True).verdict for row in values]
    assert max(found.count("PASS"), found.count("FAIL")) <= 1.5 * MOST, "the test is asymptotic, the values are skewed"


def test_a_mean_that_is_clearly_below_is_found_early():
    values = np.random.default_rng(6).normal(-0.5, 1, 1000)
    stop = mean_below_zero(values.tolist(), 1000, is_last=False)
    assert (stop.verdict, stop.tasks < 200) == ("PASS", True)


def test_no_mean_is_judged_by_a_handful():
    assert mean_below_zero([-1.0, -1.1] * 10, 1000, is_last=True).verdict is None


def test_the_goal_leaves_something_for_the_end():
    assert math.exp(-GOAL) + LAST == pytest.approx(sequential.TAIL)
