"""Workload files, and the errors in them, which are all reported at once."""

from __future__ import annotations

import hashlib

import pytest

from scripted_tiers import line
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.workloads import files


def errors_of(path):
    with pytest.raises(ConfigErrors) as caught:
        files.load(path)
    return [f"{error.field}: {error}" for error in caught.value.errors]


def test_a_workload_keeps_its_tasks_in_order_and_the_hash_of_its_bytes(write_tasks):
    path = write_tasks(line("b"), "", line("a", tags=["sums"], max_tokens=9, verifier={"number": {}}))
    found = files.load(path)
    assert [task.id for task in found.tasks] == ["b", "a"]
    assert found.tasks[1].tags == ["sums"]
    assert found.tasks[1].request() == {"messages": [{"role": "user", "content": "2+2?"}], "max_tokens": 9}
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_error_is_reported_with_its_line(write_tasks):
    path = write_tasks(
        line("a"),
        {**line("b"), "chekc": 1},
        line("a"),
        "{not json",
        {"id": "c", "messages": []},
        {**line("d"), "check": {"number": {"equals": "four"}}},
        {**line("e"), "check": {"regex": {"pattern": "("}}},
    )
    said = errors_of(path)
    assert len(said) == 6
    assert said[0].startswith(
        "tasks.jsonl:2: chekc: unknown key; did you mean 'check'? allowed: check, cluster, environment"
    )
    assert said[1] == "tasks.jsonl:3: id: 'a' is already the id of the task in line 1"
    assert said[2].startswith("tasks.jsonl:4: not JSON")
    assert said[3] == "tasks.jsonl:5: messages: is empty; give at least one message"
    assert said[4] == "tasks.jsonl:6: check.number.equals: Expected `int | float | null`, got `str`"
    assert said[5].startswith("tasks.jsonl:7: check.regex: pattern: '(' does not compile")


def test_messages_must_be_valid_for_the_endpoint(write_tasks):
    path = write_tasks(
        {**line("a"), "messages": []},
        {**line("b"), "messages": [{"role": "User 1", "content": "hi"}]},
    )
    said = errors_of(path)
    assert said[0] == "tasks.jsonl:1: messages: is empty; give at least one message"
    assert "tasks.jsonl:2" in said[1]
    assert "messages[0].role" in said[1]


def test_a_check_must_be_complete(write_tasks):
    said = errors_of(write_tasks({**line("a"), "check": {"python_tests": {}}}))
    assert said == ["tasks.jsonl:1: check.python_tests: has nothing to check with; give its `tests`"]


def test_a_verifier_must_be_complete(write_tasks):
    said = errors_of(write_tasks(line("a", verifier="python_tests")))
    assert said == ["tasks.jsonl:1: verifier.python_tests: has nothing to check with; give its `tests`"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_workload_without_tasks_is_an_error(write_tasks, text):
    assert errors_of(write_tasks(text)) == ["tasks.jsonl: has no tasks; write one JSON object per line"]


@pytest.mark.parametrize("id_", ["", "x" * 81, "a\nb"])
def test_an_invalid_id_is_rejected(write_tasks, id_):
    assert "id" in errors_of(write_tasks(line(id_)))[0]


def test_a_repeated_key_is_named_with_its_line(write_tasks):
    asked = '"messages": [{"role": "user", "content": "?"}]'
    twice = f'{{"id": "a", {asked}, "check": {{"exact": {{"equals": "x", "equals": "y"}}}}}}'
    said = "check.exact.equals: appears twice; give each key once"
    assert errors_of(write_tasks(line("b"), twice)) == [f"tasks.jsonl:2: {said}"]
    header = '{"workload": {"name": "x", "name": "y"}}'
    assert errors_of(write_tasks(header, line("b")))[0].startswith("tasks.jsonl:1: workload.name: appears twice")


def test_the_same_key_in_two_objects_is_allowed(write_tasks):
    messages = [{"role": role, "content": "a"} for role in ("user", "assistant", "user")]
    assert len(files.load(write_tasks({**line("a"), "messages": messages})).tasks) == 1


def test_a_unicode_line_separator_in_a_text_does_not_end_the_line(write_tasks):
    found = files.load(
        write_tasks('{"id": "a", "messages": [{"role": "user", "content": "x\u2028y"}], "check": "number"}')
    )
    assert found.tasks[0].messages[0]["content"] == "x\u2028y"


def test_a_missing_or_binary_workload_is_an_error(tmp_path):
    with pytest.raises(NotFound, match="no workload"):
        files.load(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="cannot be read"):
        files.load(tmp_path / "bad.jsonl")


def test_a_limit_takes_the_first_tasks(write_tasks):
    found = files.load(write_tasks(line("a"), line("b"), line("c")))
    assert [task.id for task in found.first(2).tasks] == ["a", "b"]
    assert len(found.first(None).tasks) == 3


def test_only_checks_that_run_code_need_a_sandbox(write_tasks):
    assert not files.load(write_tasks(line("a"))).needs_sandbox
    assert files.load(write_tasks({**line("a"), "check": {"python_tests": {"tests": "assert f() == 1"}}})).needs_sandbox
