"""Reads what another interpreter's packages support from their files: importing an engine takes seconds and a gigabyte.

If a file or name is missing in a version, nothing is known, and the engine itself decides at launch.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 60.0


def ask(python: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run a script in an interpreter and parse its last line of output, a JSON object. Takes about 0.1 s.

    Raises:
        SpecError: the interpreter is missing or does not print that.
    """
    try:
        asked = subprocess.run(
            [python, "-c", script, *arguments],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
    except OSError as error:
        raise SpecError(f"there is no Python interpreter at {python}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise SpecError(f"{python} does not answer within {_SECONDS:g} s") from error
    try:
        return dict(json.loads(asked.stdout.strip().rpartition("\n")[2]))
    except (ValueError, TypeError) as error:
        words = asked.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise SpecError(f"{python} is not a working Python interpreter: {words[0]}") from error


@cache
def text(file: Path) -> str:
    """A file's text; empty if it is missing."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


@cache
def strings(file: Path, name: str) -> tuple[str, ...]:
    """The strings in a module's variable: keys of a dict, items of a Literal or list, members of an Enum."""
    try:
        body = ast.parse(text(file)).body
    except SyntaxError:  # written for a newer Python
        return ()
    for node in body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=found)], value=value)
                | ast.AnnAssign(target=ast.Name(id=found), value=value)
            ) if found == name and value is not None:
                return constants(value)
            case ast.ClassDef(name=found, body=members) if found == name:
                targets = (one.targets[0] for one in members if isinstance(one, ast.Assign))
                return tuple(target.id for target in targets if isinstance(target, ast.Name))
    return ()


def constants(value: ast.expr) -> tuple[str, ...]:
    """The strings in an expression; of a dict, its keys."""
    nodes = value.keys if isinstance(value, ast.Dict) else ast.walk(value)
    return tuple(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
