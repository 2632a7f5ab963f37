"""What is read from a history, a message and an answer, without running anything."""

from __future__ import annotations

import io
import tarfile

import pytest

from mining.made_repositories import Repository
from tierwise.mining.context import imports, named
from tierwise.mining.history import Issue, linked, read_issues, without_trailers
from tierwise.mining.validate import contamination
from tierwise.spec.errors import SpecError
from tierwise.verifiers.repository.answer import edits_in
from tierwise.verifiers.repository.environment import PYTEST
from tierwise.verifiers.repository.git import archive
from tierwise.verifiers.repository.running import Ran, command_of, reason

THERE = ["a.py", "src/pack/__init__.py", "src/pack/core.py", "src/pack/deep/core.py", "src/pack/deep/only.py"]


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        ("One\n\nSigned-off-by: A <a@b>\nChange-Id: 1\n", "One"),
        ("One\n\nTwo: three\nfour", "One\n\nTwo: three\nfour"),
        ("Fix: one", "Fix: one"),
        ("One\n\ndiff --git a/a b/a\n+x", "One"),
        ("One\n# ------ >8 ------\ndiff", "One"),
    ],
)
def test_a_message_loses_its_trailers_and_any_diff(message, kept):
    assert without_trailers(message) == kept


def test_issues_are_found_by_their_numbers(tmp_path):
    (tmp_path / "i.json").write_text('[{"number": 3, "title": "t", "body": null}]')
    issues = read_issues(tmp_path / "i.json")
    assert linked("Fix #3 and GH-4, not x#", issues) == [Issue(number=3, title="t", body=None)]
    (tmp_path / "i.json").write_text('{"number": 3}')
    with pytest.raises(SpecError, match="gh issue list"):
        read_issues(tmp_path / "i.json")


def test_files_are_named_by_path_by_unique_name_or_as_modules():
    assert named("See src/pack/core.py, only.py, core.py and pack.deep.core.", THERE) == [
        "src/pack/core.py",
        "src/pack/deep/only.py",
        "src/pack/deep/core.py",
    ]
    assert named("a plain sentence about a", THERE) == []


def test_imports_lead_to_files():
    source = "import a, os\nfrom pack import core\nfrom pack.deep.only import x\nfrom pack import y\nfrom . import z"
    assert imports(source, "tests/test_a.py", THERE) == [
        "a.py",
        "src/pack/core.py",
        "src/pack/deep/only.py",
        "src/pack/__init__.py",
    ]
    assert imports("from .core import x", "src/pack/test_a.py", THERE) == ["src/pack/core.py"]
    assert imports("def", "t.py", THERE) == []


@pytest.mark.parametrize(
    "answer",
    [
        "a.py\n```python\nx = 1\n```",
        "### `a.py`\n\n```python\nx = 1\n```",
        "File: a.py\n```\nx = 1\n```",
        "```python a.py\nx = 1\n```",
        "```python:a.py\nx = 1\n```",
        "Use this:\n\n**a.py:**\n~~~~\nx = 1\n~~~~",
    ],
)
def test_a_whole_file_is_a_block_under_its_path(answer):
    (edit,) = edits_in(answer)
    assert (edit.path, edit.content, edit.diff) == ("a.py", "x = 1\n", None)


def test_a_diff_is_a_block_with_a_hunk_or_the_answer_itself():
    diff = "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 0\n+x = 1\n"
    assert [edit.diff for edit in edits_in(f"So\n```diff\n{diff}```\nand\n```\n{diff}```")] == [diff, diff]
    assert [edit.diff for edit in edits_in(f"So\n{diff}")] == [diff]
    assert edits_in("So it is.\n```python\nx = 1\n```") == []


def test_a_command_is_pytest_or_names_its_results():
    assert command_of("pytest -q", ["tests"])[-2:] == ["--junitxml=/tmp/results.xml", "tests"]
    assert command_of("run {files} --to {junit}", ["a", "b"]) == ["run", "a", "b", "--to", "/tmp/results.xml"]
    for wrong, why in (("nose2", "is not pytest"), ("", "is empty"), ("pytest '", "is not a command")):
        with pytest.raises(SpecError, match=why):
            command_of(wrong, [])


def test_a_failure_has_a_likely_reason():
    missing = Ran(failures=["E   ModuleNotFoundError: No module named 'redis'"], has_results=True)
    assert "lacks the module redis" in reason(missing)
    assert reason(Ran(has_results=True, failures=["\nassert 1 == 2"])) == "fails with 'assert 1 == 2'"
    assert reason(Ran(has_results=True, failures=["collection failure\nx\nE   No: 3"])) == "fails with 'No: 3'"
    assert "needs /proc" in reason(Ran(failures=["FileNotFoundError: No such file or directory: '/proc/self'"]))
    assert reason(Ran(has_results=True)) == ""
    assert reason(Ran(exit_code=4, tail="ERROR: usage: pytest\n")).startswith("wrote no results (exit code 4)")


def test_a_commit_from_before_the_release_may_be_known():
    assert contamination("2026-01-02T00:00:00+00:00", "") == "unknown"
    assert contamination("2026-01-02T00:00:00+00:00", "2026-01-02") == "possible"
    assert contamination("2026-01-03T00:00:00+00:00", "2026-01-02") == "after_release"


def test_a_commit_is_unpacked_with_the_files_that_its_archives_leave_out(tmp_path):
    made = Repository(tmp_path / "made")
    made.commit(
        "One", {".gitattributes": "tests export-ignore\n", "tests/test_a.py": "one\n", "run.sh": "", "ü.txt": "ü"}
    )
    (made.folder / "run.sh").chmod(0o755)
    (made.folder / "link").symlink_to("ü.txt")
    commit = made.commit("Two", {"empty.py": ""})
    with tarfile.open(fileobj=io.BytesIO(archive(made.folder, commit))) as file:
        assert file.getnames() == [".gitattributes", "empty.py", "link", "run.sh", "tests/test_a.py", "ü.txt"]
        file.extractall(tmp_path / "whole", filter="data")
    assert (tmp_path / "whole" / "link").read_text() == "ü"
    assert (tmp_path / "whole" / "run.sh").stat().st_mode & 0o111
    some = archive(made.folder, commit, ["tests/test_a.py"])
    with tarfile.open(fileobj=io.BytesIO(some)) as file:
        (member,) = file
        read = file.extractfile(member)
        assert read is not None
        assert read.read() == b"one\n"
    assert archive(made.folder, commit, []) == b""


@pytest.mark.parametrize(
    ("runner", "found"),
    [
        ("pytest", True),
        ("py.test", True),
        ("python", True),
        ("python3.12", True),
        ("bin/python3", True),
        ("nose2", False),
    ],
)
def test_a_runner_that_may_be_pytest_is_given_it(runner, found):
    assert bool(PYTEST.search(runner)) is found
