"""Runs of different workloads are not compared unless each difference is meant."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import tierwise
from fake_runs import manifest, record, task
from tierwise.analysis.arms import arms
from tierwise.analysis.pairs import pair
from tierwise.cli import app
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.workloads.content import PARTS


def measured(path, tasks, *, sha256="1" * 64):
    """A run of these tasks, in which each is solved."""
    folder = RunDirectory.create(path)
    made = manifest([one.id for one in tasks])
    folder.write_manifest(msgspec.structs.replace(made, workload=msgspec.structs.replace(made.workload, sha256=sha256)))
    folder.write_tasks(tasks)
    folder.write_records([record(one.id) for one in tasks])
    return path


def line(number, **more):
    return task(f"t{number}", f"{number}+1?", **more)


@pytest.fixture
def two(tmp_path):
    """Two runs of 20 tasks; the second has some tasks replaced."""

    def make(**replaced):
        first = [line(number) for number in range(20)]
        second = [replaced.get(one.id, one) for one in first]
        return measured(tmp_path / "a", first), measured(tmp_path / "b", second, sha256="2" * 64)

    return make


def paired(base, other, **options):
    (a,), (b,) = arms(base), arms(other)
    return pair(a, b, **options)


CHANGES: dict[str, dict[str, Any]] = {
    "messages": {"messages": [{"role": "user", "content": "0+1!"}]},
    "check": {"check": {"number": {"equals": 5}}},
    "verifier": {"verifier": {"number": {}}},
    "tools": {"tools": [{"type": "function", "function": {"name": "add", "parameters": {}}}]},
    "max_tokens": {"max_tokens": 7},
    "options": {"options": {"temperature": 0.5}},
    "environment_sha256": {"environment_sha256": "1" * 64},
}


@pytest.mark.parametrize("part", PARTS)
def test_a_difference_in_any_part_of_a_task_is_refused_and_named(two, part):
    runs = two(t3=line(3, **CHANGES[part]))
    with pytest.raises(SpecError, match=rf"20 tasks that both have, 1 differ: t3 \({part}\)") as refused:
        paired(*runs)
    assert "--changed-task t3" in str(refused.value)


@pytest.mark.parametrize("options", [{"common": True}, {"changed_tasks": ["t4"]}, {"changed_tasks": ["t3"]}])
def test_only_the_differences_that_are_named_are_allowed(two, options):
    runs = two(t3=line(3, max_tokens=7), t4=line(4, max_tokens=7))
    with pytest.raises(SpecError, match="different workloads"):
        paired(*runs, **options)


def test_differences_that_are_meant_are_compared_and_reported(two):
    runs = two(t3=line(3, max_tokens=7), t4=line(4, check={"exact": {"equals": "5"}}))
    found = paired(*runs, changed_tasks=["t4", "t3"])
    assert found.changed == {"t3": ["max_tokens"], "t4": ["check"]}
    assert len(found.units) == 20


def test_a_task_that_is_named_and_does_not_differ_is_an_error(two):
    with pytest.raises(SpecError, match="the task 't9' does not differ"):
        paired(*two(t3=line(3, max_tokens=7)), changed_tasks=["t3", "t9"])


def test_tags_clusters_and_weights_do_not_make_another_task(two):
    assert paired(*two(t3=line(3, tags=["sums"], cluster="a", weight=2.0))).changed == {}


def test_many_differences_are_counted_and_the_first_are_named(two):
    runs = two(**{f"t{n}": line(n, max_tokens=7) for n in range(12)})
    with pytest.raises(SpecError, match=r"12 differ: .*… 7 more"):
        paired(*runs)


def test_another_file_with_the_same_tasks_is_the_same_workload(tmp_path):
    tasks = [line(number) for number in range(5)]
    runs = measured(tmp_path / "a", tasks), measured(tmp_path / "b", tasks[::-1], sha256="2" * 64)
    assert paired(*runs).changed == {}


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_key_order_spacing_and_written_defaults_do_not_make_another_task(tmp_path_factory, chance):
    folder = tmp_path_factory.mktemp("runs")
    tasks = [line(number) for number in range(3)]
    runs = measured(folder / "a", tasks), measured(folder / "b", tasks)
    values = [{**msgspec.to_builtins(one), "tags": [], "weight": 1.0, "tools": [], "options": {}} for one in tasks]
    shuffled = [dict(chance.sample(sorted(value.items()), len(value))) for value in values]
    text = "\n".join(
        json.dumps(value, indent=None, separators=chance.choice([(",", ":"), (", ", " : ")])) for value in shuffled
    )
    (runs[1] / "workload.jsonl").write_text(text + "\n")
    assert paired(*runs).changed == {}


def test_a_run_without_its_tasks_is_known_by_the_hash_of_their_file(two):
    runs = two()
    (runs[1] / "workload.jsonl").unlink()
    with pytest.raises(SpecError, match=r"b has no workload.jsonl that says which tasks differ"):
        paired(*runs)


def test_compare_and_gate_refuse_different_workloads_and_name_what_was_meant(two, tmp_path):
    runs = two(t3=line(3, max_tokens=7))
    (tmp_path / "gate.yaml").write_text("quality: {margin: 0.5}\n")
    verbs = (
        ["compare", str(runs[0]), str(runs[1])],
        ["gate", str(runs[1]), "--against", str(runs[0]), "--policy", str(tmp_path / "gate.yaml")],
    )
    for verb in verbs:
        done = CliRunner().invoke(app, verb)
        assert isinstance(done.exception, SpecError)
        assert "t3 (max_tokens)" in str(done.exception)
        assert done.output == ""
        done = CliRunner().invoke(app, [*verb, "--changed-task", "t3"])
        assert done.exit_code in (0, 2)
        assert done.exception is None or isinstance(done.exception, SystemExit)
        assert "Different in the two runs, as --changed-task says: t3 (max_tokens)." in " ".join(done.output.split())
        shown = json.loads(CliRunner().invoke(app, [*verb, "--changed-task", "t3", "--json"]).output)
        assert (shown[0] if isinstance(shown, list) else shown)["changed"] == {"t3": ["max_tokens"]}


def test_the_python_function_refuses_different_workloads_too(two):
    (a,), (b,) = map(tierwise.read_run, two(t3=line(3, max_tokens=7)))
    with pytest.raises(SpecError, match="different workloads"):
        tierwise.compare(a, b)
    assert tierwise.compare(a, b, changed_tasks=["t3"]).changed == {"t3": ["max_tokens"]}
