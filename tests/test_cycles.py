"""No module needs itself: imports have no cycle, those for types only and those in functions counted."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tierwise

ROOT = Path(tierwise.__file__).parent


def graph(root: Path) -> dict[str, set[str]]:
    """The modules that each module imports, by their dotted names."""
    modules = {dotted(path, root): path for path in root.rglob("*.py")}
    return {name: set(imported(path.read_text(), modules)) - {name} for name, path in modules.items()}


def dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, modules: Mapping[str, Path]) -> Iterator[str]:
    """What is imported, each the module itself or the one that holds the name."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names):
                names = [alias.name for alias in names]
            case ast.ImportFrom(module, names, 0):
                names = [f"{module}.{alias.name}" for alias in names]
            case _:
                continue
        for name in names:
            holder = name
            while holder and holder not in modules:
                holder = holder.rpartition(".")[0]
            if holder.count("."):  # the package itself, which holds the version, imports nothing
                yield holder


def cycle(root: Path) -> list[str]:
    try:
        TopologicalSorter(graph(root)).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_needs_itself():
    assert cycle(ROOT) == []


@pytest.mark.parametrize(
    ("first", "second", "is_cycle"),
    [
        ("from house.second import x", "from house.first import y", True),
        ("from house import second", "import house.first", True),
        ("from house.second import x", "if TYPE_CHECKING:\n    from house.first import y", True),
        ("from house.second import x", "def f():\n    from house.first import y", True),
        ("from house.second import x", "import os\nfrom house import __version__", False),
    ],
)
def test_the_check_itself_sees_every_way_to_import(tmp_path, first, second, is_cycle):
    house = tmp_path / "house"
    house.mkdir()
    for name, source in (("__init__", ""), ("first", first), ("second", second)):
        (house / f"{name}.py").write_text(source)
    assert bool(cycle(house)) is is_cycle
