"""Inputs on which the functions of several answers are compared: from the prompt's examples and the types it names.

They depend only on the prompt, the function's name and its number of parameters, so every answer gets the same ones.
Where the prompt gives examples, inputs are like them: of their types, their sizes and their characters. Inputs that a
task excludes would tell right answers apart that differ only there, so numbers are positive unless an example is not.
"""

from __future__ import annotations

import ast
import contextlib
import random
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

from tierwise.verifiers.code.source import parsed

COUNT = 32
"""Inputs of one function, with the examples."""
MOST_EXAMPLES = 12
MOST_READ = 32 * 1024
"""Characters of a prompt that are searched, from its end."""
_DEFINITION = re.compile(r"^[ \t>]*(?:async[ ]+)?def[ ]+(\w+)[ ]*\(", re.MULTILINE)

Kind = Callable[[random.Random], Any]
"""Draws one value."""


def function_named(prompt: str, defined: Sequence[str]) -> str | None:
    """The function that a prompt asks for, of those that an answer defines; None if it defines none.

    The last one whose signature the prompt gives, else the last one that it mentions, else the answer's last.
    """
    prompt = prompt[-MOST_READ:]
    signed = [name for name in _DEFINITION.findall(prompt) if name in defined]
    mentioned = [name for name in re.findall(r"\b\w+\b", prompt) if name in defined]
    return next((names[-1] for names in (signed, mentioned, list(defined)) if names), None)


def inputs_for(prompt: str, name: str, parameters: int) -> list[str]:
    """Argument tuples as Python literals.

    Args:
        prompt: what was asked.
        name: of the function.
        parameters: that it requires.
    """
    prompt = prompt[-MOST_READ:]
    examples = [one for one in _examples(prompt, name) if len(one) >= parameters][:MOST_EXAMPLES]
    count = len(examples[0]) if examples else parameters
    examples = [one for one in examples if len(one) == count]
    named = _annotated(prompt, name)
    kinds = [
        _like([one[place] for one in examples])
        if examples
        else _of_type(named[place])
        if place < len(named) and named[place] is not None
        else _anything
        for place in range(count)
    ]
    chance = random.Random(f"{name} {count}")  # noqa: S311 - the same inputs for every answer
    drawn = [repr(one) for one in examples]
    for _ in range(4 * COUNT):
        if len(drawn) >= COUNT:
            break
        one = repr(tuple(kind(chance) for kind in kinds))
        if one not in drawn:
            drawn.append(one)
    return drawn


def _examples(prompt: str, name: str) -> list[tuple[Any, ...]]:
    """The arguments of calls in the prompt that are literals: `>>> f(1, [2])`, `assert f("a") == 1`."""
    found: list[tuple[Any, ...]] = []
    for match in re.finditer(rf"\b{re.escape(name)}\(", prompt):
        text = prompt[match.start() : match.start() + 500]
        for end in (place for place, sign in enumerate(text) if sign == ")"):
            with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                body = parsed(text[: end + 1]).body[0]
                if isinstance(body, ast.Expr) and isinstance(body.value, ast.Call) and not body.value.keywords:
                    arguments = tuple(ast.literal_eval(one) for one in body.value.args)
                    if arguments not in found:
                        found.append(arguments)
                    break
    return found


def _annotated(prompt: str, name: str) -> list[ast.expr | None]:
    """The annotations of the parameters in the prompt's last signature of the function."""
    for match in reversed(list(re.finditer(rf"\bdef[ ]+{re.escape(name)}[ ]*\(", prompt))):
        text = prompt[match.start() : match.start() + 1000]
        for end in (place for place, sign in enumerate(text) if sign == ":"):
            with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                node = parsed(text[: end + 1] + " pass").body[0]
                if isinstance(node, ast.FunctionDef):
                    return [one.annotation for one in (*node.args.posonlyargs, *node.args.args)]
    return []


# ── kinds of values ─────────────────────────────────────────────────────
def _whole(low: int, high: int) -> Kind:
    return lambda chance: chance.randint(low, high)


def _text(letters: str, least: int, most: int) -> Kind:
    return lambda chance: "".join(chance.choice(letters) for _ in range(chance.randint(least, most)))


def _list(item: Kind, least: int, most: int) -> Kind:
    return lambda chance: [item(chance) for _ in range(chance.randint(least, most))]


def _anything(chance: random.Random) -> Any:
    """A value for a parameter of which nothing is known."""
    kinds: Sequence[Kind] = (
        _whole(1, 20),
        _whole(1, 20),
        _list(_whole(1, 20), 1, 6),
        _text(string.ascii_lowercase + " ", 1, 10),
    )
    return chance.choice(kinds)(chance)


def _like(examples: Sequence[Any]) -> Kind:
    """Values like the examples."""
    kinds = {type(one) for one in examples}
    if kinds == {bool}:
        return lambda chance: chance.random() < 0.5
    if kinds == {int}:
        low, high = min(examples), max(examples)
        spread = max(3, high - low)
        return _whole(low - spread // 2 if low < 0 else min(low, 1), high + spread)
    if kinds <= {int, float}:
        low, high = min(examples), max(examples)
        spread = max(1.0, high - low)
        start = low - spread / 2 if low < 0 else min(low, 0.5)
        return lambda chance: round(chance.uniform(start, high + spread / 2), 2)
    if kinds == {str}:
        letters = "".join(sorted(set("".join(examples)))) or string.ascii_lowercase
        sizes = [len(one) for one in examples]
        return _text(letters, min(sizes), max(sizes) + 2)
    if kinds <= {list, tuple}:
        items = [item for one in examples for item in one]
        sizes = [len(one) for one in examples]
        kind = _list(_like(items) if items else _whole(1, 20), min(sizes), max(sizes) + 2 * (list in kinds))
        return kind if list in kinds else lambda chance: tuple(kind(chance))
    return lambda chance: chance.choice(examples)


def _of_type(annotation: ast.expr | None) -> Kind:
    """Values of an annotated type; of anything where it is not a built-in one."""
    match annotation:
        case ast.Constant(value=str(written)):
            with contextlib.suppress(SyntaxError, ValueError, RecursionError):
                return _of_type(ast.parse(written, mode="eval").body)
        case ast.Name(id=name):
            return _of_name(name)
        case ast.Attribute(attr=name):
            return _of_name(name)
        case ast.BinOp(left=left, op=ast.BitOr()):
            return _of_type(left)
        case ast.Subscript(value=ast.Name(id=outer) | ast.Attribute(attr=outer), slice=inner):
            return _of_generic(outer.lower(), list(inner.elts) if isinstance(inner, ast.Tuple) else [inner])
    return _anything


def _of_name(name: str) -> Kind:
    kinds: dict[str, Kind] = {
        "int": _whole(1, 20),
        "float": lambda chance: round(chance.uniform(0.5, 20), 2),
        "bool": lambda chance: chance.random() < 0.5,
        "str": _text(string.ascii_letters + string.digits + "  ", 1, 12),
        "list": _list(_whole(1, 20), 1, 6),
        "dict": lambda chance: {_text("abcdef", 1, 3)(chance): chance.randint(1, 20) for _ in range(3)},
        "tuple": lambda chance: tuple(chance.randint(1, 20) for _ in range(3)),
        "set": lambda chance: {chance.randint(1, 20) for _ in range(4)},
    }
    return kinds.get({"List": "list", "Dict": "dict", "Tuple": "tuple", "Set": "set"}.get(name, name), _anything)


def _of_generic(outer: str, inner: list[ast.expr]) -> Kind:
    kinds = [_of_type(one) for one in inner]
    first, last = kinds[0], kinds[-1]
    match outer:
        case "list" | "sequence" | "iterable" | "collection":
            return _list(first, 1, 6)
        case "set":
            return lambda chance: {first(chance) for _ in range(4)}
        case "dict" | "mapping":
            return lambda chance: {first(chance): last(chance) for _ in range(3)}
        case "tuple":
            return lambda chance: tuple(
                kind(chance) for kind, one in zip(kinds, inner, strict=True) if not _is_ellipsis(one)
            )
        case "optional" | "union":
            return first
    return _anything


def _is_ellipsis(one: ast.expr) -> bool:
    return isinstance(one, ast.Constant) and one.value is ...
