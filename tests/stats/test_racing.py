"""Racing: the e-value, who is dropped and who never is, and false drops by simulation."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.stats.estimates import wilson
from tierwise.stats.racing import Race, Result, sign_e_value
from tierwise.stopping.e_value import of_pair

COUNTS = st.integers(0, 60)


def batches(solves, dollars, tasks, *, size=10, seconds=None):
    """Batches of tasks: `solves(name, task)` is a score."""
    seconds = seconds or {}
    for start in range(0, tasks, size):
        yield {
            name: [
                Result(solves(name, task), dollars[name], seconds.get(name, 0.0)) for task in range(start, start + size)
            ]
            for name in dollars
        }


def run(race, rounds):
    for batch in rounds:
        race = race.after(batch)
    return race


@given(COUNTS, COUNTS)
def test_the_evidence_is_that_of_the_stopping_rule(wins, losses):
    assert sign_e_value(wins, losses) == pytest.approx(math.log(of_pair(wins, losses)), rel=1e-9, abs=1e-9)


def test_the_evidence_of_many_tasks_stays_finite_or_says_that_there_is_none():
    assert 0 < sign_e_value(20_000, 0) < math.inf
    assert sign_e_value(0, 20_000) < 0


def test_ten_tasks_won_and_none_lost_drop_one_of_eight_but_nine_do_not():
    """(K - 1)/delta is 140 for K = 8 at .05; the table of unanimous votes gives 102 for nine and 186 for ten."""
    names = ["best", *"abcdefg"]

    def after(tasks):
        rounds = batches(lambda name, _: float(name != "a"), dict.fromkeys(names, 1.0), tasks, size=1)
        return run(Race.started(names, incumbent="best"), rounds)

    assert after(9).racing == tuple(names)
    (dropped,) = after(10).dropped
    assert (dropped.name, dropped.by, dropped.tasks, dropped.wins, dropped.losses) == ("a", "best", 10, 10, 0)
    assert dropped.evidence == pytest.approx(186.1, abs=0.1)
    assert dropped.why == "best scored higher on 10 tasks and lower on 0, and is not dearer (evidence 186)"


def test_where_any_may_drop_any_the_evidence_has_to_be_larger():
    assert Race.started("abcdefgh", incumbent="a").threshold == pytest.approx(140)
    assert Race.started("abcdefgh").threshold == pytest.approx(1120)


def test_a_cheaper_deployment_is_never_dropped_however_bad_it_is():
    race = run(
        Race.started(["weak", "good"]), batches(lambda name, _: float(name == "good"), {"weak": 1, "good": 2}, 200)
    )

    assert race.racing == ("weak", "good")
    assert race.is_settled  # each is on the frontier, so more tasks would change nothing
    assert race.tasks == 200


def test_a_deployment_that_is_worse_and_dearer_is_dropped_and_not_asked_any_more():
    race = Race.started(["good", "weak"])
    rounds = list(batches(lambda name, _: float(name == "good"), {"good": 1, "weak": 2}, 60))
    race = run(race, rounds)

    assert race.racing == ("good",)
    assert race.is_settled
    assert race.asked == {"good": 60, "weak": 10}
    assert race.dollars == {"good": 60, "weak": 20}
    without = {"good": rounds[0]["good"]}
    assert race.after(without).asked == {"good": 70, "weak": 10}


def test_what_was_shown_before_counts_once_the_deployment_is_no_longer_cheaper():
    race = Race.started(["good", "weak"])
    cheap = [{"good": [Result(1, 2.0)] * 10, "weak": [Result(0, 1.0)] * 10}]
    dear = [{"good": [Result(1, 2.0)] * 10, "weak": [Result(1, 9.0)] * 10}]

    assert run(race, cheap).racing == ("good", "weak")
    assert run(race, cheap + dear).racing == ("good",)


def test_a_faster_deployment_is_kept_where_seconds_count():
    def raced(**settings):
        rounds = batches(
            lambda name, _: float(name == "good"), {"good": 1, "weak": 2}, 60, seconds={"good": 3.0, "weak": 1.0}
        )
        return run(Race.started(["good", "weak"], **settings), rounds).racing

    assert raced() == ("good",)
    assert raced(seconds_count=True) == ("good", "weak")


def test_only_the_incumbent_drops_others_where_it_is_fixed():
    solves = {"incumbent": 0.0, "good": 1.0, "weak": 0.0}
    race = run(
        Race.started(list(solves), incumbent="incumbent"),
        batches(lambda name, _: solves[name], dict.fromkeys(solves, 1.0), 100),
    )

    assert race.racing == ("incumbent", "good", "weak")


def test_of_deployments_that_are_equal_within_a_margin_the_cheapest_stays():
    rng = random.Random(2)
    scores = {(name, task): rng.choice([0.45, 0.5, 0.55]) for name in "abc" for task in range(2000)}
    dollars = {"a": 1.0, "b": 2.0, "c": 2.0}
    race = Race.started("abc", scores="graded", margin=-0.05)
    race = run(race, batches(lambda name, task: scores[name, task], dollars, 2000, size=100))

    assert race.racing == ("a",)
    assert {one.name for one in race.dropped} == {"b", "c"}


def test_one_of_several_equals_always_stays():
    race = Race.started("abcd", scores="graded", margin=-0.5)
    race = run(race, batches(lambda *_: 0.5, dict.fromkeys("abcd", 1.0), 400, size=20))

    assert race.racing == ("a",)


@pytest.mark.parametrize("scores", ["binary", "graded"])
@pytest.mark.parametrize("incumbent", ["a", None])
def test_equally_good_deployments_are_dropped_in_at_most_delta_of_races(scores, incumbent):
    rng, names, wrong, races = random.Random(4), "abcd", 0, 120
    for _ in range(races):
        race = Race.started(names, delta=0.1, incumbent=incumbent, scores=scores)
        for _ in range(10):
            hard = [rng.random() for _ in range(20)]
            race = race.after({name: [Result(float(rng.random() > one), 1.0) for one in hard] for name in race.racing})
            if race.dropped:
                wrong += 1
                break

    assert wilson(wrong, races).low <= 0.1


def test_evidence_of_a_fair_coin_reaches_a_bound_with_at_most_its_inverse_over_every_run_of_sixteen():
    bound, reached = 6.0, 0
    for flips in itertools.product((0, 1), repeat=16):
        wins = itertools.accumulate(flips)
        reached += any(sign_e_value(won, n - won) >= math.log(bound) for n, won in enumerate(wins, start=1))

    assert 0 < reached / 2**16 <= 1 / bound


@pytest.mark.parametrize(
    ("names", "settings", "said"),
    [
        (["a"], {}, "at least two"),
        (["a", "a"], {}, "different"),
        (["a", "b"], {"incumbent": "c"}, "does not race"),
        (["a", "b"], {"delta": 0}, "between 0 and 1"),
        (["a", "b"], {"margin": 1}, "between -1 and 1"),
    ],
)
def test_a_race_that_cannot_be_run_is_refused(names, settings, said):
    with pytest.raises(ValueError, match=said):
        Race.started(names, **settings)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"a": [Result(1, 1)]}, "no results of b"),
        ({"a": [Result(1, 1)], "b": []}, "different numbers"),
        ({"a": [Result(0.5, 1)], "b": [Result(1, 1)]}, "0 or 1"),
        ({"a": [Result(math.nan, 1)], "b": [Result(1, 1)]}, "0 or 1"),
    ],
)
def test_a_batch_that_is_not_whole_is_refused(batch, said):
    with pytest.raises(ValueError, match=said):
        Race.started(["a", "b"]).after(batch)


def test_a_graded_score_outside_its_range_is_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        Race.started(["a", "b"], scores="graded").after({"a": [Result(1.5, 1)], "b": [Result(1, 1)]})
