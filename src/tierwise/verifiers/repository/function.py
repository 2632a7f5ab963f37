"""A function in a file of Python: found, emptied, and written anew by an answer."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tierwise.verifiers.code.source import parsed

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Wrong = (SyntaxError, ValueError, RecursionError, MemoryError)
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
"""What an answer may bring beside the function; examples and prints are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function with a docstring, at the top of a file or in a class there."""

    name: str
    """`shorten`, or `Text.shorten`."""
    first: int
    """Line of `def`, from 1."""
    body: int
    """Line after the docstring."""
    last: int
    """Last line, with comments that belong to it."""
    lines: int
    """Of code after the docstring."""
    fingerprint: str
    """The same for each function that does the same in the same words."""


def functions(source: str) -> list[Function]:
    """The functions with a docstring whose name the file defines once; none if it is no Python."""
    try:
        tree = parsed(source)
    except _Wrong:
        return []
    lines = source.split("\n")
    named = [(name, node) for name, node in _definitions(tree) if ast.get_docstring(node)]
    often = Counter(name for name, _ in _definitions(tree))
    return [found for name, node in named if often[name] == 1 and (found := _function(name, node, lines)) is not None]


def fingerprints(source: str) -> list[str]:
    """Those of all functions of a file, nested ones too; none if it is no Python."""
    try:
        tree = parsed(source)
    except _Wrong:
        return []
    return [_fingerprint(node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def emptied(source: str, function: Function) -> str:
    """The file with a function that has its docstring and no body."""
    lines = source.split("\n")
    code = next(line for line in lines[function.body - 1 :] if line.strip() and not line.lstrip().startswith("#"))
    indent = code[: len(code) - len(code.lstrip())]
    return "\n".join([*lines[: function.body - 1], f"{indent}raise NotImplementedError", *lines[function.last :]])


def definition(source: str, function: Function) -> str:
    """The function's own text, as an answer would give it."""
    lines = source.split("\n")[function.first - 1 : function.last]
    tree = dict(_definitions(parsed(source)))
    return "\n".join(_moved(lines, tree[function.name], function.first, ""))


def written(source: str, name: str, code: str) -> str | None:
    """The file with the function as an answer defines it; None if the answer does not, or is no Python.

    Decorators stay as they are in the file. Imports, and definitions whose names the file lacks, come before the
    function, or before its class.
    """
    try:
        tree, answer = parsed(source), parsed(code)
    except _Wrong:
        return None
    node = dict(_definitions(tree))[name]
    given = dict(_definitions(answer))
    new = given.get(name) or given.get(name.rpartition(".")[2])
    if new is None or new.end_lineno is None or node.end_lineno is None:
        return None
    lines, theirs = source.split("\n"), code.split("\n")
    indent = lines[node.lineno - 1][: node.col_offset]
    body = _moved(theirs[new.lineno - 1 : new.end_lineno], new, new.lineno, indent)
    top = next(one for one in tree.body if one.lineno <= node.lineno <= (one.end_lineno or 0))
    place = min([top.lineno, *(one.lineno for one in getattr(top, "decorator_list", []))]) - 1
    beside = _beside(tree, answer, new, theirs)
    return "\n".join([*lines[:place], *beside, *lines[place : node.lineno - 1], *body, *lines[node.end_lineno :]])


def _definitions(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for one in node.body:
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{one.name}", one


def _function(name: str, node: Definition, lines: list[str]) -> Function | None:
    if len(node.body) < 2 or node.end_lineno is None or node.body[0].end_lineno is None:
        return None
    said, code = node.body[0].end_lineno, node.body[1].lineno
    if said >= code:  # on one line
        return None
    last = node.end_lineno
    for number, line in enumerate(lines[last:], last + 1):
        if line.strip() and not (line.lstrip().startswith("#") and len(line) - len(line.lstrip()) > node.col_offset):
            break
        last = number if line.strip() else last
    return Function(
        name=name,
        first=node.lineno,
        body=said + 1,
        last=last,
        lines=node.end_lineno - code + 1,
        fingerprint=_fingerprint(node),
    )


def _fingerprint(node: Definition) -> str:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return "".join(ast.dump(one) for one in body)


def _moved(lines: list[str], node: Definition, first: int, indent: str) -> list[str]:
    """The lines of a definition at another indentation; what is inside of a text stays as it is."""
    inside = {
        number
        for one in ast.walk(node)
        if isinstance(one, ast.JoinedStr) or (isinstance(one, ast.Constant) and isinstance(one.value, str | bytes))
        for number in range(one.lineno + 1, (one.end_lineno or 0) + 1)
    }
    return [
        line if number in inside or not line.strip() else indent + line[node.col_offset :]
        for number, line in enumerate(lines, first)
    ]


def _beside(tree: ast.Module, answer: ast.Module, new: Definition, theirs: list[str]) -> list[str]:
    """The text of what an answer defines beside the function."""
    known = {name for one in tree.body if not isinstance(one, ast.Import | ast.ImportFrom) for name in _names(one)}
    found: list[str] = []
    for one in answer.body:
        is_future = isinstance(one, ast.ImportFrom) and one.module == "__future__"
        holds = one.lineno <= new.lineno <= (one.end_lineno or 0)
        if holds or is_future or not isinstance(one, _KEPT) or known & set(_names(one)):
            continue
        first = min([one.lineno, *(each.lineno for each in getattr(one, "decorator_list", []))])
        found += [*theirs[first - 1 : one.end_lineno], ""]
    return found


def _names(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [one.id for one in targets if isinstance(one, ast.Name)]
    return []
