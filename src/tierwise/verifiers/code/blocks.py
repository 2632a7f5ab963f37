"""The Python code in a model's answer."""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from tierwise.verifiers.code.source import parsed

_FENCE = re.compile(r"^[ \t>]{0,40}(`{3,}|~{3,})[ \t]*([^\n`]*)$", re.MULTILINE)
_PYTHON = {"python", "py", "python3", "py3", "python2", "ipython", "pycon", "sage", "pyi", "cython"}
_TEXT = {"markdown", "md", "text", "txt"}
_BEGINS = re.compile(r"^(?:async[ ]def|def|class|import|from|@|\w+[ ]*=[ ])", re.MULTILINE)
_GLUED = re.compile(r"(?<=[^\s`])(```(?:\w*)[ \t]*)(?=\n|\Z)")
_PROMPT = re.compile(r"^(>>>|\.\.\.) ?", re.MULTILINE)
_DEFINED = re.compile(r"^(?:async[ ]def|def|class)[ ]+(\w+)", re.MULTILINE)
MOST_BLOCKS = 200
MOST_PARSED = 32 * 1024
MOST_TRIED = 20
"""Ends of code in a text without blocks that are tried."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language as written, and its text without the fence's indentation."""

    language: str
    text: str


def code_in(text: str, names: frozenset[str] = frozenset()) -> str:
    """The program of an answer.

    It is made of the blocks that are tagged as Python, or that parse as Python and have no other tag, in their order:
    up to the last one that defines one of the names, or else the last that defines anything. A block before it that
    defines the same things is a draft, and left out unless the program uses something else of it; one after it that
    only defines helpers anew replaces these. Without a block, it is the text's part that is Python, without stray
    fences.

    Args:
        text: the answer without its thinking.
        names: that the tests use.
    """
    text = _unglued(text.removeprefix("\ufeff"))
    found = blocks(text)
    tagged = [_cleaned(one.text) for one in found if _language(one) in _PYTHON]
    others = [_cleaned(one.text) for one in found]
    plain = [one for one in _plain(found) if defines(one) is not None and (not tagged or _DEFINED.search(one))]
    candidates = [one for one in others if one in tagged or one in plain]
    candidates = candidates or [one for one in others if defines(one)]  # Python under another name
    if not candidates:
        if nested := [one.text for one in found if _language(one) in _TEXT and _FENCE.search(one.text)]:
            return code_in(nested[-1], names)
        return others[-1].strip() if others else _without_prose(_without_fences(text)).strip()
    candidates = [one for one in candidates if not _is_outline(one)] or candidates
    last = _last(candidates, names)
    kept = [candidates[last]]
    have = set(defines(candidates[last]) or ())
    for one in reversed(candidates[:last]):
        given = defines(one)
        if given is None:
            continue
        is_needed = not given & have and (given or _only(one, ast.Import, ast.ImportFrom))
        if is_needed or (given & have and (given - have) & _used(kept)):
            kept.insert(0, one)
            have |= given
    for one in candidates[last + 1 :]:
        given = defines(one)
        if given and given <= have and _only(one, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef):
            kept.append(one)  # it mends a helper of what stands before
    return "\n\n".join(one.strip("\n") for one in kept).strip()


def _unglued(text: str) -> str:
    """A text with each fence on a line of its own, where one that is not would leave a block open."""
    return _GLUED.sub(r"\n\1", text) if len(_FENCE.findall(text)) % 2 else text


def _is_outline(text: str) -> bool:
    """Whether a text that is Python only shows the heads of its functions: `def f(x): ...`."""
    if len(text) > MOST_PARSED or not defines(text):
        return False
    heads = [node for node in ast.walk(parsed(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return bool(heads) and all(
        isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for head in heads
        for node in head.body
    )


def _used(blocks_of_python: list[str]) -> set[str]:
    """The names that programs read."""
    trees = [parsed(one) for one in blocks_of_python if len(one) <= MOST_PARSED and _parses(one)]
    return {node.id for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _only(text: str, *kinds: type[ast.stmt]) -> bool:
    """Whether a text that is Python holds statements of these kinds alone."""
    return len(text) <= MOST_PARSED and all(isinstance(node, kinds) for node in parsed(text).body)


def _plain(found: list[Block]) -> list[str]:
    """The texts of the blocks that name no language."""
    return [_cleaned(one.text) for one in found if not one.language]


def _last(candidates: list[str], names: frozenset[str]) -> int:
    """The last block that defines a name that is wanted, or anything, or the last."""
    given = [defines(one) for one in candidates]
    for wanted in (lambda have: bool(have & names), bool):
        for place in range(len(candidates) - 1, -1, -1):
            have = given[place]
            if have is not None and wanted(have):
                return place
    return len(candidates) - 1


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a text. A fence inside a string of a block that is Python does not close it; the last block
    may lack its end.
    """
    fences = list(_FENCE.finditer(text))[: 2 * MOST_BLOCKS]
    found: list[Block] = []
    place = 0
    while place < len(fences):
        opening = fences[place]
        ends = [
            number
            for number in range(place + 1, len(fences))
            if fences[number][1].startswith(opening[1]) and not fences[number][2].strip()
        ]
        end = _end(text, opening, [fences[number].start() for number in ends[:4]])
        stop = len(text) if end is None else fences[ends[end]].start()
        body = text[opening.end() + 1 : stop]
        if opening[2].strip() or end is not None or not found:
            found.append(Block(opening[2].strip(), _dedented(body, opening[0])))
        if end is None:
            break
        place = ends[end] + 1
    return [one for one in found if one.text.strip()] if not _is_stray(text, fences) else []


def _end(text: str, opening: re.Match[str], ends: list[int]) -> int | None:
    """Which of the possible ends closes the block: the first, unless the block is Python only with a later one."""
    if not ends:
        return None
    for number, end in enumerate(ends):
        if number and end - opening.end() > MOST_PARSED:
            break
        is_python = _parses(_dedented(text[opening.end() + 1 : end], opening[0]))
        if is_python and (number == 0 or _is_open(text, opening, ends[0])):
            return number
    return 0


def _is_open(text: str, opening: re.Match[str], end: int) -> bool:
    """Whether the text up to an end stops inside a string."""
    try:
        parsed(_dedented(text[opening.end() + 1 : end], opening[0]))
    except SyntaxError as error:
        return "unterminated" in str(error.msg)
    except (ValueError, RecursionError, MemoryError):
        pass
    return False


def _is_stray(text: str, fences: list[re.Match[str]]) -> bool:
    """Whether the only fence is the end of a block that never began: `def f(): …` and then a fence."""
    return len(fences) == 1 and not fences[0][2].strip() and bool(defines(text[: fences[0].start()]))


def _language(block: Block) -> str:
    words = re.split(r"[\s{,:]+", block.language.strip("{}. ").lower())
    return words[0].strip(".}") if words else ""


def _dedented(body: str, fence: str) -> str:
    """The body without the indentation, or the quotation marks, of the fence before it."""
    margin = fence[: len(fence) - len(fence.lstrip(" \t>"))]
    if ">" in margin:
        body = re.sub(r"^[ \t]*(>[ \t]?)+", "", body, flags=re.MULTILINE)
    elif margin:
        body = "\n".join(line.removeprefix(margin) for line in body.split("\n"))
    dedented = textwrap.dedent(body)
    return dedented if _parses(dedented) or not _parses(body) else body


def _cleaned(text: str) -> str:
    """Code without the prompts of an interactive session and without its output."""
    if not text.lstrip().startswith(">>>"):
        begin = re.search(r"^>>> ", text, re.MULTILINE)
        return (
            text[: begin.start()]
            if begin is not None and not _parses(text) and defines(text[: begin.start()])
            else text
        )
    lines = [line for line in text.splitlines() if _PROMPT.match(line)]
    return _PROMPT.sub("", "\n".join(lines))


def _without_fences(text: str) -> str:
    """A text without blocks: stray fences go, and with them what stands around the code, if that makes it Python."""
    fences = list(_FENCE.finditer(text))
    if not fences:
        return textwrap.dedent(text)
    before, after = text[: fences[0].start()], text[fences[0].end() :]
    return textwrap.dedent(before if defines(before) else after)


def _without_prose(text: str) -> str:
    """A text without blocks from its first line of code up to the last paragraph with which it is still Python."""
    begin = _BEGINS.search(text)
    if begin is None or _parses(text) or len(text) > MOST_PARSED:
        return text
    code = text[begin.start() :]
    ends = [len(code), *(blank.start() for blank in reversed(list(re.finditer(r"\n\s*\n|\n(?=\S)", code))))]
    for end in ends[:MOST_TRIED]:
        if defines(code[:end]):
            return code[:end]
    return text


def _parses(text: str) -> bool:
    return defines(text) is not None


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a program that run in its own scope, those under `if`, `try` and `with` too."""
    for node in body:
        yield node
        match node:
            case ast.If(body=one, orelse=other):
                yield from _top([*one, *other])
            case ast.Try(body=one, orelse=other, finalbody=last, handlers=handlers):
                yield from _top([*one, *(inner for handler in handlers for inner in handler.body), *other, *last])
            case ast.With(body=one):
                yield from _top(one)


@functools.lru_cache(maxsize=32)
def defines(text: str) -> frozenset[str] | None:
    """The names that a program sets at its top; None if it is no Python. Of a long one, only definitions are read."""
    if len(text) > MOST_PARSED:
        return frozenset(_DEFINED.findall(text))
    try:
        tree = parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: set[str] = set()
    for node in _top(tree.body):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
    return frozenset(found)
