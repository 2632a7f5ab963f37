"""Answers that are Python code, compared by what they do: equal functions return the same on the same inputs."""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

import msgspec

from tierwise.spec.json import Json
from tierwise.verifiers.check_pool import CheckLimitExceeded, pool
from tierwise.verifiers.code.blocks import MOST_PARSED
from tierwise.verifiers.code.inputs import function_named, inputs_for
from tierwise.verifiers.code.python_tests import read_code
from tierwise.verifiers.code.source import parsed
from tierwise.verifiers.sandbox import Limits, SandboxUnavailable, run_for_grade

SECONDS = 5.0
"""CPU time of all calls of one answer."""


@functools.cache
def _inside() -> str:
    return (Path(__file__).parent / "inside" / "behaviour.py").read_text()


async def behaviour_key(answer: str, prompt: str) -> str | None:
    """A digest of what the answer's function does, so that answers that behave alike have equal keys.

    A program without a function, or where no sandbox is available, is compared by its text: without comments,
    docstrings and layout.

    Args:
        answer: the text without its thinking.
        prompt: the text that was asked, which may give the function's signature and examples.

    Returns:
        None if there is no program, it does not run, or it fails on every input.
    """
    try:
        code = await read_code(answer)
        found = await pool.call(planned, code, prompt)
    except CheckLimitExceeded:
        return None
    if not isinstance(found, dict):
        return None
    plan = msgspec.convert(found, Plan)
    if not plan.name:
        return plan.text
    given = {"code": code, "name": plan.name, "inputs": plan.inputs}
    try:
        done = await run_for_grade(_inside(), limits=Limits.of_grade(SECONDS), stdin=msgspec.json.encode(given))
    except SandboxUnavailable:
        return plan.text
    if done.stopped or done.exit_code or not done.stdout.strip():
        return None
    return f"{plan.name}: {done.stdout.splitlines()[-1][:64]}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is called."""

    name: str = ""
    """The function; empty if there is none."""
    inputs: list[str] = []
    text: str
    """A digest of the program's text."""


def planned(code: str, prompt: str) -> dict[str, Json] | None:
    """The plan for an answer as JSON types; None if it is no program. In a process of the pool."""
    if len(code) > MOST_PARSED:
        return None
    try:
        tree = parsed(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not tree.body:
        return None
    functions = {one.name: one for one in tree.body if isinstance(one, ast.FunctionDef)}
    name = function_named(prompt, list(functions))
    text = f"text: {hashlib.sha256(ast.unparse(_bare(tree)).encode(errors='surrogatepass')).hexdigest()}"
    if name is None:
        return {"text": text}
    arguments = functions[name].args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return {"name": name, "inputs": [*inputs_for(prompt, name, required)], "text": text}


def _bare(tree: ast.Module) -> ast.Module:
    """The program without docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            kept = [one for place, one in enumerate(node.body) if place or not _is_text(one)]
            node.body = kept or [ast.Pass()]
    return tree


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
