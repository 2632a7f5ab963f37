"""Code as a vote: functions that do the same are the same answer, however they are written."""

from __future__ import annotations

import ast
import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.policies import Majority
from tierwise.run import Action
from tierwise.testing import ScriptedEngine, ask_user, new_trace, tier
from tierwise.verifiers import PythonTests
from tierwise.verifiers.code import behaviour
from tierwise.verifiers.code.behaviour import behaviour_key, planned
from tierwise.verifiers.code.inputs import COUNT, function_named, inputs_for
from tierwise.verifiers.sandbox import SandboxUnavailable

BELOW = '''Complete this:
```python
from typing import List

def below_zero(operations: List[int]) -> bool:
    """Whether the balance ever falls below zero.

    >>> below_zero([1, 2, 3])
    False
    >>> below_zero([1, 2, -4, 5])
    True
    """
```'''
LOOP = """def below_zero(ops):
    total = 0
    for one in ops:
        total += one
        if total < 0:
            return True
    return False"""
FOLD = """Here it is:
```python
from itertools import accumulate

def below_zero(operations):
    '''Docs.'''
    return min(accumulate(operations), default=0) < 0
```
It works."""
WRONG = "def below_zero(ops):\n    return sum(ops) < 0"


def key(answer: str, prompt: str = BELOW) -> str | None:
    return asyncio.run(behaviour_key(answer, prompt))


@pytest.mark.sandbox
class TestInTheSandbox:
    def test_two_ways_to_write_a_function_are_one_answer_and_a_wrong_one_is_another(self):
        assert key(LOOP) == key(FOLD) is not None
        assert key(WRONG) not in (None, key(LOOP))

    def test_a_vote_elects_what_most_programs_do(self):
        for policy, verifier in (
            (Majority(n=3, equality="code"), None),
            (Majority(n=3), PythonTests(tests="assert below_zero([-1])")),
        ):
            asked = tier(policy, ScriptedEngine(WRONG, LOOP, FOLD), slots=1)

            async def main(asked=asked, verifier=verifier):
                return await Action(asked, new_trace(), verifier=verifier).solve(ask_user(BELOW))

            answer = asyncio.run(main())
            assert (answer.completion.text, answer.why) == (LOOP, "2 of 3 votes")

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("def f(xs): xs.sort()", "def f(xs): xs[:] = sorted(xs)"),
            ("def f(xs): return {1, 2}", "def f(xs): return {2, 1}"),
            ("def f(xs): return sum(xs) / 1", "def f(xs): return float(sum(xs))"),
            ("def f(xs):\n    yield from xs", "def f(xs): return iter(xs)"),
            ("def f(xs): print(len(xs))", "def f(xs): print(sum(1 for _ in xs))"),
            ("def f(xs): return 0.1 + 0.2", "def f(xs): return 0.3"),
            (
                "def f(xs):\n    if len(xs) > 2: raise KeyError\n    return 1",
                "def f(xs):\n    assert len(xs) <= 2\n    return 1",
            ),
        ],
    )
    def test_what_is_equal(self, one, other):
        prompt = "Write `f(xs)`: f([3, 1, 2]), f([4, 4])"
        assert key(one, prompt) is not None
        if "yield" not in one:
            assert key(one, prompt) == key(other, prompt)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("def f(xs): return list(xs)", "def f(xs): return tuple(xs)"),
            ("def f(xs): return str(len(xs))", "def f(xs): return len(xs)"),
            ("def f(xs): xs.sort()", "def f(xs): pass"),
            ("def f(xs): print(1)", "def f(xs): print(2)"),
        ],
    )
    def test_what_is_not(self, one, other):
        prompt = "Write `f(xs)`: f([3, 1, 2]), f([4, 4])"
        assert key(one, prompt) != key(other, prompt)

    @pytest.mark.parametrize(
        "answer",
        [
            "",
            "no code here, sorry",
            "def below_zero(ops)\n    return",
            "def below_zero(ops): raise ValueError",
            "def below_zero(ops):\n    while True: pass",
            "import os\ndef below_zero(ops): os._exit(0)",
            "raise SystemExit\ndef below_zero(ops): return 1",
            "def below_zero(ops): return below_zero(ops)",
            "def below_zero(ops): return [0] * 10**12",
        ],
    )
    def test_what_does_not_run_is_no_answer(self, answer):
        assert key(answer) is None

    def test_what_an_answer_prints_does_not_make_it_equal_to_another(self):
        forged = f"import os\nos.write(1, b'{(key(LOOP) or '')[-64:]}')\n{WRONG}"
        assert key(forged) == key(WRONG)


def test_without_a_sandbox_programs_are_compared_by_their_text(monkeypatch):
    async def none(*_, **__):
        raise SandboxUnavailable("none here")

    monkeypatch.setattr(behaviour, "run_for_grade", none)
    assert key(LOOP) == key(f"```python\n# a comment\n{LOOP}\n```") != key(WRONG)


def test_a_program_without_a_function_is_compared_by_its_text():
    assert planned("print( 1 )", "")["text"] == planned("'''Docs.'''\nprint(1)  # one", "")["text"]
    assert planned("print(1)", "")["text"] != planned("print(2)", "")["text"]


@pytest.mark.parametrize(
    ("prompt", "defined", "name"),
    [
        (BELOW, ["helper", "below_zero"], "below_zero"),
        (BELOW, ["below_zero", "helper"], "below_zero"),
        ("Write a function `add` that adds.", ["add", "helper"], "add"),
        ("Add two numbers.", ["helper", "solve"], "solve"),
        ("Add two numbers.", [], None),
    ],
)
def test_which_function_is_compared(prompt, defined, name):
    assert function_named(prompt, defined) == name


def test_inputs_begin_with_the_examples_and_are_like_them():
    first, second, *more = [ast.literal_eval(one) for one in inputs_for(BELOW, "below_zero", 1)]
    assert (first, second) == (([1, 2, 3],), ([1, 2, -4, 5],))
    assert len(more) == COUNT - 2
    assert all(isinstance(one, list) and 3 <= len(one) <= 6 and {*map(type, one)} <= {int} for (one,) in more)


@pytest.mark.parametrize(
    ("prompt", "kinds"),
    [
        ("def f(a: int, s: str, d: dict[str, list[int]]):", (int, str, dict)),
        ("def f(a: Optional[float], s: 'List[str]', d: tuple[int, ...] | None):", (float, list, tuple)),
        ("assert f(1.5, 'ab', (1, 2)) == 3", (float, str, tuple)),
        ("assert f(True, [], {'a': 1}) == 3", (bool, list, dict)),
    ],
)
def test_inputs_have_the_types_that_the_prompt_names(prompt, kinds):
    for written in inputs_for(prompt, "f", 3):
        assert tuple(map(type, ast.literal_eval(written))) == kinds


@given(st.text(max_size=200), st.integers(0, 4))
def test_any_prompt_gives_literals_and_the_same_ones_each_time(prompt, parameters):
    found = inputs_for(f"{prompt} def f( f({prompt})", "f", parameters)
    assert found == inputs_for(f"{prompt} def f( f({prompt})", "f", parameters)
    assert len(found) <= COUNT
    assert all(isinstance(ast.literal_eval(one), tuple) for one in found)
