"""The committed pools of real draws are whole, name no folder of a machine, and policies run on them."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tierwise.pools.replaying import Replayed, Replayer
from tierwise.pools.results import results

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import real_pools  # noqa: E402 - benchmarks are programs
import real_routes  # noqa: E402

PACKED = sorted(real_pools.POOLS.glob("*.tar.xz"))
WIDE = [one for one in PACKED if one.name.startswith("wide-")]


def of(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.fixture(params=PACKED, ids=of)
def packed(request: Any) -> Path:
    return request.param


@pytest.fixture(params=[one for one in PACKED if one not in WIDE], ids=of)
def deep(request: Any) -> Path:
    return request.param


@pytest.fixture(params=WIDE, ids=of)
def wide(request: Any) -> Path:
    return request.param


def test_there_are_pools_and_they_are_small():
    sizes = [one.stat().st_size for one in PACKED]
    assert sizes
    assert max(sizes) <= 5 * 2**20
    assert sum(sizes) <= 20 * 2**20


def test_a_deep_pool_loads_and_replays(deep, tmp_path):
    pool = real_pools.opened(deep, tmp_path)
    fewest = min(len(list(real_pools.drawn(pool, task))) for task in pool.tasks)
    assert fewest == pool.manifest.settings.repeats == 16
    assert not [note for note in pool.notes if "missing" in note or "error" in note]
    settings = [one for one in real_pools.alike(pool, 16) if one.name in ("majority of 16, curtailment", "single")]
    with Replayer(pool, {}) as replayer:
        found = replayer.run(settings, orders=2)
    whole, single = results(pool, [one.name for one in settings], found, settings[0].name)
    assert whole.correct is not None
    assert single.correct is not None
    assert 0.25 < single.correct.value <= whole.correct.value < 0.9
    assert whole.passes is not None
    assert 8 <= whole.passes.value < 16
    assert single.difference is not None
    assert single.difference.correct is not None
    interval = single.difference.correct.interval
    assert interval is not None
    assert interval.low < single.difference.correct.value < interval.high


def test_a_packed_pool_names_no_folder_of_the_machine_that_recorded_it(packed):
    with tarfile.open(packed) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member)
            assert file is not None
            text = file.read().decode()
            assert not [name for name in ("/root/", "/home/", "/work/", "/tmp/") if name in text], member.name


def test_votes_are_weighed_with_the_calibration_of_the_other_half(deep, tmp_path):
    pool = real_pools.opened(deep, tmp_path)

    def run(part: Any, tried: Any) -> Any:
        with Replayer(part, {}) as replayer:
            return replayer.run(tried)

    actions, chosen = real_pools.weighed(pool, 16, run)
    assert all(one.calibration is not None for one in chosen) == bool(actions)
    for found in actions.values():
        assert sorted(one.task for one in found) == list(range(len(pool.tasks)))


def test_a_wide_pool_has_draws_of_a_cheap_and_a_better_model_and_routes_run_on_it(wide, tmp_path):
    pool = real_pools.opened(wide, tmp_path)
    assert len(pool.tasks) >= 300
    assert [source.tier for source in pool.sources] == ["cheap", "reference"]
    counts = {len(list(draws)) for task in pool.tasks for draws in task.draws.values()}
    assert counts == {pool.manifest.settings.repeats}
    settings = [
        real_pools.setting(pool, "reference alone", {"single": {}}, tier="reference"),
        real_pools.setting(pool, "cheap alone", {"single": {}}, tier="cheap"),
        real_routes.route(pool, "route", [{"span_probability": 0.5}]),
    ]
    with Replayer(pool, real_routes.prices(10.0)) as replayer:
        found = replayer.run(settings)
    reference, cheap, route = results(pool, [one.name for one in settings], found, "reference alone")
    assert reference.correct
    assert cheap.correct
    assert route.correct
    assert 0.3 < cheap.correct.value < route.correct.value <= reference.correct.value + 0.02 <= 1.02
    assert reference.dollars
    assert route.dollars
    assert route.dollars.value < reference.dollars.value


def test_a_threshold_is_chosen_on_the_tasks_that_it_is_not_evaluated_on():
    def action(task: int, *, correct: bool, dollars: float) -> Any:
        return Replayed(
            task=task, order=0, correct=correct, passes=1, prompt=1, cached=0, completion=1, seconds=1.0,
            dollars=dollars, answer=None, why="", asked="reference",
        )  # fmt: skip

    reference = [action(task, correct=True, dollars=10.0) for task in range(8)]
    of_even = [action(task, correct=task % 2 == 0, dollars=1.0) for task in range(8)]
    found = real_routes.chosen([of_even], reference, loss=1.0)
    assert sorted(one.task for one in found) == list(range(8))
    assert {one.dollars for one in found if one.task % 2} == {1.0}  # chosen by the even tasks, all right there
    assert {one.dollars for one in found if one.task % 2 == 0} == {10.0}
