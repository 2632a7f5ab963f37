"""The chance that a paired comparison will show a difference: exact, and zero where nothing can show it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tierwise.stats.futility import LEVEL, chance_of_showing
from tierwise.stats.racing import LEAST_TASKS, Race, Result

SMALL = st.integers(0, 8)


def by_enumeration(wins, losses, ties, remaining):
    """The sum over all outcomes of the remaining tasks."""
    prior = (wins + 0.5, losses + 0.5, ties + 0.5)
    total = 0.0
    for more_wins in range(remaining + 1):
        for more_losses in range(remaining - more_wins + 1):
            outcome = (more_wins, more_losses, remaining - more_wins - more_losses)
            all_wins, all_ = wins + more_wins, wins + losses + more_wins + more_losses
            if stats.binom.sf(all_wins - 1, all_, 0.5) > LEVEL:
                continue
            log = math.lgamma(remaining + 1) + math.lgamma(sum(prior)) - math.lgamma(sum(prior) + remaining)
            for at, of in zip(prior, outcome, strict=True):
                log += math.lgamma(at + of) - math.lgamma(at) - math.lgamma(of + 1)
            total += math.exp(log)
    return total


@settings(max_examples=40, deadline=None)
@given(SMALL, SMALL, SMALL, st.integers(0, 20))
def test_the_chance_is_that_of_all_outcomes(wins, losses, ties, remaining):
    found = chance_of_showing(wins, losses, ties, remaining)
    assert found == pytest.approx(by_enumeration(wins, losses, ties, remaining), rel=1e-6, abs=1e-9)


def test_what_no_outcome_can_show_has_no_chance():
    """Five wins of five have p = .031, above .025; and six more losses than tasks left cannot be made up for."""
    assert chance_of_showing(5, 0, 0, 0) == 0
    assert chance_of_showing(6, 0, 0, 0) == 1
    assert chance_of_showing(0, 20, 5, 10) == 0


def race_of(dear, cheap, *, tasks=100, **more):
    """A race of two after the given scores of each task."""
    race = Race.started(["cheap", "dear"], most_tasks=tasks, futility=0.03, **more)
    batch = {
        "cheap": [Result(float(score), 1.0) for score in cheap],
        "dear": [Result(float(score), 2.0) for score in dear],
    }
    return race.after(batch)


def test_a_dearer_one_that_answers_alike_drops_out_and_says_why():
    same = [1, 0] * 15
    (dropped,) = race_of(same, same).dropped
    assert (dropped.name, dropped.by, dropped.tasks, dropped.is_futile) == ("dear", "cheap", 30, True)
    assert "it is dearer than cheap, scored higher on 0 tasks and lower on 0" in dropped.why


def test_a_dearer_one_that_solves_more_stays():
    assert race_of([1] * 30, [1, 0, 1] * 10).racing == ("cheap", "dear")


def test_nobody_is_futile_after_a_few_tasks():
    alike = [1] * (LEAST_TASKS - 1)
    assert race_of(alike, alike, tasks=12).dropped == ()


def test_what_must_be_kept_is_never_dropped():
    assert race_of([0] * 40, [1] * 40, kept=["dear"]).racing == ("cheap", "dear")
    assert race_of([0] * 40, [1] * 40).racing == ("cheap",)


def test_the_faster_one_stays_where_seconds_count():
    race = Race.started(["cheap", "dear"], most_tasks=100, futility=0.03, seconds_count=True)
    batch = {"cheap": [Result(1.0, 1.0, 2.0)] * 40, "dear": [Result(1.0, 2.0, 1.0)] * 40}
    assert race.after(batch).racing == ("cheap", "dear")


def test_with_equal_dollars_nobody_is_futile():
    race = Race.started(["one", "two"], most_tasks=100, futility=0.03)
    assert race.after({name: [Result(1.0, 1.0)] * 60 for name in ("one", "two")}).racing == ("one", "two")


@pytest.mark.parametrize("wrong", [{"futility": 1.0, "most_tasks": 9}, {"futility": 0.1}, {"kept": ["nobody"]}])
def test_a_race_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"futility|kept"):
        Race.started(["one", "two"], **wrong)


def test_a_race_ends_once_the_dearer_one_is_almost_sure_to_be_shown_better_and_drops_nobody():
    first = race_of([1, 1] * 4, [1, 0] * 4)
    assert not first.is_settled
    batch = {"cheap": [Result(float(n % 2), 1.0) for n in range(12)], "dear": [Result(1.0, 2.0)] * 12}
    race = first.after(batch)
    assert race.is_settled
    assert race.racing == ("cheap", "dear")
    assert race.threshold > 2**10 / 60, "the evidence alone would not end it"
    assert not Race.started(["cheap", "dear"]).after(batch).is_settled


def test_one_that_stands_for_another_is_not_futile_before_that_one_is():
    """Each solves one task more than the one before: c stands for d, and stays where d might be better than a."""
    names = ["a", "b", "c", "d"]
    batch = {name: [Result(float(n < 30 + place), 1.0 + place) for n in range(60)] for place, name in enumerate(names)}
    race = Race.started(names, most_tasks=100, futility=0.05).after(batch)
    assert race.chance("d", "c") < 0.05 < race.showing("d", "a")
    assert [(one.name, one.by) for one in race.dropped] == [("b", "a"), ("d", "c")]
    alike = {name: [Result(1.0, 1.0 + place) for _ in range(40)] for place, name in enumerate(names) if name in "ac"}
    race = race.after(alike)
    assert race.chance("c", "a") < 0.05
    assert race.racing == ("a", "c"), "because of d"
