"""What tests call, read off their text: names that the answer must define, and what has to be called to run them."""

from __future__ import annotations

import ast
import builtins
import dis
import importlib
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tierwise.verifiers.code.source import compiled, parsed

_LOADS = {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"}
_BUILTINS = set(dir(builtins))
_HIDING = {"eval", "exec", "compile", "globals", "locals", "vars", "__import__"}
"""Built-in functions after which nobody can tell which names the tests use."""

_SAME_PROCESS = {"mock", "inspect", "gc", "weakref", "signal", "tracemalloc", "pickle", "ctypes"}
"""Modules whose work ends at the border of a process."""

_SAME_PROCESS_NAMES = {"asdict", "astuple", "fields", "is_dataclass", "replace", "monkeypatch"}
_WORLD = {"sys", "builtins", "os", "time", "random"}
"""Modules whose attributes tests replace to change what the answer sees."""

_EFFECTS = {"this", "antigravity", "turtle", "tkinter", "idlelib", "turtledemo", "lib2to3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPlan:
    """How tests are run.

    Args:
        names: that the tests expect the answer to define.
        classes_named: those of them that are classes by their spelling: the tests expect objects.
        functions: test functions to call, in order.
        check: the name of the function that `check(candidate)` gets; empty if it is called by the tests or not there.
        classes: classes `Test…` whose methods are called, without a base class.
        cases: classes derived from `unittest.TestCase`.
        imports: modules of the standard library that the tests import.
        borrowed: modules of it that they use without importing them.
        offers: names that they import from it, each with module and attribute; an answer's functions may use them.
        watches: whether the tests look at an argument after a call, so that a change of it matters.
        one_process: why the tests must run in the answer's process; empty if they need not.
    """

    names: list[str]
    classes_named: list[str]
    functions: list[str] = field(default_factory=list)
    check: str = ""
    classes: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)
    imports: list[str] = field(default_factory=list)
    borrowed: list[str] = field(default_factory=list)
    offers: list[list[str]] = field(default_factory=list)
    watches: bool = False
    one_process: str = ""


def plan_of(tests: str, entry_point: str | None, setup: str = "") -> TestPlan:
    """Read tests.

    Args:
        tests: their source, which compiles.
        entry_point: the function that `check(candidate)` is called with.
        setup: code that runs before them, whose names are not the answer's.

    Raises:
        ValueError: they call nothing of the answer, so that any answer would pass; or they need what is not there.
    """
    tree = parsed(tests)
    defined = _defined(tests) | _defined(setup)
    local = {node.name: node for node in tree.body if isinstance(node, _DEFINITIONS)}
    executed = set[str]()
    for node in tree.body:
        code = compiled(ast.Module([node], []), "tests")
        executed |= set(_loads(code, inner=not isinstance(node, _DEFINITIONS)))
    functions = [
        name
        for name, node in local.items()
        if name.startswith("test") and not isinstance(node, ast.ClassDef) and name not in executed
    ]
    for name in functions:
        _check_signature(local[name])
    cases = _cases(local)
    classes = [
        name
        for name, node in local.items()
        if name.startswith("Test") and isinstance(node, ast.ClassDef) and not node.bases and name not in executed
    ]
    waits = "check" in local and "check" not in executed
    check = entry_point or "" if waits else ""
    reached = _reached(executed | {*functions, *cases, *classes} | ({"check", check} if check else set()), local)
    names = _answers_names(reached - defined, tree)
    borrowed = _borrowed(names, tree)
    names = names - borrowed | ({check} if check else set())
    if not names:
        cure = "`check(candidate)` is not called; give `entry_point`, the name of the function" if waits else _CURE
        raise ValueError(f"tests: call nothing of the answer, so any answer would pass: {cure}")
    return TestPlan(
        names=sorted(names),
        classes_named=sorted(name for name in names if name.lstrip("_")[:1].isupper()),
        functions=functions,
        check=check,
        classes=classes,
        cases=cases,
        imports=sorted(_imported(tree) | borrowed),
        borrowed=sorted(borrowed),
        offers=sorted(_offers(tree)),
        watches=_looks_at_arguments(tree),
        one_process=_one_process(tree, names),
    )


_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_CURE = "write assertions about what it defines, at the top, in functions `test_…` or in a `TestCase`"


def _loads(code: types.CodeType, *, inner: bool) -> Iterator[str]:
    """Names that code loads from its module, and with `inner` the code in it."""
    stored = {one.argval for one in dis.get_instructions(code) if one.opname == "STORE_NAME"}
    is_class_body = code.co_name not in ("<module>", "<lambda>")
    for one in dis.get_instructions(code):
        if one.opname in _LOADS and not (is_class_body and one.argval in stored):
            yield str(one.argval)
    for constant in code.co_consts if inner else ():
        if isinstance(constant, types.CodeType):
            yield from _loads(constant, inner=True)


def _defined(source: str) -> set[str]:
    """Names that a module sets or imports, those of `from math import *` included."""
    code = compiled(source, "tests")
    found = {str(one.argval) for one in dis.get_instructions(code) if one.opname in ("STORE_NAME", "STORE_GLOBAL")}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            found |= {str(one.argval) for one in dis.get_instructions(inner) if one.opname == "STORE_GLOBAL"}
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found |= _public(node.module or "")
    return found


def _public(module: str) -> set[str]:
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names or top in _EFFECTS:
        return set()
    found = importlib.import_module(module)
    return set(getattr(found, "__all__", dir(found)))


def _check_signature(node: ast.AST) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        arguments = node.args
        count = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
        count += sum(one is None for one in arguments.kw_defaults)
        if count:
            raise ValueError(
                f"tests: {node.name} takes arguments, and nothing gives them: there are no fixtures here; "
                "make it a function without arguments"
            )


def _cases(local: Mapping[str, ast.stmt]) -> list[str]:
    found: list[str] = []
    for name, node in local.items():
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            if any(base.endswith("TestCase") or base in found for base in bases):
                found.append(name)
    return found


def _reached(start: set[str], local: Mapping[str, ast.stmt]) -> set[str]:
    """The names that are used when these are run, through functions and classes of the tests."""
    found, waiting = set(start), list(start)
    while waiting:
        if (node := local.get(waiting.pop())) is not None:
            more = set(_loads(compiled(ast.Module([node], []), "tests"), inner=True)) - found
            found |= more
            waiting += more
    return found


def _answers_names(free: set[str], tree: ast.Module) -> set[str]:
    """Names that the answer must define: no built-ins, unless the tests call nothing else (`sum(10, 15) == 6`)."""
    free = {name for name in free if not (name.startswith("__") and name.endswith("__"))}
    if names := free - _BUILTINS:
        return names
    compared = [node.test for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    called = [node.func for test in compared for node in ast.walk(test) if isinstance(node, ast.Call)]
    return {node.id for node in called if isinstance(node, ast.Name)} & free - _HARMLESS


_BORROWED = {
    *("bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools"),
    *("json", "math", "operator", "random", "re", "statistics", "string", "time"),
}


def _borrowed(names: set[str], tree: ast.Module) -> set[str]:
    """Modules that the tests use as if they had imported them (`math.isclose`): they get the real ones, and not what
    the answer calls by that name.
    """
    found = names & _BORROWED
    used = {id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in found:
            attribute = used.get(id(node))
            if attribute is None or not hasattr(importlib.import_module(node.id), attribute):
                found.discard(node.id)
    return found


_HARMLESS = {
    *("len", "isinstance", "str", "int", "float", "list", "dict", "set", "tuple", "bool", "type", "print", "repr"),
}


def _imported(tree: ast.AST) -> set[str]:
    found = set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
    return {name for name in found if name.partition(".")[0] in sys.stdlib_module_names - _EFFECTS}


def _offers(tree: ast.Module) -> Iterator[list[str]]:
    for node in tree.body:
        match node:
            case ast.Import(names):
                for alias in names:
                    if alias.name.partition(".")[0] not in sys.stdlib_module_names - _EFFECTS:
                        continue
                    if alias.asname or "." not in alias.name:
                        yield [alias.asname or alias.name, alias.name, ""]
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    if alias.name != "*" and module.partition(".")[0] in sys.stdlib_module_names - _EFFECTS:
                        yield [alias.asname or alias.name, module, alias.name]


def imports_of(code: str) -> list[str]:
    """The modules of the standard library that code imports; none if it does not compile."""
    try:
        return sorted(_imported(parsed(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _one_process(tree: ast.Module, names: set[str]) -> str:
    """Why these tests must run in the answer's process."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(bases=bases) if found := {one.id for one in bases if isinstance(one, ast.Name)} & names:
                return f"a class of the tests derives from {min(found)}"
            case ast.Name(id=name, ctx=ast.Load()) if name in _HIDING:
                return f"the tests use {name}"
            case ast.Name(id=name) if name in _SAME_PROCESS_NAMES and name not in names:
                return f"the tests use {name}"
            case ast.Import() | ast.ImportFrom() if module := _same_process(node):
                return f"the tests use {module}"
            case ast.Attribute(value=ast.Name(id=name), attr=attribute, ctx=ast.Store()):
                if name in _WORLD and attribute not in ("stdout", "stderr"):
                    return f"the tests replace {name}.{attribute}"
            case ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
                return "the tests use sys.modules"
    return ""


def _same_process(node: ast.Import | ast.ImportFrom) -> str:
    words = [part for alias in node.names for part in alias.name.split(".")]
    if isinstance(node, ast.ImportFrom):
        words += (node.module or "").split(".")
    return next((word for word in words if word in _SAME_PROCESS), "")


def _looks_at_arguments(tree: ast.Module) -> bool:
    """Whether a variable is an argument of a call in one statement, and used in a later one of the same function."""
    scopes: list[ast.AST] = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))]
    return any(_looks(scope) for scope in scopes)


def _looks(scope: ast.AST) -> bool:
    given: dict[str, int] = {}
    for statement in _statements(scope):
        loads = {node.id for node in _own(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        if any(given.get(name, statement.lineno) < statement.lineno for name in loads):
            return True
        for node in _own(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                given.pop(node.id, None)
        for node in _own(statement):
            if isinstance(node, ast.Call):
                for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                    given |= {one.id: statement.lineno for one in ast.walk(value) if isinstance(one, ast.Name)}
    return False


def _statements(scope: ast.AST) -> Iterator[ast.stmt]:
    """The statements of one scope in order, those of inner functions and classes left out."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, ast.stmt):
            yield child
        if not isinstance(child, _DEFINITIONS):
            yield from _statements(child)


def _own(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement without the statements in it."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, ast.stmt):
            yield from ast.walk(child)
