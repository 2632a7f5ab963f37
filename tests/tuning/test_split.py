from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from made_pools import question
from tierwise.spec.errors import SpecError
from tierwise.tuning.split import normalised, split


def workload(clusters, **more):
    return [question(number, cluster=cluster, **more) for number, cluster in enumerate(clusters)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 59), max_size=55), st.integers(0, 5))
def test_every_task_is_in_one_part_and_every_cluster_too(more, seed):
    tasks = workload([f"c{one}" for one in [*range(60), *more]])
    found = split(tasks, seed=seed)
    parts = [found.tuning.tolist(), found.calibration.tolist(), found.test.tolist()]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(len(tasks)))
    of = [{tasks[index].cluster for index in part} for part in parts]
    assert not of[0] & (of[1] | of[2])
    assert not of[1] & of[2]
    assert found.has_clusters is bool(more)


def test_a_split_is_repeated_by_its_seed():
    tasks = workload([None] * 100)
    one, same, other = split(tasks), split(tasks), split(tasks, seed=1)
    assert np.array_equal(one.calibration, same.calibration)
    assert not np.array_equal(one.calibration, other.calibration)
    assert (len(one.tuning), len(one.calibration), len(one.test)) == (30, 50, 20)


@pytest.mark.parametrize("seed", range(5))
def test_the_heaviest_unit_is_a_tuning_one(seed):
    tasks = [question(number, weight=30.0 if number == 41 else 1.0) for number in range(100)]
    assert 41 in split(tasks, seed=seed).tuning


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("What is 3 + 4?", "what is  3 + 4 ?", True),
        ("“Hello”, world!", "“hello” world", True),
        ("What is 3 + 4?", "What is 3 - 4?", False),
        ("What is 1.5?", "What is 15?", False),
        ("Sort a, b", "Sort b, a", False),
        ("ﬁne", "FINE", True),
    ],
)
def test_near_duplicates_differ_in_case_space_and_sentence_marks_alone(one, other, is_same):
    first, second = (question(1, messages=[{"role": "user", "content": text}]) for text in (one, other))
    assert (normalised(first) == normalised(second)) is is_same


def test_images_and_roles_are_a_part_of_a_prompt():
    def asked(role, url):
        content = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return normalised(question(1, messages=[{"role": role, "content": content}]))

    image, other = "data:image/png;base64,AAAA", "data:image/png;base64,BBBB"
    assert asked("user", image) == asked("user", image)
    assert asked("user", image) != asked("user", other)
    assert asked("user", image) != asked("system", image)


def test_a_near_duplicate_is_in_no_part_and_its_cluster_stays_its_own():
    texts = [f"Question {number}" for number in range(120)]
    texts[40], texts[61] = "Same?", "same ?"
    tasks = [
        question(number, cluster=f"c{number // 2}", messages=[{"role": "user", "content": text}])
        for number, text in enumerate(texts)
    ]
    found = split(tasks)
    counted = {*found.tuning.tolist(), *found.calibration.tolist(), *found.test.tolist()}
    assert counted == set(range(120)) - {61}
    assert found.units[61] == found.units[40] != found.units[60]
    assert found.duplicates == 1
    assert "a prompt counts once" in found.notes[0]


def test_too_few_units_are_refused_with_what_is_needed():
    with pytest.raises(SpecError, match=r"20 tasks in 20 independent units.*at least 50.*Add tasks"):
        split(workload([None] * 20))
    with pytest.raises(SpecError, match="in 4 independent units"):
        split(workload([f"c{number % 4}" for number in range(200)]))


def test_a_cluster_that_holds_nearly_everything_is_refused():
    with pytest.raises(SpecError, match=r"90% of the workload are one unit of 180 tasks \(cluster 'big'\)"):
        split(workload(["big"] * 180 + [f"c{number}" for number in range(20)]))


def test_one_prompt_repeated_is_one_task():
    same = [{"role": "user", "content": "Again"}]
    with pytest.raises(SpecError, match="100 tasks in 1 independent units"):
        split([question(number, messages=same) for number in range(100)])


def test_a_tag_that_a_part_lacks_is_said():
    tasks = [question(n, cluster=f"c{n % 60}", tags=["rare"] if n % 60 == 7 else ["other"]) for n in range(120)]
    tasks += [question(n, cluster="c7", tags=["rare"]) for n in range(120, 128)]
    assert sum("'rare'" in note for note in split(tasks).notes) == 2


@pytest.mark.parametrize("seed", range(3))
def test_an_empty_workload_is_refused(seed):
    with pytest.raises(SpecError, match="0 tasks"):
        split([], seed=seed)
