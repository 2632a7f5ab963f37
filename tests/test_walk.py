"""Imports only go down the walk that `tierwise.__doc__` lists, one indented name per line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tierwise

ROOT = Path(tierwise.__file__).parent
WAY_IN = {"__init__", "__main__"}  # they stand above the list


def walk_of(docstring: str) -> list[str]:
    """The stations and families, top to bottom."""
    return re.findall(r"^    (\w+) {2,}\S", docstring, re.MULTILINE)


def modules(root: Path) -> dict[Path, str]:
    """Every file with the name on the list that it belongs to."""
    return {path: path.relative_to(root).parts[0].removesuffix(".py") for path in sorted(root.rglob("*.py"))}


def imported(source: str) -> set[str]:
    """The names right below `tierwise` that a file imports: at the top, for types only, or in a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module, names, 0):
                found |= {f"{module}.{alias.name}" for alias in names}
            case ast.ImportFrom():
                found.add("tierwise.(relative)")
    parts = [name.split(".") for name in found]
    return {name[1] for name in parts if name[0] == "tierwise" and len(name) > 1 and name[1] != "__version__"}


def climbs(root: Path, walk: list[str]) -> list[str]:
    """Every import that does not go down, and every file that is on no line of the list."""
    wrong = []
    for path, name in modules(root).items():
        if name in WAY_IN:
            continue
        if name not in walk:
            wrong.append(f"{path.relative_to(root)} is not on the walk")
            continue
        below = {name, *walk[walk.index(name) + 1 :]}
        wrong += [f"{path.relative_to(root)} imports {other}" for other in sorted(imported(path.read_text()) - below)]
    return wrong


def test_imports_only_go_down_the_walk():
    assert climbs(ROOT, walk_of(tierwise.__doc__ or "")) == []


def test_the_walk_names_only_what_is_there_and_each_once():
    walk = walk_of(tierwise.__doc__ or "")
    assert sorted(walk) == sorted(set(walk))
    assert set(walk) <= set(modules(ROOT).values())


@pytest.mark.parametrize(("room", "below"), [("spec", set()), ("stats", {"spec"})])
def test_the_vocabulary_and_the_statistics_know_nothing_of_the_rest(room, below):
    files = [path for path, name in modules(ROOT).items() if name == room]
    assert set().union(*(imported(path.read_text()) for path in files)) <= {room, *below}


@pytest.mark.parametrize(
    ("file", "source", "wrong"),
    [
        ("low.py", "from tierwise.high import x", ["low.py imports high"]),
        ("low.py", "from tierwise import high", ["low.py imports high"]),
        ("low.py", "import tierwise.high.deep", ["low.py imports high"]),
        ("low.py", "if TYPE_CHECKING:\n    from tierwise.high import x", ["low.py imports high"]),
        ("low.py", "def f():\n    from tierwise.high import x", ["low.py imports high"]),
        ("low/a.py", "from ..high import x", ["low/a.py imports (relative)"]),
        ("low/a.py", "from tierwise.low.b import x", []),
        ("high.py", "from tierwise.low import x\nfrom tierwise import __version__\nimport os", []),
        ("stray.py", "", ["stray.py is not on the walk"]),
        ("__main__.py", "from tierwise.high import x", []),
    ],
)
def test_the_check_itself_sees_every_way_to_import(tmp_path, file, source, wrong):
    walk = walk_of("A package.\n\n    high    above\n    low     below\n")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(source)
    assert climbs(tmp_path, walk) == wrong
