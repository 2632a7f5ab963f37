"""Which trials there are, in which order, with which seeds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stage import line
from tierwise.bench.schedule import Variant, schedule, task_seed, variants
from tierwise.bench.trial import action_id
from tierwise.bench.workload import Task
from tierwise.spec.reading import Reading


def tasks(count):
    return [Reading().read(Task, line(f"t{number}"), "") for number in range(count)]


def test_a_tier_of_one_pass_is_measured_once_and_stands_for_both_modes():
    assert variants({"fast": 1, "max": 5}, "both") == (
        Variant(tier="fast", mode="both"),
        Variant(tier="max", mode="average"),
        Variant(tier="max", mode="max"),
    )


@pytest.mark.parametrize("mode", ["average", "max"])
def test_one_mode_may_be_measured_alone(mode):
    assert [variant.mode for variant in variants({"fast": 1, "max": 5}, mode)] == ["both", mode]


@given(count=st.integers(1, 30), tiers=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_every_round_asks_every_task_once_and_every_variant_equally_often(count, tiers, seed):
    asked = variants({f"tier{number}": 4 for number in range(tiers)}, "max")
    trials = schedule(tasks(count), asked, seed)
    assert len({(trial.task.id, trial.variant) for trial in trials}) == len(trials) == count * tiers
    for start in range(0, len(trials), count):
        round_ = trials[start : start + count]
        assert len({trial.task.id for trial in round_}) == count
        shares = Counter(trial.variant for trial in round_)
        assert max(shares.values()) - min(shares.get(variant, 0) for variant in asked) <= 1


def test_the_same_seed_repeats_a_run_and_another_one_does_not():
    asked = variants({"fast": 1, "max": 5}, "both")
    assert schedule(tasks(20), asked, 1) == schedule(tasks(20), asked, 1)
    assert schedule(tasks(20), asked, 1) != schedule(tasks(20), asked, 2)


def test_variants_get_the_same_seed_for_a_task_and_tasks_get_different_ones():
    trials = schedule(tasks(20), variants({"fast": 1, "max": 5}, "both"), 7)
    seeds = {(trial.task.id, trial.seed) for trial in trials}
    assert len(seeds) == len({seed for _, seed in seeds}) == 20


def test_a_tasks_seed_does_not_depend_on_the_other_tasks_and_fits_every_engine():
    assert task_seed(0, "a") == task_seed(0, "a") != task_seed(1, "a")
    assert all(0 <= task_seed(seed, "a") < 2**31 for seed in range(50))


def test_the_longest_names_still_make_an_id_that_the_endpoint_takes():
    task = Reading().read(Task, line("x" * 80), "")
    (trial,) = schedule([task], [Variant(tier="t" * 100, mode="average")], 0)
    assert len(action_id(trial, "01234567")) <= 200
