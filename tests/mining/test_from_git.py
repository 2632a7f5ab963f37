"""`tierwise workload from-git` on repositories made here: what becomes a task, what grades it, what is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import msgspec
import pytest

from mining.made_repositories import TESTS, Repository, flat, gold_of, mine, packaged
from tierwise.bench.grading import UNGRADED, grade
from tierwise.mining import validate
from tierwise.mining.made import Wanted
from tierwise.mining.made import mine as made_of
from tierwise.mining.validate import Settings
from tierwise.runs.records import TrialOutcome
from tierwise.spec.call import Completion
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.verifiers.repository.environment import EnvironmentFailed, environment, interpreter, key_of
from tierwise.verifiers.sandbox import SandboxUnavailable
from tierwise.workloads.files import load

pytestmark = pytest.mark.sandbox


def graded(task, text):
    return asyncio.run(grade(task, Completion(text=text), None, "a"))


def test_a_commit_that_changes_code_and_tests_is_a_task_that_its_tests_check(shapes):
    made, found, said = shapes
    assert int(made.git("rev-list", "--count", "HEAD")) == 32
    assert len(found.tasks) == 4
    assert "4 tasks of 4 commits of shapes" in said
    check = found.tasks[0].check.repository_tests
    assert check.fail_to_pass == ("tests/test_shapes.py::test_join",)
    assert len(check.pass_to_pass) == 9
    assert msgspec.to_builtins(check.validated)["runs"] == 2
    assert (check.validated.gold, check.validated.empty, check.validated.flaky) == ("passes", "fails", [])
    report = json.loads((found.path / "mining.json").read_text())
    assert [row["task"] for row in report["candidates"]] == [task.id for task in found.tasks]


def test_a_commit_after_the_release_is_told_from_one_that_may_be_known(shapes):
    _, found, _ = shapes
    dates = [(task.check.repository_tests.date[:10], *task.tags) for task in found.tasks]
    assert dates == [
        ("2025-07-15", "contamination:after_release"),
        ("2025-07-12", "contamination:after_release"),
        ("2025-07-09", "contamination:possible"),
        ("2025-07-06", "contamination:possible"),
    ]


def test_the_prompt_has_what_was_asked_and_the_parents_files_but_not_the_change(shapes):
    _, found, _ = shapes
    text = found.tasks[0].messages[0]["content"]
    assert "Add join() to shapes.py\n\nIt multiplies by 11 (#9).\n\nIssue #9: Ten times\nWe need join()." in text
    assert "Signed-off-by" not in text
    assert "def inset(x):" in text
    assert "def join(" not in text
    assert "test_join" not in text


def test_the_commits_own_change_is_correct_as_a_diff_with_fuzz_and_as_a_whole_file(shapes):
    made, found, _ = shapes
    task = found.tasks[0]
    diff = gold_of(made, task.check.repository_tests)
    moved = diff.replace("@@ -", "@@ -1").replace(" def inset(x):", " def inset(y):")
    whole = made.git("show", f"{task.check.repository_tests.commit}:shapes.py")
    for answer in (f"So:\n\n```diff\n{diff}```\n", f"```diff\n{moved}```", f"**shapes.py**\n```python\n{whole}\n```\n"):
        verdict = graded(task, answer)
        assert verdict.outcome is TrialOutcome.CORRECT, (answer, verdict.why)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("I cannot.", "no change in the answer"),
        ("shapes.py\n```python\ndef area(x):\n    return 2 * x\n```", "no longer pass"),
        ("```diff\n--- a/none.py\n+++ b/none.py\n@@ -1,2 +1,2 @@\n-a\n+b\n c\n```", "does not apply"),
        ("tests/test_shapes.py\n```python\ndef test_join():\n    pass\n```", "1 of 1 tests still fail"),
        (
            "conftest.py\n```python\nimport pytest\nimport shapes\nshapes.join = lambda x: 33\n```",
            "1 of 1 tests still fail",
        ),
        ("../out.py\n```python\nx = 1\n```", "no change in the answer"),
    ],
)
def test_another_answer_is_incorrect_and_says_why(shapes, answer, why):
    verdict = graded(shapes[1].tasks[0], answer)
    assert verdict.outcome is TrialOutcome.INCORRECT
    assert why in verdict.why


def test_an_environment_that_cannot_be_built_is_no_wrong_answer(shapes, tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path))
    made, found, _ = shapes
    task = found.tasks[0]
    check = msgspec.structs.replace(task.check.repository_tests, install="false")
    task = msgspec.structs.replace(task, check=msgspec.structs.replace(task.check, repository_tests=check))
    verdict = graded(task, f"```diff\n{gold_of(made, check)}```")
    assert (verdict.outcome, verdict.code) == (TrialOutcome.ERROR, UNGRADED)
    assert "the environment cannot be built" in verdict.why


def test_tasks_without_their_repository_are_refused(shapes, tmp_path):
    (tmp_path / "tasks.jsonl").write_bytes((shapes[1].path / "tasks.jsonl").read_bytes())
    with pytest.raises(ConfigErrors, match="keep it beside the tasks"):
        load(tmp_path / "tasks.jsonl")


def test_a_flaky_test_is_left_out_and_a_module_that_is_not_there_yet_stops_no_other(tmp_path, install):
    made = packaged(tmp_path / "words")
    assert int(made.git("rev-list", "--count", "HEAD")) == 30
    mine(made.folder, tmp_path / "out", install, "--limit", 1)
    newest = load(tmp_path / "out").tasks[0].check.repository_tests
    steady = {f"tests/unit/test_word{number}.py::test_word{number}" for number in range(27)}
    assert "tests/unit/test_word27.py::test_word27" in newest.fail_to_pass
    assert steady <= set(newest.pass_to_pass)
    flaky = set(newest.validated.flaky)  # a luckless run in 4**40 has none
    assert flaky
    assert all("test_luck" in name for name in flaky)
    assert not flaky & {*newest.fail_to_pass, *newest.pass_to_pass}


def test_one_environment_serves_all_commits_with_the_same_files(tmp_path):
    made = flat(tmp_path / "one")
    python = interpreter(sys.executable)
    before = key_of(made.folder, "HEAD", python, "", "pytest")
    assert key_of(made.folder, "HEAD~20", python, "", "pytest") == before
    made.commit("Needs a package", {"requirements.txt": "attrs\n"})
    assert key_of(made.folder, "HEAD", python, "", "pytest") != before


def test_an_environment_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    made = Repository(tmp_path / "one")
    made.commit("a", {"requirements.txt": "-r nowhere.txt\n"})
    with pytest.raises(EnvironmentFailed, match=r"nowhere\.txt.*--install"):
        environment(made.folder, "HEAD", python=sys.executable, install="", runner="pytest")
    assert [one.suffix for one in (tmp_path / "cache" / "environments").iterdir()] == [".lock"]


def test_what_was_validated_before_an_interruption_is_kept(tmp_path, install):
    made = flat(tmp_path / "shapes")
    told = []

    async def main():
        def tell(name, check):
            told.append(name)
            asyncio.current_task().cancel()  # as Ctrl-C does, while the next one is validated

        settings = Settings(tests=TESTS, install=install, python=sys.executable, scope="changed")
        return await made_of(Wanted(repository=made.folder), settings, tmp_path / "out", tell)

    found = asyncio.run(main())
    assert (found.is_interrupted, len(told)) == (True, 1)
    assert len(load(tmp_path / "out").tasks) == 1
    assert json.loads((tmp_path / "out" / "mining.json").read_text())["interrupted"]


def test_what_was_validated_once_is_not_run_again(shapes, tmp_path, install, monkeypatch):
    async def never(*_):
        raise AssertionError

    monkeypatch.setattr("tierwise.mining.validate.run_tests", never)
    made, found, _ = shapes
    mine(made.folder, tmp_path / "out", install, "--limit", 4, "--released", "2025-07-12")
    again = load(tmp_path / "out").tasks
    first, second = ([task.check.repository_tests for task in tasks] for tasks in (found.tasks, again))
    assert [(one.commit, one.fail_to_pass, one.validated) for one in first] == [
        (one.commit, one.fail_to_pass, one.validated) for one in second
    ]
    assert [one.contamination for one in second] == ["after_release", "possible", "possible", "possible"]
    with pytest.raises(AssertionError):  # of another number of runs nothing is known
        mine(made.folder, tmp_path / "more", install, "--limit", 1, "--repeats", 3)


def test_a_task_that_cannot_be_kept_is_a_task_all_the_same(tmp_path, install, monkeypatch):
    (tmp_path / "full").write_text("no folder")
    monkeypatch.setattr("tierwise.mining.kept.place_of", lambda facts: tmp_path / "full" / "task.json")
    made = flat(tmp_path / "shapes")
    mine(made.folder, tmp_path / "out", install, "--limit", 1)
    assert len(load(tmp_path / "out").tasks) == 1


def test_a_sandbox_that_did_not_start_in_time_leaves_out_that_commit_only(tmp_path, install, monkeypatch):
    run_tests, calls = validate.run_tests, []

    async def late(*args, **more):
        calls.append(args)
        if len(calls) == 1:
            raise SandboxUnavailable("the sandbox did not start, so the program was not run: TimeoutError()")
        return await run_tests(*args, **more)

    monkeypatch.setattr(validate, "run_tests", late)
    made = flat(tmp_path / "late")
    settings = Settings(tests=TESTS, install=install, python=sys.executable, scope="changed", repeats=1)
    found = asyncio.run(made_of(Wanted(repository=made.folder, limit=2), settings, tmp_path / "out", lambda *_: None))
    assert len(found.tasks) == 1
    assert ["did not start" in str(row.get("reason")) for row in found.rows] == [True, False]


# ── bad input ────────────────────────────────────────────────────────────
def shallow(folder):
    made = flat(folder / "whole")
    subprocess.run(["git", "clone", "-q", "--depth", "3", f"file://{made.folder}", folder / "bad"], check=True)


def without_tests(folder):
    made = Repository(folder / "bad")
    for number in range(3):
        made.commit(f"Change {number}", {"a.py": f"x = {number}\n"})


def merges_only(folder):
    made = Repository(folder / "bad")
    made.commit("root", {"a.py": "x = 1\n", "test_a.py": "def test_a():\n    pass\n"})
    for number in range(3):
        made.count += 1
        tree = made.git("write-tree")
        side = made.git("commit-tree", tree, "-m", f"side {number}")
        made.git("reset", "-q", "--hard", made.git("commit-tree", tree, "-p", "HEAD", "-p", side, "-m", "Merge"))


def with_test(body):
    def make(folder):
        made = Repository(folder / "bad")
        made.commit("root", {"a.py": "x = 1\n"})
        test = f"import a\n\n\ndef test_a():\n    {body}\n    assert a.x == 2\n"
        made.commit("Two", {"a.py": "x = 2\n", "test_a.py": test})

    return make


BAD = {
    "shallow": (shallow, "shallow clone.*git fetch --unshallow"),
    "without tests": (without_tests, "has no tests"),
    "merges only": (merges_only, "merges only"),
    "no folder": (lambda folder: None, "is no folder"),
    "no repository": (lambda folder: (folder / "bad").mkdir(), "is no git repository"),
    "always fail": (with_test("assert False"), "no test passes after the commit"),
    "writes outside": (with_test("open('/usr/outside', 'w')"), "writes outside of its folder"),
    "network": (with_test("import urllib.request; urllib.request.urlopen('http://example.org')"), "needs the network"),
    "service": (with_test("import socket; socket.create_connection(('127.0.0.1', 5432))"), r"a service.*PostgreSQL"),
    "never ends": (with_test("import time; time.sleep(600)"), "time limit; give more --seconds"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_repository_that_cannot_be_mined_is_refused_and_nothing_is_left(name, tmp_path, install):
    make, why = BAD[name]
    make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SpecError, match=why):
        mine(tmp_path / "bad", tmp_path / "out", install, "--seconds", 8)
    assert sorted(tmp_path.iterdir()) == before


def test_an_install_command_with_an_open_quote_is_refused(tmp_path):
    with pytest.raises(SpecError, match="'pip install \"x' is not a command: No closing quotation") as caught:
        mine(flat(tmp_path / "shapes").folder, tmp_path / "out", 'pip install "x')
    assert caught.value.field == "--install"


def test_results_of_another_runner_are_read_from_its_junit_xml(tmp_path, install):
    made = Repository(tmp_path / "other")
    runner = """
        import sys, runpy
        results, *files = sys.argv[1:]
        with open(results, "w") as out:
            out.write("<testsuite>")
            for file in files:
                for name, body in runpy.run_path(file).items():
                    if name.startswith("check_"):
                        inner = "" if body() else "<failure/>"
                        out.write(f'<testcase classname="{file}" name="{name}">{inner}</testcase>')
            out.write("</testsuite>")
    """
    lines = "\n".join(line[8:] for line in runner.splitlines())
    made.commit("root", {"a.py": "x = 1\n", "run.py": lines})
    made.commit("Two", {"a.py": "x = 2\n", "a_test.py": "import a\n\n\ndef check_a():\n    return a.x == 2\n"})
    words = ["--pass-to-pass", "changed", "--tests", "python run.py {junit} {files}"]
    mine(made.folder, tmp_path / "out", install, *words)
    (task,) = load(tmp_path / "out").tasks
    assert task.check.repository_tests.fail_to_pass == ("a_test.py::check_a",)
