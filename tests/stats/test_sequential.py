"""Tests that may be looked at before their end: they are wrong as rarely as they say, and stop early."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special

from tierwise.stats.alpha_spending import looks, spent, widths
from tierwise.stats.sequential import StoppingPoint, mean_below_zero, paired, paired_interval, score, share

RUNS = 200
MOST = 13
"""Of 200 runs with an error of 2.5 %, more are wrong in one of a thousand seeds."""


def drawn(change, flips, n, seed=0):
    luck = np.random.default_rng(seed).random((RUNS, n))
    return np.where(luck < (flips - change) / 2, -1, np.where(luck > 1 - (flips + change) / 2, 1, 0))


def verdicts(rows, margin):
    return [paired(row.tolist(), margin, len(row), is_last=True).verdict for row in rows]


def test_no_loss_is_seldom_called_one():
    assert verdicts(drawn(0.0, 0.1, 600), 0.03).count("FAIL") <= MOST


def test_a_loss_of_the_margin_seldom_passes():
    assert verdicts(drawn(-0.05, 0.15, 600), 0.05).count("PASS") <= MOST


def test_the_first_look_that_settles_it_ends_it():
    stop = paired([0] * 1000, 0.05, 1000, is_last=False)
    assert stop.verdict == "PASS"
    assert paired([0] * (stop.tasks - 1), 0.05, 1000, is_last=False).verdict is None
    assert paired([0] * stop.tasks, 0.05, 1000, is_last=False).tasks == stop.tasks


def test_between_two_looks_the_answer_is_that_of_the_last():
    at = paired([0] * 100, 0.03, 1000, is_last=False)
    assert (at.tasks, at.verdict, at.needed) == (100, None, 200)
    later = paired([0] * 100 + [-1] * 24, 0.03, 1000, is_last=False)
    assert (later.tasks, later.verdict, later.needed) == (100, None, 176), "what came since is not looked at"


def test_before_the_first_look_nothing_is_settled():
    stop = paired([-1] * 24, 0.03, 1000, is_last=False)
    assert (stop.verdict, stop.tasks, stop.needed) == (None, 0, 1)
    assert paired_interval(0, 0, 0, stop) is None


def test_a_large_loss_is_found_at_the_first_look():
    stop = paired([-1] * 20 + [0] * 980, 0.03, 1000, is_last=False)
    assert (stop.verdict, stop.tasks) == ("FAIL", 25)


def test_runs_alike_need_less_than_half_of_their_tasks():
    stops = [paired(row.tolist(), 0.05, 731, is_last=True) for row in drawn(0.0, 0.05, 731)]
    assert np.median([stop.tasks for stop in stops]) < 0.4 * 731
    assert [stop.verdict for stop in stops].count("PASS") >= 0.97 * RUNS


def test_what_nothing_speaks_for_needs_nobody_knows_how_many():
    assert paired([-1, -1, -1, 1, 1, 1] + [0] * 94, 0.0001, 100, is_last=True).needed is not None
    assert paired([1] * 3 + [0] * 40, 0.03, 43, is_last=True).verdict is None
    assert mean_below_zero([1.0, -1.0] * 50, 100, is_last=True).needed is None


def test_nothing_seen_settles_nothing():
    assert paired([], 0.03, 100, is_last=True).verdict is None


def test_the_interval_and_the_verdict_are_one():
    for row in [*drawn(0.0, 0.02, 200)[:60], *drawn(-0.06, 0.1, 200)[:60]]:
        stop = paired(row.tolist(), 0.05, 200, is_last=True)
        seen = row[: stop.tasks]
        interval = paired_interval(int((seen > 0).sum()), int((seen < 0).sum()), len(seen), stop)
        assert (interval.low > -0.05) == (stop.verdict == "PASS")
        assert (interval.high <= 0) == (stop.verdict == "FAIL") or stop.verdict == "PASS"
        assert interval.low <= seen.mean() <= interval.high


def test_the_interval_holds_the_truth_at_every_look():
    at = looks(300, 300, is_last=True)
    stops = [
        StoppingPoint(verdict=None, tasks=n, width=width, needed=None)
        for n, width in zip(at, widths(tuple(at), tuple(spent(at, 300, is_last=True))), strict=True)
    ]
    missed = 0
    for row in drawn(-0.02, 0.2, 300)[:60]:
        wins, losses = np.cumsum(row > 0), np.cumsum(row < 0)
        found = [paired_interval(int(wins[s.tasks - 1]), int(losses[s.tasks - 1]), s.tasks, s) for s in stops]
        missed += not all(one.low <= -0.02 <= one.high for one in found)
    assert missed <= 9, "5 % of 60 are 3"


@pytest.mark.parametrize(("wins", "losses", "n"), [(10, 12, 500), (0, 0, 200), (30, 5, 300), (5, 30, 300)])
def test_the_score_is_tangos(wins, losses, n):
    margin = 0.03

    def unlikely(lost):
        logs = special.xlogy(wins, lost - margin) + special.xlogy(losses, lost)
        return -logs - special.xlogy(n - wins - losses, 1 - 2 * lost + margin)

    lost = optimize.minimize_scalar(
        unlikely, bounds=(margin + 1e-12, 0.5), method="bounded", options={"xatol": 1e-12}
    ).x
    z = (wins - losses + n * margin) / math.sqrt(n * (2 * lost - margin - margin**2))
    assert score(wins, losses, n, -margin) == pytest.approx(z, rel=1e-5)


def test_the_score_of_no_difference_is_mcnemars():
    assert score(30, 12, 300, 0.0) == pytest.approx((30 - 12) / math.sqrt(30 + 12))


def test_a_quantile_lies_on_the_side_on_which_enough_actions_are():
    chance = np.random.default_rng(4)
    assert share([True] * 300, 0.95, 300, is_last=False).verdict == "PASS"
    assert share((chance.random(300) < 0.7).tolist(), 0.95, 300, is_last=False).verdict == "FAIL"
    at = [share(row.tolist(), 0.95, 300, is_last=True).verdict for row in chance.random((RUNS, 300)) < 0.95]
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
