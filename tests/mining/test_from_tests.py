"""`tierwise workload from-tests` on a project made here: which functions become tasks, and what grades them."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from typer.testing import CliRunner

from mining.made_repositories import TESTS, Repository
from tierwise.bench.grading import grade
from tierwise.cli import app
from tierwise.mining.functions import spread
from tierwise.runs.records import TrialOutcome
from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError
from tierwise.workloads.files import load

pytestmark = pytest.mark.sandbox

CORE = '''"""Words."""


def shorten(text, length):
    """The text, cut to a length.

    >>> shorten("abcdef", 3)
    'ab…'
    """
    if len(text) <= length:
        return text
    return text[: length - 1] + "…"


def copied(x):
    """A copy of it stands elsewhere."""
    y = x + 1
    z = y * 2
    return z


def unnamed(x):
    """No test names it."""
    y = x + 1
    z = y * 3
    return z


class Bag:
    def add(self, word):
        """Add a word; returns how many there are."""
        held = self.__dict__.setdefault("held", [])
        held.append(word)
        return len(held)
'''
FILES = {
    "words/__init__.py": "",
    "words/core.py": CORE,
    "words/other.py": "def twin(x):\n    y = x + 1\n    z = y * 2\n    return z\n",
    "tests/test_core.py": "from words.core import Bag, copied, shorten\n\n\ndef test_shorten():\n"
    "    assert shorten('abcdef', 3) == 'ab…'\n\n\ndef test_copied():\n    assert copied(1) == 4\n\n\n"
    "def test_bag():\n    assert [Bag().add('a'), 1] == [1, 1]\n",
    "tests/test_far.py": "def test_far():\n    shorten = 1\n",
    "pytest.ini": "[pytest]\npythonpath = .\n",
    "build/lib/words/core.py": CORE,
    ".gitignore": ".venv/\n",
    ".venv/lib/words.py": CORE,
}


def made(folder, files):
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    return folder


def mine(project, out, install, *words):
    given = ["workload", "from-tests", project, "--tests", TESTS, "--install", install, "--out", out]
    done = CliRunner().invoke(app, [str(word) for word in [*given, "--python", sys.executable, *words]])
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.fixture(scope="module")
def words(tmp_path_factory, install, cache):
    folder = tmp_path_factory.mktemp("words")
    said = mine(made(folder / "words", FILES), folder / "out", install)
    return load(folder / "out"), said


def test_functions_that_tests_name_are_tasks_unless_a_copy_gives_them_away(words):
    found, said = words
    assert [task.id for task in found.tasks] == ["words/core.py::shorten", "words/core.py::Bag.add"]
    assert "2 tasks of 3 functions of words that tests name" in said
    assert "- words/core.py::copied: its body stands in another place of the project, too" in said
    check = found.tasks[0].check.repository_tests
    assert check.fail_to_pass == ("tests/test_core.py::test_shorten",)
    assert check.pass_to_pass == ("tests/test_core.py::test_bag", "tests/test_core.py::test_copied")
    assert (check.validated.runs, check.validated.gold, check.validated.empty) == (2, "passes", "fails")
    assert check.files == ("tests/test_core.py",)
    assert len(json.loads((found.path / "mining.json").read_text())["candidates"]) == 3


def test_what_is_above_a_repository_is_not_its_project(tmp_path, install):
    project = made(tmp_path / "home" / "words", {**FILES, ".git/HEAD": "ref: refs/heads/main\n"})
    made(tmp_path / "home", {"setup.cfg": "[flake8]\n", "private/notes.py": "def note():\n    pass\n"})
    mine(project, tmp_path / "out", install, "--limit", 2)
    found = load(tmp_path / "out")
    assert [task.id for task in found.tasks] == ["words/core.py::shorten"]


def test_the_prompt_has_docstring_and_doctest_but_no_body(words):
    text = words[0].tasks[0].messages[0]["content"]
    assert '\'ab…\'\n    """\n    raise NotImplementedError' in text
    assert "length - 1" not in text
    assert "y * 2" in text  # the rest of the file is there


RIGHT = """```python
def cut(text, length):
    return text[: length - 1]

def shorten(text, length):
    return text if len(text) <= length else cut(text, length) + "…"
```"""


@pytest.mark.parametrize(
    ("number", "answer", "outcome", "why"),
    [
        (0, RIGHT, TrialOutcome.CORRECT, "1 tests pass now, 2 still pass"),
        (0, RIGHT.replace("- 1", "- 2"), TrialOutcome.INCORRECT, "1 of 1 tests still fail"),
        (0, "```python\ndef other(x):\n    return x\n```", TrialOutcome.INCORRECT, "does not define shorten"),
        (1, "```python\ndef add(self, word):\n    return 1\n```", TrialOutcome.CORRECT, "pass now"),
    ],
)
def test_an_answer_is_the_function(words, number, answer, outcome, why):
    verdict = asyncio.run(grade(words[0].tasks[number], Completion(text=answer), None, "a"))
    assert (verdict.outcome, why in verdict.why) == (outcome, True), verdict.why


BAD = {
    "no folder": ({}, "is no folder"),
    "no tests": ({"a.py": CORE}, "has no tests"),
    "nothing named": ({"a.py": CORE, "test_a.py": "def test_a():\n    pass\n"}, "no test names a function"),
    "tests that always fail": (
        {"a.py": CORE, "test_a.py": "import a\n\n\ndef test_a():\n    a.shorten('', 1)\n    assert False\n"},
        "no test passes",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_project_without_tasks_is_refused_and_nothing_is_left(name, tmp_path, install):
    files, why = BAD[name]
    made(tmp_path / "bad", files)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SpecError, match=why):
        mine(tmp_path / "bad", tmp_path / "out", install)
    assert sorted(tmp_path.iterdir()) == before


def test_of_a_folder_in_a_project_only_its_functions_are_asked_for_by_the_tests_that_name_them_most(tmp_path, install):
    close = 'def close(x):\n    """Twice and one more."""\n    y = x * 2\n    y += 1\n    return y\n'
    said = "import words\n\n\ndef test_close():\n    assert words.close(1) == 3\n"
    files = {
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['.']\n",
        "words/__init__.py": close,
        "other.py": close.replace("close", "shut").replace("2", "3"),
        "tests/test_other.py": "import other\n\n\ndef test_shut():\n    assert other.shut(1) == 4\n",
        **{f"tests/test_{number}.py": said + "# close\n" * number for number in range(10)},
    }
    made(tmp_path / "project", files)
    out = mine(tmp_path / "project" / "words", tmp_path / "out", install)
    assert "1 tasks of 1 functions of project" in out
    (task,) = load(tmp_path / "out").tasks
    assert task.id == "words/__init__.py::close"
    check = task.check.repository_tests
    assert check.files == tuple(f"tests/test_{number}.py" for number in range(2, 10))
    assert len(check.fail_to_pass) == 8
    with pytest.raises(SpecError, match="no test names a function in tests/"):
        mine(tmp_path / "project" / "tests", tmp_path / "none", install)


def test_a_file_that_a_merge_changed_last_has_the_date_of_the_merge_in_a_project_of_a_larger_repository(
    tmp_path, install
):
    repository = Repository(tmp_path / "whole")

    def times(number):
        return {"part/a.py": f'def close(x):\n    """Times."""\n    y = x * {number}\n    y += 1\n    return y\n'}

    pytest_ini = "[tool.pytest.ini_options]\npythonpath = ['.']\n"
    test = "import a\n\n\ndef test_close():\n    assert a.close(1) == 6\n"
    repository.commit("One", {"part/pyproject.toml": pytest_ini, "part/test_a.py": test, **times(2)})
    repository.git("checkout", "-q", "-b", "side")
    side = repository.commit("Side", times(3))
    repository.git("checkout", "-q", "main")
    repository.commit("Main", times(4))
    tree = f"{repository.commit('Both', times(5))}^{{tree}}"
    merged = repository.git("commit-tree", tree, "-p", "HEAD~1", "-p", side, "-m", "Merge")
    repository.git("reset", "-q", "--hard", merged)
    mine(repository.folder / "part", tmp_path / "out", install)
    (task,) = load(tmp_path / "out").tasks
    assert task.check.repository_tests.date == repository.git("log", "-1", "--format=%cI")


@pytest.mark.parametrize(("count", "most", "chosen"), [(3, 5, [0, 1, 2]), (7, 3, [0, 2, 4]), (100, 4, [0, 25, 50, 75])])
def test_functions_that_are_tried_are_spread_over_all(count, most, chosen):
    assert list(spread(range(count), most)) == chosen
