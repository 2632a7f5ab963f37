"""Further looks at the same calibration tasks: counted, stricter, and then no more often wrong than was said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from made_evaluations import evaluated
from made_pools import question
from tierwise.tuning.certify import Promises, certify
from tierwise.tuning.looks import about, is_fresh, keep, looks_with, parts_of, taken
from tierwise.tuning.record import Look, Parts
from tierwise.tuning.split import split

PARTS = Parts(seed=0, tuning=["a"], calibration=["b", "c"], test=["d"])
CONFIG = "tiers: {fast: {policy: single}}\nprices: {small: {prompt: 1}}\nroutes: {auto: {cascade: [fast]}}\n"


def what(config: str = CONFIG, *, pool: str = "p", seed: int = 0, **promise: Any) -> str:
    promises = Promises(**{"limit": 0.05, **promise})
    return about(config, pool, promises, reference="best", orders=8, seed=seed)


def record(*looks: Look) -> Any:
    return SimpleNamespace(looks=list(looks))


def test_each_look_halves_the_level():
    assert [Promises(limit=0.1, looks=number).delta for number in (1, 2, 3)] == pytest.approx([0.05, 0.025, 0.0125])


def test_the_same_test_again_is_the_same_look_and_every_other_one_is_a_further_one(tmp_path):
    first = looks_with([], what())
    assert len(first) == 1
    second = looks_with(first, what(limit=0.06))
    keep(second, tmp_path)
    before = taken(record(*first), tmp_path)
    assert [one.about for one in before] == [one.about for one in second]
    assert len(looks_with(before, what())) == 1
    assert len(looks_with(before, what(limit=0.06))) == 2
    assert len(looks_with(before, what(seed=1))) == 3


def test_prices_and_routes_are_no_other_test_unless_a_mean_cost_is_promised():
    dearer = CONFIG.replace("prompt: 1", "prompt: 9")
    assert what(dearer) == what()
    assert what(CONFIG.replace("[fast]", "[fast, best]")) == what()
    assert what(dearer, dollars=0.1, budget=1.0) != what(dollars=0.1, budget=1.0)
    assert what(CONFIG.replace("single", "majority")) != what()
    assert what(pool="q") != what()


def test_only_new_calibration_tasks_are_a_first_look():
    renamed = {"a": "A", "b": "B", "d": "D"}  # c is gone
    assert is_fresh(["x", "A"], PARTS, renamed)
    assert not is_fresh(["x", "B"], PARTS, renamed)
    assert not is_fresh(["D"], PARTS, renamed)
    assert parts_of(PARTS, renamed) == {"A": 0, "B": 1, "D": 2}


def test_tasks_keep_their_part_and_new_ones_are_divided():
    tasks = [question(number) for number in range(300)]
    before = split(tasks[:200])
    kept = {
        tasks[index].id: part
        for part, of in enumerate((before.tuning, before.calibration, before.test))
        for index in of.tolist()
    }
    after = split(tasks, seed=7, kept=kept)
    parts = (after.tuning, after.calibration, after.test)
    for old, new in zip((before.tuning, before.calibration, before.test), parts, strict=True):
        assert set(old.tolist()) <= set(new.tolist())
    fresh = [len(set(of.tolist()) - set(range(200))) for of in parts]
    assert fresh == pytest.approx([30, 50, 20], abs=1)


def test_a_cluster_that_grew_stays_whole_and_the_heaviest_is_a_tuning_one():
    tasks = [question(number, cluster=f"c{number // 2}") for number in range(200)]
    before = split(tasks)
    calibrated = tasks[before.calibration[0]].cluster
    kept = {
        tasks[index].id: part
        for part, of in enumerate((before.tuning, before.calibration, before.test))
        for index in of.tolist()
    }
    grown = [*tasks, *(question(number, cluster=calibrated) for number in range(200, 206))]
    after = split(grown, kept=kept)
    of_it = {index for index, task in enumerate(grown) if task.cluster == calibrated}
    assert of_it <= set(after.tuning.tolist())
    parts = [set(part.tolist()) for part in (after.tuning, after.calibration, after.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 206


def certifies(rng: np.random.Generator, looks: int, *, tasks: int = 95, harm: float = 0.0501) -> bool:
    """Whether a route whose true harm is above the promised 5 % is certified at a look, on new labels of it."""
    several = rng.random((1, 10 + tasks)) < harm
    several[:, :10] = False
    found = evaluated(several, [0.5])
    promises = Promises(limit=0.05, looks=looks)
    return certify(found, range(10), range(10, 10 + tasks), promises) is not None


def test_a_route_that_is_tried_until_one_is_certified_is_false_in_less_than_twice_the_stated_share():
    rng = np.random.default_rng(0)
    runs, tries = 600, 5
    stricter = sum(any(certifies(rng, 1 + look) for look in range(tries)) for _ in range(runs))
    always = sum(any(certifies(rng, 1) for _ in range(tries)) for _ in range(runs))
    assert binomtest(stricter, runs).proportion_ci(0.99).high < 0.1
    assert binomtest(always, runs).proportion_ci(0.99).low > 0.12
