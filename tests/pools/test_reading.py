"""A pool is read from its directory, and what is odd about it is said."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from made_pools import CONFIG, Said, make, pool, question
from tierwise import plan as planning
from tierwise.plan import CheckpointConfig
from tierwise.pools.reading import read_pool, used_by
from tierwise.runs.directory import RunDirectory, RunSession
from tierwise.runs.records import TrialOutcome
from tierwise.spec.deployed import Deployed, LoadedWeights
from tierwise.spec.errors import NotFound, SpecError
from tierwise.tuning.complete import with_all_draws
from tierwise.workloads.files import load


def varied(task: int, tier: str, draw: int) -> Said:
    return Said(text=f"{task} {tier} {draw}", tokens=20)


def alike(task: int, tier: str, draw: int) -> Said:
    return Said(text=f"always {task}", tokens=20)


TASKS = [question(number) for number in range(4)]


def test_draws_are_read_in_their_order_with_what_decides_about_them(tmp_path):
    one = pool(tmp_path / "p", TASKS, varied)
    assert [source.tier for source in one.sources] == ["fast", "best"]
    draws = one.tasks[2].draws[one.sources[1].key]
    assert [draw.completion.text for draw in draws] == [f"2 best {number}" for number in range(4)]
    assert [draw.bound for draw in draws] == [40] * 4
    assert one.tasks[2].draws[one.sources[0].key][0].bound is None
    assert one.notes == ()


def test_equal_draws_of_an_engine_that_ignores_seeds_are_said(tmp_path):
    one = pool(tmp_path / "p", TASKS, alike)
    assert len(one.notes) == 2
    assert all("all draws are alike on 4 of 4 tasks, so its engine seems to ignore seeds" in note for note in one.notes)


def test_equal_short_answers_and_greedy_draws_are_not_odd(tmp_path):
    def short(task: int, tier: str, draw: int) -> Said:
        return replace(alike(task, tier, draw), text="Yes", tokens=2)

    assert pool(tmp_path / "short", TASKS, short).notes == ()
    greedy = CONFIG.replace("temperature: 0.7", "temperature: 0").replace("temperature: 0.8", "temperature: 0")
    assert pool(tmp_path / "greedy", TASKS, alike, config=greedy).notes == ()


def test_missing_draws_and_errors_are_said(tmp_path):
    def some(task: int, tier: str, draw: int) -> Said | None:
        if (task, tier, draw) == (1, "fast", 3):
            return None
        return replace(varied(task, tier, draw), outcome="error" if (task, tier, draw) == (2, "best", 0) else "correct")

    one = pool(tmp_path / "p", TASKS, some)
    assert [len(task.draws[one.sources[0].key]) for task in one.tasks] == [4, 3, 4, 4]
    assert "small: 1 of 4 tasks have fewer than the 4 planned draws; resume the recording" in one.notes
    assert any(note.startswith("1 draws ended in infrastructure errors") for note in one.notes)


def test_sessions_with_other_engines_or_checkpoints_are_said(tmp_path):
    directory = make(tmp_path / "p", TASKS, varied)
    sessions = [
        RunSession(
            began="2026-11-28T00:00:00+00:00",
            deployments=[
                Deployed(
                    name="small",
                    slots=4,
                    weights=LoadedWeights(checkpoint="m", sha256=weights),
                    facts={"version": version, "device": "cpu"},
                )
            ],
        )
        for weights, version in (("a" * 64, "1.0"), ("b" * 64, "1.1"))
    ]
    directory.write_manifest(msgspec.structs.replace(directory.read_manifest(), sessions=sessions))
    notes = read_pool(directory).notes
    assert any(note.startswith("small: version changed between sessions (1.0, 1.1)") for note in notes)
    assert any(note.startswith("small: checkpoint changed between sessions") for note in notes)
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("temperature: 0.7", "temperature: 0.9"),
            "tier 'fast' samples from 'small' with settings that were not recorded",
        ),
        (("model: small", "model: other"), "deployment 'small' has other settings"),
        (("large: {engine", "huge: {engine"), "tier 'best' samples from 'huge', which was not recorded"),
    ],
)
def test_a_config_file_with_other_settings_is_refused(tmp_path, change, said):
    make(tmp_path / "p", TASKS, varied)
    text = CONFIG.replace(*change)
    if "huge" in change[1]:
        text = text.replace("deployment: large", "deployment: huge").replace("large: {prompt", "huge: {prompt")
    (tmp_path / "tierwise.yaml").write_text(text)
    with pytest.raises(SpecError, match=said):
        read_pool(RunDirectory(tmp_path / "p"), config=tmp_path / "tierwise.yaml")


def test_a_config_file_that_names_a_part_of_the_pool_is_accepted_and_only_that_is_used(tmp_path):
    make(tmp_path / "p", TASKS, lambda task, tier, number: varied(task, tier, number) if tier == "best" else None)
    text = CONFIG.partition("routes:")[0]
    text = "\n".join(line for line in text.splitlines() if "small" not in line)
    (tmp_path / "tierwise.yaml").write_text(text)
    pool = read_pool(RunDirectory(tmp_path / "p"), config=tmp_path / "tierwise.yaml")
    used = used_by(planning.load(tmp_path / "tierwise.yaml"), pool)
    assert [source.deployment for source in pool.sources] == ["small", "large"]
    assert [source.deployment for source in used.sources] == ["large"]
    assert len(with_all_draws(used).tasks) == len(TASKS)
    with pytest.raises(SpecError, match="lack draws"):
        with_all_draws(pool)
    (tmp_path / "tierwise.yaml").write_text(text.replace("model: large", "model: other"))
    with pytest.raises(SpecError, match="deployment 'large' has other settings"):
        read_pool(RunDirectory(tmp_path / "p"), config=tmp_path / "tierwise.yaml")


def test_the_recorded_config_file_and_one_with_other_policies_are_accepted(tmp_path):
    make(tmp_path / "p", TASKS, varied)
    (tmp_path / "tierwise.yaml").write_text(CONFIG.replace("policy: single", "policy: {majority: {n: 3}}"))
    assert read_pool(RunDirectory(tmp_path / "p"), config=tmp_path / "tierwise.yaml").notes == ()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("file:a", "A" * 64), ("pypi:x==1/a", "a" * 64), True),
        (("file:a", "a" * 64), ("file:a", "b" * 64), False),
        (("file:a", None), ("file:a", None), True),
        (("file:a", None), ("file:b", None), False),
        (("file:a", None), ("file:a", "a" * 64), False),
    ],
)
def test_pinned_checkpoints_are_compared_by_their_hashes(one, other, same):
    first, second = (CheckpointConfig(source=source, sha256=sha256) for source, sha256 in (one, other))
    assert first.has_weights_of(second) is second.has_weights_of(first) is same
    assert not first.has_weights_of(None)


def test_another_workload_is_refused(tmp_path):
    make(tmp_path / "p", TASKS, varied)
    (tmp_path / "tasks.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(TASKS))
    with pytest.raises(SpecError, match="recorded with another workload"):
        read_pool(RunDirectory(tmp_path / "p"), workload=load(tmp_path / "tasks.jsonl"))


def test_what_is_no_pool_is_refused(tmp_path):
    with pytest.raises(NotFound, match="is not a pool: it has no manifest"):
        read_pool(RunDirectory(tmp_path))
    directory = make(tmp_path / "p", TASKS, varied)
    manifest = directory.read_manifest()
    settings = msgspec.structs.replace(manifest.settings, pool=None)
    directory.write_manifest(msgspec.structs.replace(manifest, settings=settings))
    with pytest.raises(SpecError, match="is a run of `tierwise bench`, not a pool"):
        read_pool(directory)


def test_a_pool_without_a_graded_draw_is_refused(tmp_path):
    directory = make(tmp_path / "p", TASKS, varied)
    records = [msgspec.structs.replace(one, outcome=TrialOutcome.ERROR) for one in directory.read_records()]
    directory.write_records(records)
    with pytest.raises(SpecError, match="has no draws yet; continue it with --resume"):
        read_pool(directory)
