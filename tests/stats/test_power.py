"""What a workload can show: published tables, the exact test, simulation."""

from __future__ import annotations

import random

import pytest

from tierwise.spec.errors import SpecError
from tierwise.stats.estimates import mcnemar
from tierwise.stats.power import (
    PairedDesign,
    TaskCost,
    detectable,
    exact_power,
    exactly_detectable,
    needed,
    tasks_needed,
)


@pytest.mark.parametrize(
    ("suite", "tasks", "points"),
    [
        ("Terminal-Bench 2", 89, (None, 11.5, 14.8)),
        ("HumanEval", 164, (4.9, 8.5, 10.9)),
        ("GPQA-Diamond", 198, (4.4, 7.7, 9.9)),
        ("SWE-bench Verified", 500, (2.8, 4.8, 6.3)),
        ("SWE-bench Pro public", 731, (2.3, 4.0, 5.2)),
        ("LiveCodeBench v6", 1055, (1.9, 3.3, 4.3)),
        ("GSM8K test", 1319, (1.7, 3.0, 3.9)),
    ],
)
def test_what_well_known_suites_can_show(suite, tasks, points):  # the approximation 2.8·√(ψ/n)
    for discordance, expected in zip((0.05, 0.15, 0.25), points, strict=True):
        found = detectable(tasks, PairedDesign(discordance=discordance))
        assert found is None if expected is None else 100 * found == pytest.approx(expected, abs=0.17)


@pytest.mark.parametrize(("difference", "counts"), [(0.02, (979, 1960, 2941)), (0.03, (434, 870, 1306))])
def test_how_many_tasks_a_difference_needs(difference, counts):  # Connor 1987
    for discordance, expected in zip((0.05, 0.10, 0.15), counts, strict=True):
        assert tasks_needed(difference, PairedDesign(discordance=discordance)) == expected


def test_three_points_on_thirty_tasks_cannot_be_shown():
    assert detectable(30, PairedDesign(discordance=0.05)) is None
    assert detectable(30, PairedDesign(discordance=0.25)) > 0.2


def test_what_is_detectable_is_what_that_many_tasks_are_needed_for():
    for design in (PairedDesign(discordance=0.1), PairedDesign(discordance=0.2, repeats=4, members=10, icc=0.1)):
        assert tasks_needed(detectable(600, design), design) == 600


def test_the_exact_test_holds_its_level_and_finds_what_it_says():
    assert exact_power(300, 0.15, 0.0) <= 0.05
    found = exactly_detectable(300, 0.15)
    assert exact_power(300, 0.15, found) == pytest.approx(0.8, abs=1e-3)
    assert found > detectable(300, PairedDesign(discordance=0.15))


def test_the_exact_power_is_how_often_mcnemar_finds_it():
    rng, n, psi, delta, runs = random.Random(6), 80, 0.3, 0.15, 1500
    found = 0
    for _ in range(runs):
        drawn = [rng.random() for _ in range(n)]
        first = sum(one < (psi + delta) / 2 for one in drawn)
        found += mcnemar(first, sum((psi + delta) / 2 <= one < psi for one in drawn)) <= 0.05
    assert found / runs == pytest.approx(exact_power(n, psi, delta), abs=0.035)


def test_repeats_help_only_with_what_does_not_come_back():
    once, often = PairedDesign(discordance=0.15), PairedDesign(discordance=0.15, repeats=1000)
    assert tasks_needed(0.03, often) == pytest.approx(0.5 * tasks_needed(0.03, once), rel=0.01)
    steady = PairedDesign(discordance=0.15, repeats=1000, steady=1.0)
    assert tasks_needed(0.03, steady) == tasks_needed(0.03, once)


def test_clusters_cost_tasks():
    clustered = PairedDesign(discordance=0.15, members=50, icc=0.1)
    assert tasks_needed(0.03, clustered) > 5.9 * tasks_needed(0.03, PairedDesign(discordance=0.15))
    assert detectable(550, clustered) > 2 * detectable(550, PairedDesign(discordance=0.15))


@pytest.mark.parametrize(
    "wrong", [{"discordance": 0.0}, {"discordance": 1.5}, {"steady": -1.0}, {"repeats": 0}, {"icc": 2.0}]
)
def test_what_cannot_be_is_refused(wrong):
    with pytest.raises(SpecError):
        PairedDesign(**{"discordance": 0.1, **wrong})
    with pytest.raises(SpecError, match="at most the share of tasks"):
        needed(0.2, PairedDesign(discordance=0.1))


def test_dollars_and_minutes_follow_from_single_actions():
    cost = TaskCost(dollars=0.02, seconds=12.0, concurrency=4)
    assert cost.bill(100, 3) == pytest.approx(6.0)
    assert cost.minutes(100, 3) == pytest.approx(15.0)
    assert TaskCost(dollars=None, seconds=None).bill(1, 1) is None
    assert TaskCost(dollars=None, seconds=None).minutes(1, 1) is None
