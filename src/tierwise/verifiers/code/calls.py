"""What tests call, read off their text: names that the answer must define, and what has to be called to run them."""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tierwise.verifiers.code.source import parsed

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
    nodes = list(_nodes(tree))
    scope = _Scope.of(tests)
    defined = scope.defined | _starred(tree) | (_Scope.of(setup).defined | _starred(parsed(setup)) if setup else set())
    local = {node.name: node for node in tree.body if isinstance(node, _DEFINITIONS)}
    executed = scope.executed
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
    reached = scope.reached({*functions, *cases, *classes} | ({"check", check} if check else set()))
    names = _answers_names(reached - defined, nodes)
    borrowed = _borrowed(names, nodes)
    names = names - borrowed | ({check} if check else set())
    if not names:
        cure = "`check(candidate)` is not called; give `entry_point`, the name of the function" if waits else _CURE
        raise ValueError(f"tests: call nothing of the answer, so any answer would pass: {cure}")
    return TestPlan(
        names=sorted(names),
        classes_named=sorted(_classes(names, nodes)),
        functions=functions,
        check=check,
        classes=classes,
        cases=cases,
        imports=sorted(_imported(nodes) | borrowed),
        borrowed=sorted(borrowed),
        offers=sorted(_offers(tree)),
        watches=_looks_at_arguments(tree, nodes),
        one_process=_one_process(nodes, names),
    )


_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_CURE = "write assertions about what it defines, at the top, in functions `test_…` or in a `TestCase`"


@dataclass(frozen=True, slots=True)
class _Scope:
    """The names of a module: those that it sets, those that running it uses, and those that its functions use."""

    defined: set[str]
    executed: set[str]
    inner: dict[str, set[str]]

    @classmethod
    def of(cls, source: str) -> _Scope:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = symtable.symtable(source, "tests", "exec")
        symbols = table.get_symbols()
        scope = cls(
            {one.get_name() for one in symbols if one.is_assigned() or one.is_imported() or one.is_namespace()},
            {one.get_name() for one in symbols if one.is_referenced()},
            {},
        )
        for child in table.get_children():
            name = child.get_name()
            used = scope.inner.setdefault(name, set()) if name in scope.defined else scope.executed
            scope._add(child, used)
        return scope

    def _add(self, table: symtable.SymbolTable, used: set[str]) -> None:
        waiting = [table]
        while waiting:
            one = waiting.pop()
            waiting += one.get_children()
            for symbol in one.get_symbols():
                if symbol.is_global() and symbol.is_referenced():
                    used.add(symbol.get_name())
                if symbol.is_declared_global() and symbol.is_assigned():
                    self.defined.add(symbol.get_name())

    def reached(self, more: set[str]) -> set[str]:
        """The names that are used when the module and these functions are run, through those that they call."""
        found = self.executed | more
        waiting = list(found)
        while waiting:
            new = self.inner.get(waiting.pop(), set()) - found
            found |= new
            waiting += new
        return found


def _starred(tree: ast.Module) -> set[str]:
    """The names that `from math import *` brings."""
    found = set[str]()
    for node in tree.body:
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


def _answers_names(free: set[str], nodes: list[ast.AST]) -> set[str]:
    """Names that the answer must define: no built-ins, unless the tests call nothing else (`sum(10, 15) == 6`)."""
    free = {name for name in free if not (name.startswith("__") and name.endswith("__"))}
    if names := free - _BUILTINS:
        return names
    compared = [node.test for node in nodes if isinstance(node, ast.Assert)]
    called = [node.func for test in compared for node in _nodes(test) if isinstance(node, ast.Call)]
    return {node.id for node in called if isinstance(node, ast.Name)} & free - _HARMLESS


_BORROWED = {
    *("bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq", "itertools"),
    *("json", "math", "operator", "random", "re", "statistics", "string", "time"),
}


def _borrowed(names: set[str], nodes: list[ast.AST]) -> set[str]:
    """Modules that the tests use as if they had imported them (`math.isclose`): they get the real ones, and not what
    the answer calls by that name.
    """
    if not (found := names & _BORROWED):
        return found
    used = {id(node.value): node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id in found:
            attribute = used.get(id(node))
            if attribute is None or not hasattr(importlib.import_module(node.id), attribute):
                found.discard(node.id)
    return found


_HARMLESS = {
    *("len", "isinstance", "str", "int", "float", "list", "dict", "set", "tuple", "bool", "type", "print", "repr"),
}


def _classes(names: set[str], nodes: list[ast.AST]) -> set[str]:
    """Those names with a capital that the tests call (`Stack()`), or whose attributes they use (`Color.RED`)."""
    found = set[str]()
    for node in nodes:
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Attribute(value=ast.Name(id=name)):
                found.add(name)
    return {name for name in found & names if name.lstrip("_")[:1].isupper()}


def _imported(nodes: Iterable[ast.AST]) -> set[str]:
    found = set[str]()
    for node in nodes:
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
        return sorted(_imported(_nodes(parsed(code))))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


_TELLING = ast.ClassDef | ast.Name | ast.Import | ast.ImportFrom | ast.Attribute


def _one_process(nodes: list[ast.AST], names: set[str]) -> str:
    """Why these tests must run in the answer's process."""
    for node in nodes:
        if not isinstance(node, _TELLING):
            continue
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


def _looks_at_arguments(tree: ast.Module, nodes: list[ast.AST]) -> bool:
    """Whether a variable is an argument of a call in one statement, and used in a later one of the same function."""
    scopes: list[ast.AST] = [tree, *(node for node in nodes if isinstance(node, ast.FunctionDef))]
    return any(_looks(scope) for scope in scopes)


def _looks(scope: ast.AST) -> bool:
    given: dict[str, int] = {}
    for statement in _statements(scope):
        nodes = list(_own(statement))
        names = [node for node in nodes if isinstance(node, ast.Name)]
        if any(
            given.get(one.id, statement.lineno) < statement.lineno for one in names if isinstance(one.ctx, ast.Load)
        ):
            return True
        for one in names:
            if isinstance(one.ctx, ast.Store):
                given.pop(one.id, None)
        for node in nodes:
            if isinstance(node, ast.Call):
                for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                    given |= {one.id: statement.lineno for one in _nodes(value) if isinstance(one, ast.Name)}
    return False


def _statements(scope: ast.AST) -> Iterator[ast.stmt]:
    """The statements of one scope in order, those of inner functions and classes left out."""
    waiting = [scope]
    while waiting:
        one = waiting.pop()
        if isinstance(one, ast.stmt) and one is not scope:
            yield one
        if one is scope or not isinstance(one, _DEFINITIONS):
            bodies = [getattr(one, name, ()) for name in ("body", "handlers", "orelse", "finalbody", "cases")]
            waiting += [inner for body in reversed(bodies) if isinstance(body, list) for inner in reversed(body)]


def _own(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement without the statements in it."""
    for value in vars(statement).values():
        for child in value if isinstance(value, list) else (value,):
            if isinstance(child, ast.AST) and not isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                yield from _nodes(child)


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes in no order but constants, four times as fast as `ast.walk`."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for value in vars(node).values():
            if isinstance(value, list):
                waiting += [one for one in value if isinstance(one, ast.AST) and type(one) is not ast.Constant]
            elif isinstance(value, ast.AST) and type(value) is not ast.Constant and vars(value):
                waiting.append(value)
