"""The shape of the source: no import cycle between modules, no long file, no long function in orchestration.

Each list of exceptions is exact: an entry that is no longer needed fails its test, and goes.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tierwise

ROOT = Path(tierwise.__file__).parent

KNOWN_CYCLES: list[set[str]] = []

MOST_LINES = 450
LONG_FILES: set[str] = set()

MOST_FUNCTION_LINES = 60
ORCHESTRATION = ("cli/", "bench/", "gateway/", "run/", "router/", "setup/", "plan.py", "service.py", "library.py")
LONG_FUNCTIONS: set[str] = set()

CHANGING = ("time.", "datetime.", "uuid.", "random.", "secrets.", "os.urandom", "os.getpid")


def sources(root: Path) -> dict[str, ast.Module]:
    """Every module by its dotted name below the package, which is `tierwise` itself."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if "_pb2" not in name:  # generated
            found[name or "tierwise"] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module, known: set[str]) -> set[str]:
    """The modules of ours that one imports: at the top, for types only, or inside a function."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                ours = {alias.name for alias in names if alias.name.split(".")[0] == "tierwise"}
                found |= {name.removeprefix("tierwise.") for name in ours}
            case ast.ImportFrom(module=str(module), names=names, level=0) if module.split(".")[0] == "tierwise":
                package = module.removeprefix("tierwise").removeprefix(".")
                inside = [f"{package}.{alias.name}".lstrip(".") for alias in names]
                found |= {name if name in known else package or "tierwise" for name in inside}
    return found & known


def graph(root: Path) -> dict[str, set[str]]:
    modules = sources(root)
    return {name: imports(tree, set(modules)) - {name} for name, tree in modules.items()}


def cycles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The largest sets of modules that import each other, directly or through others (Tarjan 1972)."""
    found: list[set[str]] = []
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        path.append(name)
        for other in sorted(edges[name]):
            if other not in order:
                visit(other)
            if other in path:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == order[name]:
            start = path.index(name)
            if len(path) - start > 1:
                found.append(set(path[start:]))
            del path[start:]

    for name in edges:
        if name not in order:
            visit(name)
    return sorted(found, key=min)


def long_functions(root: Path, places: tuple[str, ...]) -> set[str]:
    """Functions with more lines than are allowed, signature and docstring included: `cli/bench.py: bench`."""
    found = set()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root).as_posix()
        if place.startswith(places) and "_pb2" not in place:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    lines = (node.end_lineno or node.lineno) - node.lineno + 1
                    if lines > MOST_FUNCTION_LINES:
                        found.add(f"{place}: {node.name}")
    return found


def changing_parameters(root: Path) -> set[str]:
    """Calls that give parameters of tests another value in each process: pytest-xdist then runs no test at all.

    gzip writes the time of day unless it is told one, wherever its bytes end up.
    """
    found = set()
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        decorators = [one for node in ast.walk(tree) for one in getattr(node, "decorator_list", [])]
        in_decorators = {call for one in decorators for call in calls(one) if name_of(call).startswith(CHANGING)}
        packed = {call for call in calls(tree) if name_of(call) == "gzip.compress"}
        without = {call for call in packed if not any(keyword.arg == "mtime" for keyword in call.keywords)}
        found |= {f"{path.name}:{call.lineno} {name_of(call)}" for call in in_decorators | without}
    return found


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return ast.unparse(call.func)


def test_no_parameter_of_a_test_differs_between_two_processes():
    assert changing_parameters(Path(__file__).parent) == set()


def test_the_check_sees_a_parameter_that_differs(tmp_path):
    (tmp_path / "test_a.py").write_text(
        "A = gzip.compress(b'')\nB = gzip.compress(b'', mtime=0)\n"
        "@pytest.mark.parametrize('x', [time.time()])\ndef test_a(x):\n    time.sleep(1)\n"
    )
    assert changing_parameters(tmp_path) == {"test_a.py:1 gzip.compress", "test_a.py:3 time.time"}


def test_no_module_imports_itself_through_others():
    assert cycles(graph(ROOT)) == KNOWN_CYCLES


def test_every_file_is_short_enough_to_read():
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in ROOT.rglob("*.py")}
    assert {place for place, lines in lengths.items() if lines > MOST_LINES} == LONG_FILES


def test_every_function_that_orchestrates_fits_a_screen():
    assert long_functions(ROOT, ORCHESTRATION) == LONG_FUNCTIONS


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a": "from tierwise.b import x", "b": "from tierwise.a import y"}, [{"a", "b"}]),
        ({"a": "from tierwise import b", "b": "import tierwise.a"}, [{"a", "b"}]),
        (
            {"a": "if TYPE_CHECKING:\n    from tierwise.b import x", "b": "def f():\n    from tierwise import a"},
            [{"a", "b"}],
        ),
        (
            {"a": "from tierwise.b import x", "b": "from tierwise import c", "c": "from tierwise.a import z"},
            [{"a", "b", "c"}],
        ),
        ({"p/__init__": "from tierwise.p.a import x", "p/a": "from tierwise.p import y"}, [{"p", "p.a"}]),
        ({"p/__init__": "from tierwise.p.a import x", "p/a": "from tierwise.p import b", "p/b": ""}, []),
        ({"p/__init__": "from tierwise.p.a import x", "p/a": "from tierwise.p import b, y", "p/b": ""}, [{"p", "p.a"}]),
        ({"a": "from tierwise.b import x", "b": "from tierwise.c import y", "c": "import ast"}, []),
        ({"a": "from tierwise import x", "__init__": "from tierwise.a import x"}, [{"a", "tierwise"}]),
    ],
)
def test_the_check_sees_every_cycle(tmp_path, files, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    assert cycles(graph(tmp_path)) == found


def test_the_check_counts_signature_docstring_and_body(tmp_path):
    (tmp_path / "cli").mkdir()
    body = "\n".join(f"    x = {number}" for number in range(58))
    for name, extra in (("fits", 1), ("long", 2)):
        (tmp_path / "cli" / f"{name}.py").write_text(f"def {name}():\n" + "    'doc'\n" * extra + body + "\n")
    (tmp_path / "other.py").write_text("def long():\n" + body * 2)
    assert long_functions(tmp_path, ("cli/",)) == {"cli/long.py: long"}
