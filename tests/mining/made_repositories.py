"""Small repositories with a history, made the same way each time, and a cache whose environments install nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.verifiers.repository.check import gold

TESTS = "python -m pytest -q"

DAY = 86_400
FIRST = 1_750_000_000

NAMES = [
    "area",
    "border",
    "cube",
    "double",
    "extent",
    "floor",
    "gap",
    "half",
    "inset",
    "join",
    "keep",
    "lower",
    "middle",
]


class Repository:
    """A git repository whose commits have fixed dates and authors, so that their hashes are fixed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", ".")

    def git(self, *words: str) -> str:
        when = f"{FIRST + self.count * DAY} +0000"
        own = {
            "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.org", "GIT_COMMITTER_DATE": when,
            "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
        }  # fmt: skip
        done = subprocess.run(
            ["git", *words], cwd=self.folder, env={**os.environ, **own}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message: str, files: Mapping[str, str | bytes | None]) -> str:
        """Write files (None removes one) and commit them."""
        self.count += 1
        for path, content in files.items():
            place = self.folder / path
            if content is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


def flat(folder: Path) -> Repository:
    """Modules at the root, tests in `tests/`: 32 commits, of which 10 change code and tests."""
    made = Repository(folder)
    made.commit("First files", {"shapes.py": '"""Shapes."""\n', "conftest.py": "", "README.md": "# Shapes\n"})
    code, tests = '"""Shapes."""\n', "import shapes\n"
    for number, name in enumerate(NAMES[:10]):
        made.commit(f"Notes on {name}", {"README.md": f"# Shapes\n\n{name}\n"})
        code += f"\n\ndef {name}(x):\n    return x * {number + 2}\n"
        tests += f"\n\ndef test_{name}():\n    assert shapes.{name}(3) == {3 * (number + 2)}\n"
        said = f"Add {name}() to shapes.py\n\nIt multiplies by {number + 2} (#{number}).\n\nSigned-off-by: A <a@b>"
        made.commit(said, {"shapes.py": code, "tests/test_shapes.py": tests})
        made.commit(f"Comment on {name}", {"notes.txt": name})
    made.commit("A licence", {"LICENSE": "none\n"})
    return made


def packaged(folder: Path) -> Repository:
    """A package in `src/`, a test per module, and 40 flaky ones beside them: 30 commits, of which 28 change both."""
    made = Repository(folder)
    made.commit("First files", {"pytest.ini": "[pytest]\npythonpath = src\n", "src/words/__init__.py": ""})
    flaky = (
        "import random\n\nimport pytest\n\n\n@pytest.mark.parametrize('number', range(40))\n"
        "def test_luck(number):\n    assert random.SystemRandom().random() < 0.5\n"
    )
    made.commit("A test of luck", {"tests/unit/test_luck.py": flaky})
    for number in range(28):
        name = f"word{number}"
        source = f"from __future__ import annotations\n\n\ndef {name}() -> str:\n    return {name!r}\n"
        test = f"from words.{name} import {name}\n\n\ndef test_{name}():\n    assert {name}() == {name!r}\n"
        made.commit(f"Add words.{name}", {f"src/words/{name}.py": source, f"tests/unit/test_{name}.py": test})
    return made


COPY = """
import os, shutil, sys
from pathlib import Path
from importlib.util import find_spec

(packages,) = Path(os.environ["VIRTUAL_ENV"]).glob("lib/python*/site-packages")
for name in ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"):
    shutil.copytree(Path(find_spec(name).origin).parent, packages / name)
shutil.copy(find_spec("py").origin, packages)
"""
"""Installs pytest from the running interpreter, without a network."""


def mine(repository, out, install, *words):
    given = ["workload", "from-git", repository, "--tests", TESTS, "--install", install, "--out", out, *words]
    if "--python" not in words:
        given += ["--python", sys.executable]
    done = CliRunner().invoke(app, [str(word) for word in given])
    if isinstance(done.exception, Exception) and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def gold_of(made, check):
    """The change of a task's commit, as a diff."""
    return gold(made.folder, check.base, check.commit).diff
