"""A function in a file: found, emptied, and written anew by an answer."""

from __future__ import annotations

import pytest

from tierwise.verifiers.repository.function import definition, emptied, fingerprints, functions, written

SOURCE = '''from __future__ import annotations

import functools

LIMIT = 3


def helper(x):
    return x


def plain(x):
    """Doubles.

    >>> plain(2)
    4
    """
    # not like this: x + x
    y = 2 * x
    return y
    # a last remark


class Text:
    @functools.cache
    def lines(self):
        """Lines."""
        text = """a
    b"""
        return text.split("\\n")

    @property
    def both(self):
        """One."""
        return 1

    @both.setter
    def both(self, value):
        self.x = value


def one_line(): """Says."""; return 1
'''


def named(name):
    return {one.name: one for one in functions(SOURCE)}[name]


def test_functions_have_a_docstring_a_body_and_one_definition():
    assert [(one.name, one.lines) for one in functions(SOURCE)] == [("plain", 2), ("Text.lines", 3)]
    assert functions("def (") == []


def test_an_emptied_function_keeps_its_docstring_and_nothing_that_gives_it_away():
    left = emptied(SOURCE, named("plain"))
    assert ">>> plain(2)" in left
    assert "    raise NotImplementedError\n\n\nclass Text" in left
    for words in ("2 * x", "return y", "not like this", "last remark"):
        assert words not in left


@pytest.mark.parametrize("name", ["plain", "Text.lines"])
def test_its_own_definition_as_an_answer_makes_it_what_it_was(name):
    one = named(name)
    space: dict = {}
    again = written(emptied(SOURCE, one), name, definition(SOURCE, one))
    exec(again, space)
    assert space["plain"](4) == 8
    assert space["Text"]().lines() == ["a", "    b"]
    assert fingerprints(again) == fingerprints(SOURCE)


def test_an_answer_may_bring_imports_and_helpers_but_replaces_nothing_else():
    code = """
from __future__ import annotations
import math
LIMIT = 9

def helper(x):
    raise ValueError

def mine(x):
    return math.floor(x)

def plain(x):
    return mine(x) + helper(x) + LIMIT

print(plain(3))
"""
    space: dict = {}
    exec(written(emptied(SOURCE, named("plain")), "plain", code), space)
    assert space["plain"](2.5) == 2 + 2.5 + 3


@pytest.mark.parametrize(
    "code", ["def lines(self):\n    return 7", "class Text:\n    def lines(self):\n        return 7"]
)
def test_a_method_is_given_alone_or_in_its_class(code):
    space: dict = {}
    exec(written(emptied(SOURCE, named("Text.lines")), "Text.lines", code), space)
    assert space["Text"]().lines() == 7
    assert space["Text"]().both == 1


@pytest.mark.parametrize("code", ["def (", "def other(x):\n    return x", "", "(" * 100_000])
def test_an_answer_without_the_function_is_none(code):
    assert written(SOURCE, "plain", code) is None


def test_a_copy_has_the_same_fingerprint():
    first = 'def a(x):\n    """A."""\n    y = x\n    return y\n'
    second = "class B:\n    def b(self, x):\n        y = x\n        return y\n"
    assert fingerprints(first) == fingerprints(second)
