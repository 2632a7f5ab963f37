"""What another interpreter's packages know, read from their files: to import an engine takes seconds and a gigabyte.

A file or a name that a version does not have tells nothing; then the engine itself has the last word.
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
    """What a script prints as its last line, a JSON object; an interpreter takes about a tenth of a second.

    Raises:
        SpecError: there is no such interpreter, or it does not answer so.
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
        words = asked.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise SpecError(f"{python} is no Python that works: {words[0]}") from error


@cache
def text(file: Path) -> str:
    """A file's text; empty where there is none."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


@cache
def strings(file: Path, name: str) -> tuple[str, ...]:
    """The names that a module's variable holds: a dict's keys, a Literal's or a list's words, an Enum's members."""
    try:
        body = ast.parse(text(file)).body
    except SyntaxError:  # written for a Python that is newer than ours
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
    """The words in an expression; of a dict, its keys."""
    nodes = value.keys if isinstance(value, ast.Dict) else ast.walk(value)
    return tuple(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
