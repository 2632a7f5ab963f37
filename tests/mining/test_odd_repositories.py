"""Repositories of kinds that mining meets in the wild: each commit is a task, or is refused in words that help."""

from __future__ import annotations

import pytest

from mining.made_repositories import Repository, gold_of, mine
from tierwise.mining.validate import chosen_again
from tierwise.spec.errors import SpecError
from tierwise.verifiers.repository.git import elsewhere
from tierwise.verifiers.repository.running import Ran, command_of, reason
from tierwise.workloads.files import load

pytestmark = pytest.mark.sandbox

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 3\n"
LATIN = "# -*- coding: latin-1 -*-\n{}  # \xfc\xe4\n"
ROOT = {
    "pytest.ini": "[pytest]\npythonpath = src\n",
    ".gitattributes": "*.big filter=lfs diff=lfs merge=lfs -text\n",
    "src/lines.py": b"x = 1\r\ny = 3\r\n",
    "src/latin.py": LATIN.format("x = 1").encode("latin-1"),
    "src/data.bin": bytes(range(256)),
    "src/pointed.py": "x = 1\n",
    "src/plain.py": "x = 1\n",
    "src/run.sh": "exit 0\n",
    "held.big": POINTER.format("a" * 64),
    "shared.txt": "2",
    "tests/test_old.py": "import plain\n\n\ndef test_first():\n    assert plain.x\n",
    "packages/one/pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
    "packages/one/src/one.py": "x = 1\n",
    "packages/two/pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["src"]\n',
    "packages/two/src/two.py": "x = 1\n",
}


def expects(module, value="2"):
    return f"import {module}\n\n\ndef test_{module}():\n    assert {module}.x == {value}\n"


COMMITS = {
    "tests beside the code in src": (
        {"src/near.py": "x = 2\n", "src/test_near.py": expects("near")},
        "src/test_near.py::test_near",
    ),
    "a package of a monorepo": (
        {"packages/two/src/two.py": "x = 2\n", "packages/two/tests/test_it.py": expects("two")},
        "packages/two/tests/test_it.py::test_two",
    ),
    "spaces and other letters": (
        {"src/far.py": "x = 2\n", "my tests/prüfung ü/test_ä b.py": expects("far")},
        "my tests/prüfung ü/test_ä b.py::test_far",
    ),
    "renamed tests": (
        {
            "src/plain.py": "x = 2\n",
            "tests/test_old.py": None,
            "tests/test_new.py": "import plain\n\n\ndef test_first():\n    assert plain.x\n\n\n" + expects("plain"),
        },
        "tests/test_new.py::test_plain",
    ),
    "files of Git LFS": (
        {"src/large.py": "x = 2\n", "held.big": POINTER.format("b" * 64), "tests/test_large.py": expects("large")},
        "tests/test_large.py::test_large",
    ),
    "carriage returns": (
        {"src/lines.py": b"x = 2\r\ny = 3\r\n", "tests/test_lines.py": expects("lines").replace("\n", "\r\n")},
        "tests/test_lines.py::test_lines",
    ),
    "a binary patch": (
        {
            "src/data.bin": bytes(range(256)) * 2,
            "src/size.py": "from pathlib import Path\n\nx = Path(__file__).with_name('data.bin').stat().st_size\n",
            "tests/test_size.py": expects("size", "512"),
        },
        "tests/test_size.py::test_size",
    ),
    "Latin-1": (
        {
            "src/latin.py": LATIN.format("x = 2").encode("latin-1"),
            "tests/test_latin.py": LATIN.format("").encode("latin-1") + expects("latin").encode(),
        },
        "tests/test_latin.py::test_latin",
    ),
    "control \x01 characters": (
        {"src/spoken.py": "x = 2\n", "tests/test_spoken.py": expects("spoken")},
        "tests/test_spoken.py::test_spoken",
    ),
    "a message of 100,000 letters\n\n" + "and so on " * 10_000: (
        {"src/wordy.py": "x = 2\n", "tests/test_wordy.py": expects("wordy")},
        "tests/test_wordy.py::test_wordy",
    ),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory, install, cache):
    """A repository with a commit of each kind, mined: tasks by the first line of their messages."""
    folder = tmp_path_factory.mktemp("odd")
    inner = Repository(folder / "inner")
    inner.commit("one", {"held.py": "x = 1\n"})
    made = Repository(folder / "odd")
    (made.folder / "tests").mkdir()
    (made.folder / "tests" / "shared.txt").symlink_to("../shared.txt")
    (made.folder / "src").mkdir()
    (made.folder / "src" / "link.py").symlink_to("pointed.py")
    made.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner.folder), "vendor")
    made.commit("First files", ROOT)
    for message, (files, _) in COMMITS.items():
        made.commit(message, files)
    (made.folder / "src" / "link.py").unlink()
    (made.folder / "src" / "link.py").symlink_to("plain.py")
    link = expects("link", "int(open('tests/shared.txt').read())")
    made.commit("a symbolic link", {"src/pointed.py": "x = 0\n", "tests/test_link.py": link})
    (made.folder / "src" / "run.sh").chmod(0o755)
    mode = "import os\n\n\ndef test_mode():\n    assert os.access('src/run.sh', os.X_OK)\n"
    made.commit("a file's mode", {"tests/test_mode.py": mode})
    made.git("-C", "vendor", "commit", "-q", "--allow-empty", "-m", "two")
    made.commit("a submodule", {"src/sub.py": "x = 2\n", "tests/test_sub.py": expects("sub")})
    needs = "import sys\n\nsys.path.append('vendor')\n\n" + expects("held", "1")
    made.commit("needs a submodule", {"src/more.py": "", "tests/test_held.py": needs})
    skips = "import pytest\n\npytest.skip('no such day', allow_module_level=True)\n"
    passes = "def test_all():\n    pass\n"
    made.commit("skips", {"src/day.py": "", "tests/test_day.py": skips, "tests/test_all.py": passes})
    made.commit("turns nothing", {"src/day.py": "x = 1\n", "tests/test_all.py": passes + "\n"})
    said = mine(made.folder, folder / "out", install, "--pass-to-pass", "changed", "--context-tokens", 2000)
    found = load(folder / "out").tasks
    subjects = {
        made.git("rev-parse", f"HEAD~{n}"): made.git("log", "-1", "--format=%B", f"HEAD~{n}") for n in range(17)
    }
    return made, {subjects[task.check.repository_tests.commit]: task for task in found}, said


@pytest.mark.parametrize(
    ("message", "turned"),
    [(message.strip(), turned) for message, (_, turned) in COMMITS.items()]
    + [
        ("a symbolic link", "tests/test_link.py::test_link"),
        ("a file's mode", "tests/test_mode.py::test_mode"),
        ("a submodule", "tests/test_sub.py::test_sub"),
    ],
    ids=lambda one: one.split("\n")[0].replace("\x01", ""),
)
def test_a_commit_of_each_kind_is_a_task(odd, message, turned):
    check = odd[1][message].check.repository_tests
    assert check.fail_to_pass == (turned,)
    assert check.validated.flaky == []


def test_a_message_is_asked_whole_unless_it_is_longer_than_the_context(odd):
    _, tasks, _ = odd
    assert "control \x01 characters" in tasks["control \x01 characters"].messages[0]["content"]
    (long,) = [task for message, task in tasks.items() if message.startswith("a message of")]
    assert 8000 < len(long.messages[0]["content"]) < 17_000


def test_what_is_no_utf8_is_in_the_change_byte_by_byte(odd):
    made, tasks, _ = odd
    diff = gold_of(made, tasks["Latin-1"].check.repository_tests)
    assert b"+x = 2  # \xfc\xe4" in diff.encode(errors="surrogateescape")


@pytest.mark.parametrize(
    "said",
    [
        "give --install; git does not hold what the commit needs of the submodule vendor, held.big of Git LFS",
        "skips: no test fails before the commit and passes after it; 1 are skipped",
        "turns nothing: no test fails before the commit and passes after it; all 1 pass before it, too",
    ],
)
def test_a_commit_that_is_no_task_says_what_its_tests_did(odd, said):
    assert said in odd[2]


def test_what_git_does_not_hold_is_named(odd):
    assert elsewhere(odd[0].folder, "HEAD") == ["the submodule vendor", "held.big of Git LFS"]
    assert elsewhere(odd[0].folder, "HEAD~16") == ["the submodule vendor", "held.big of Git LFS"]


def test_a_link_of_the_tests_that_becomes_a_file_leaves_what_it_led_to(tmp_path, install):
    made = Repository(tmp_path / "links")
    (made.folder / "tests").mkdir()
    (made.folder / "tests" / "data.txt").symlink_to("../data.txt")
    made.commit("One", {"a.py": "x = 1\n", "data.txt": "ours"})
    (made.folder / "tests" / "data.txt").unlink()
    test = (
        "from pathlib import Path\n\nimport a\n\n\ndef test_a():\n    assert a.x == 2\n"
        "    assert [Path(name).read_text() for name in ('data.txt', 'tests/data.txt')] == ['ours', 'theirs']\n"
    )
    files = {"a.py": "x = 2\n", "conftest.py": "", "tests/data.txt": "theirs", "tests/test_a.py": test}
    made.commit("Two", files)
    mine(made.folder, tmp_path / "out", install)
    assert len(load(tmp_path / "out").tasks) == 1


@pytest.mark.parametrize("tests", ["tox -e py -- {junit}", "nox", "python -m tox --junitxml={junit}"])
def test_a_runner_that_makes_its_own_environment_is_refused(tests):
    with pytest.raises(SpecError, match=r"environments of its own.*--install"):
        command_of(tests, [])


def test_a_build_step_is_a_shell_command_that_gets_the_files_quoted():
    line = command_of("sh -c 'make && pytest --junitxml={junit} {files}'", ["tests/a b.py", "c.py"])
    assert line == ["sh", "-c", "make && pytest --junitxml=/tmp/results.xml 'tests/a b.py' c.py"]


def test_names_of_tests_are_paths_from_the_repository_unless_the_user_says_otherwise():
    assert "--rootdir=." in command_of("pytest -q", ["tests"])
    assert "--rootdir=." not in command_of("pytest --rootdir=packages/one", ["tests"])


def test_a_run_without_tests_or_with_skipped_ones_has_a_reason():
    assert reason(Ran(has_results=True, exit_code=4, tail="ERROR: x\n")) == "ran no test (exit code 4): ERROR: x"
    assert reason(Ran(exit_code=1)) == "wrote no results (exit code 1): it printed nothing"
    assert reason(Ran(exit_code=-5)) == "wrote no results (ended by SIGTRAP): it printed nothing"
    skipped = Ran(has_results=True, outcomes={"a": "skipped"}, skips=["no GPU"])
    assert reason(skipped) == "skips tests: 'no GPU'"


def test_only_tests_that_failed_run_again_before_the_commit():
    first = Ran(outcomes={"a.py::one": "passed", "a.py::two": "failed", "b.py::": "failed"})
    turned = {"a.py::two", "b.py::three"}
    assert chosen_again("pytest -q", first, turned) == ["a.py::two", "b.py"]
    assert chosen_again("python run.py {junit} {files}", first, turned) == []
    assert chosen_again("pytest -q", first, {"Class::two"}) == []
