"""The trials of a run, their order and their seeds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted_tiers import line
from tierwise.bench.schedule import schedule, variants, warm_up
from tierwise.bench.trial import action_id, key_of, request
from tierwise.runs.directory import new_run
from tierwise.runs.records import TierVariant
from tierwise.runs.seeds import MAX_REPEATS, task_seed
from tierwise.spec.reading import Reading
from tierwise.workloads.files import Task


def tasks(count):
    return [Reading().read(Task, line(f"t{number}"), "") for number in range(count)]


def test_a_tier_of_one_pass_is_measured_once_for_both_modes():
    assert variants({"fast": 1, "max": 5}, "both") == (
        TierVariant(tier="fast", mode="both"),
        TierVariant(tier="max", mode="average"),
        TierVariant(tier="max", mode="max"),
    )


@pytest.mark.parametrize("mode", ["average", "max"])
def test_a_single_mode_can_be_measured(mode):
    assert [variant.mode for variant in variants({"fast": 1, "max": 5}, mode)] == ["both", mode]


@pytest.mark.parametrize("mode", ["average", "max", "both"])
def test_a_route_is_only_measured_with_all_its_passes(mode):
    found = variants({"auto": 6, "one": 1}, mode, {"auto", "one"})
    assert [(variant.tier, variant.mode) for variant in found] == [("auto", "max"), ("one", "both")]


@given(count=st.integers(1, 30), tiers=st.integers(1, 5), seed=st.integers(0, 2**40))
def test_every_round_has_each_task_once_and_each_variant_equally_often(count, tiers, seed):
    asked = variants({f"tier{number}": 4 for number in range(tiers)}, "max")
    trials = schedule(tasks(count), asked, seed)
    assert len({(trial.task.id, trial.variant) for trial in trials}) == len(trials) == count * tiers
    for start in range(0, len(trials), count):
        round_ = trials[start : start + count]
        assert len({trial.task.id for trial in round_}) == count
        shares = Counter(trial.variant for trial in round_)
        assert max(shares.values()) - min(shares.get(variant, 0) for variant in asked) <= 1


def test_the_seed_determines_the_schedule():
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


def test_the_longest_names_fit_the_endpoints_id_limit():
    task = Reading().read(Task, line("x" * 80), "")
    *_, last = schedule([task], [TierVariant(tier="t" * 100, mode="average")], 0, MAX_REPEATS)
    assert len(action_id(last, new_run())) <= 200


def test_repeats_share_no_seed_no_id_no_record_and_no_request():
    """A cache that confused two repeats would silently make pass@k wrong."""
    trials = schedule(tasks(3), variants({"fast": 1, "max": 5}, "both"), 7, repeats=20)
    assert len(trials) == 3 * 3 * 20
    assert len({key_of(trial) for trial in trials}) == len({action_id(trial, "run") for trial in trials}) == len(trials)
    assert len({(trial.task.id, trial.seed) for trial in trials}) == 3 * 20
    assert len({str(request(trial, "the same")) for trial in trials}) == len(trials)


@given(st.text(max_size=5), st.integers(0, 2**31), st.integers(0, MAX_REPEATS - 1), st.integers(1, MAX_REPEATS))
def test_two_repeats_of_a_task_never_have_the_same_seed(task, seed, repeat, further):
    assert task_seed(seed, task, repeat) != task_seed(seed, task, repeat + further)


def test_the_first_repeats_come_before_the_second_ones():
    trials = schedule(tasks(5), variants({"fast": 1, "max": 5}, "both"), 0, repeats=3)
    assert [trial.repeat for trial in trials] == [0] * 15 + [1] * 15 + [2] * 15


def test_warm_up_uses_the_last_trials_with_different_seeds():
    trials = schedule(tasks(3), variants({"fast": 1}, "both"), 0)
    warm = warm_up(trials, 5, 0)
    assert [trial.task.id for trial in warm[:3]] == [trial.task.id for trial in reversed(trials)]
    assert len({trial.seed for trial in warm} | {trial.seed for trial in trials}) == 8
    assert len({action_id(trial, "run") for trial in warm}) == 5
    assert warm_up([], 5, 0) == []
