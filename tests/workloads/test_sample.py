"""Samples of a workload: allocation and clusters."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripted_tiers import line
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.workloads.files.sample import sample
from tierwise.workloads.task import Task


def task(id_, tag, **more):
    return Reading().read(Task, line(id_, tags=[tag], **more), "")


MANY = [task(f"a{number}", "sums") for number in range(60)] + [task(f"b{number}", "words") for number in range(20)]


def tags_of(drawn):
    return Counter(one.tags[0] for one in drawn.tasks)


def test_a_sample_is_proportional_and_in_order():
    drawn = sample(MANY, 20, seed=1)
    assert tags_of(drawn) == {"sums": 15, "words": 5}
    assert [one.id for one in drawn.tasks] == [one.id for one in MANY if one in drawn.tasks]
    assert all(one.weight == 1 for one in drawn.tasks)


def test_weights_correct_for_equal_allocation():
    drawn = sample(MANY, 20, seed=1, allocation="equal")
    assert tags_of(drawn) == {"sums": 10, "words": 10}
    assert {one.tags[0]: one.weight for one in drawn.tasks} == {"sums": 1.5, "words": 0.5}


def test_a_small_stratum_leaves_its_share_to_the_others():
    assert tags_of(sample(MANY, 60, seed=1, allocation="equal")) == {"sums": 40, "words": 20}


def test_the_seed_determines_the_sample():
    assert sample(MANY, 9, seed=1) == sample(MANY, 9, seed=1)
    assert sample(MANY, 9, seed=1) != sample(MANY, 9, seed=2)


def test_whole_clusters_are_drawn():
    tasks = [task(f"{repo}{number}", "code", cluster=f"repo {repo}") for repo in range(7) for number in range(3)]
    drawn = sample(tasks, 10, seed=3, whole_clusters=True)
    assert set(Counter(one.cluster for one in drawn.tasks).values()) == {3}
    assert (len(drawn.tasks), drawn.strata[0].drawn) == (9, 9)


@pytest.mark.parametrize("count", [0, 81])
def test_a_sample_larger_than_the_workload_is_rejected(count):
    with pytest.raises(SpecError, match=r"cannot draw \d+ of 80 tasks"):
        sample(MANY, count, seed=0)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    share=st.floats(0.01, 1),
    allocation=st.sampled_from(["proportional", "equal"]),
)
def test_a_sample_has_its_size_distinct_tasks_and_the_weight_of_its_strata(sizes, share, allocation):
    tasks = [task(f"{kind}/{number}", str(kind)) for kind, size in enumerate(sizes) for number in range(size)]
    count = max(1, int(share * len(tasks)))
    drawn = sample(tasks, count, seed=0, allocation=allocation)
    assert len({one.id for one in drawn.tasks}) == len(drawn.tasks) == count
    assert sum(stratum.drawn for stratum in drawn.strata) == count
    if allocation == "equal":
        for kind, stratum in zip(sorted(map(str, range(len(sizes)))), drawn.strata, strict=True):
            weight = sum(one.weight for one in drawn.tasks if one.tags == [kind])
            assert not stratum.drawn or weight == pytest.approx(stratum.size * count / len(tasks))
