"""The committed pools of real draws are whole, name no folder of a machine, and policies run on them."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tierwise.pools.replaying import Replayer
from tierwise.pools.results import results

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import real_pools  # noqa: E402 - benchmarks are programs

PACKED = sorted(real_pools.POOLS.glob("*.tar.xz"))


@pytest.fixture(params=PACKED, ids=lambda packed: packed.name.partition(".")[0])
def packed(request: Any) -> Path:
    return request.param


def test_there_are_pools_and_they_are_small():
    sizes = [one.stat().st_size for one in PACKED]
    assert sizes
    assert max(sizes) <= 5 * 2**20
    assert sum(sizes) <= 20 * 2**20


def test_a_packed_pool_loads_and_replays(packed, tmp_path):
    pool = real_pools.opened(packed, tmp_path)
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


def test_votes_are_weighed_with_the_calibration_of_the_other_half(packed, tmp_path):
    pool = real_pools.opened(packed, tmp_path)

    def run(part: Any, tried: Any) -> Any:
        with Replayer(part, {}) as replayer:
            return replayer.run(tried)

    actions, chosen = real_pools.weighed(pool, 16, run)
    assert all(one.calibration is not None for one in chosen) == bool(actions)
    for found in actions.values():
        assert sorted(one.task for one in found) == list(range(len(pool.tasks)))
