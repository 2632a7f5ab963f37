"""Tests are read before they run: what they expect of an answer, and what has to be called."""

from __future__ import annotations

import pytest

from tierwise.verifiers import PythonTests
from tierwise.verifiers.code.calls import imports_of, plan_of

CASE = "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(add(1), 2)\n"
CHECK = "def check(candidate):\n    assert candidate(2, 3) == 5\n"


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("assert add(2, 3) == 5", ["add"]),
        ("def test_add():\n    assert add(2, 3) == 5", ["add"]),
        ("def test_add(a=2):\n    assert add(a, 3) == 5", ["add"]),
        ("async def test_add():\n    assert await add(2, 3) == 5", ["add"]),
        ("class TestAdd:\n    def test_add(self):\n        assert add(2, 3) == 5", ["add"]),
        (CASE, ["add"]),
        (CASE + "unittest.main()", ["add"]),
        (CASE + "if __name__ == '__main__':\n    unittest.main()", ["add"]),
        (
            "from unittest import TestCase\nclass Base(TestCase):\n  x = 1\nclass T(Base):\n  def test(self): add(1)",
            ["add"],
        ),
        (CHECK + "check(add)", ["add"]),
        ("def helper(x):\n    return add(x, x)\nassert helper(2) == 4", ["add"]),
        ("def run():\n    assert add(1, 2) == 3\nrun()", ["add"]),
        ("import math\nassert add(math.pi, 0) > 3", ["add"]),
        ("from math import *\nassert add(pi, 0) > 3", ["add"]),
        ("assert math.isclose(add(1, 2), 3)", ["add"]),
        ("for a, b in [(1, 2)]:\n    assert add(a, b) == a + b", ["add"]),
        ("assert [add(x, 1) for x in (1, 2)] == [2, 3]", ["add"]),
        ("s = Stack()\ns.push(1)\nassert s.pop() == 1 and total(s) == 0", ["Stack", "total"]),
        ("assert total == 4 and __name__ == '__main__'", ["total"]),
        ("assert sum(10, 15) == 6", ["sum"]),
        ("assert len(f([1])) == 1 and sorted(f([2, 1])) == [1, 2]", ["f"]),
        ("try:\n    f(0)\nexcept ZeroDivisionError:\n    pass\nelse:\n    raise AssertionError", ["f"]),
    ],
)
def test_names_that_tests_use_and_do_not_define_are_the_answers(tests, names):
    assert plan_of(tests, None).names == names


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("", "call nothing of the answer"),
        ("pass", "call nothing"),
        ("assert True", "call nothing"),
        ("x = 1\nassert x == 1", "call nothing"),
        ("import math\nassert math.pi > 3", "call nothing"),
        ("assert math.pi > 3", "call nothing"),
        ("assert len('abc') == 3", "call nothing"),
        ("def helper():\n    assert add(1, 2) == 3", "call nothing"),
        ("class Helper:\n    def run(self):\n        assert add(1, 2) == 3", "call nothing"),
        ("def add(a, b):\n    return a + b\nassert add(1, 2) == 3", "call nothing"),
        (CHECK, "is not called; give `entry_point`"),
        ("def test_add(client):\n    assert add(1, 2) == client", "test_add takes arguments"),
        ("def test_add(*, a):\n    assert add(1, 2) == a", "test_add takes arguments"),
        ("assert (", "do not compile"),
        ("x = 1\x00", "do not compile"),
        ("assert f() == '" + "x" * 300_000 + "'", "characters are too many"),
    ],
)
def test_tests_that_would_pass_any_answer_are_refused_when_they_are_read(tests, why):
    with pytest.raises(ValueError, match=f"tests: .*{why}"):
        PythonTests(tests=tests)


def test_an_entry_point_is_what_check_gets():
    plan = plan_of(CHECK, "add")
    assert (plan.names, plan.check) == (["add"], "add")
    assert plan_of(CHECK + "check(add)", "add").check == ""
    assert plan_of(CHECK, "sum").names == ["sum"]


def test_what_is_only_defined_is_called_and_what_is_called_is_not_called_again():
    plan = plan_of("def test_b(): f(1)\ndef test_a(): f(2)\ndef test_c(): f(3)\ntest_c()", None)
    assert plan.functions == ["test_b", "test_a"]
    plan = plan_of(CASE + "class TestMore:\n    def test(self): add(1)\n", None)
    assert (plan.cases, plan.classes) == (["T"], ["TestMore"])


def test_what_a_task_gives_is_not_the_answers():
    assert plan_of("assert f(g(1)) == 1", None, "def g(x):\n    return x").names == ["f"]


def test_names_with_a_capital_that_are_called_or_have_attributes_are_classes():
    assert plan_of("Stack().push(add(1, 2))\n_Node()", None).classes_named == ["Stack", "_Node"]
    assert plan_of("assert f(LIMIT) == Color.RED", None).classes_named == ["Color"]


@pytest.mark.parametrize(
    ("tests", "why"),
    [
        ("class Mine(Base):\n    pass\nassert Mine().run()", "derives from Base"),
        ("assert eval('f(1)') and g()", "use eval"),
        ("from unittest.mock import patch\nwith patch('builtins.input'):\n    f()", "use mock"),
        ("import inspect\nassert 'for' not in inspect.getsource(f)", "use inspect"),
        ("import sys, io\nsys.stdin = io.StringIO('1')\nf()", "replace sys.stdin"),
        ("import time\ntime.sleep = None\nf()", "replace time.sleep"),
        ("from dataclasses import asdict\nassert asdict(f()) == {}", "use asdict"),
        ("import sys\nassert 'numpy' not in sys.modules and f()", "use sys.modules"),
        ("import sys, io\nsys.stdout = io.StringIO()\nf()", ""),
        ("assert f(1) == 2", ""),
    ],
)
def test_tests_that_reach_into_the_answers_process_are_known_before(tests, why):
    assert (why in plan_of(tests, None).one_process) if why else not plan_of(tests, None).one_process


@pytest.mark.parametrize(
    ("tests", "watches"),
    [
        ("xs = [2, 1]\norder(xs)\nassert xs == [1, 2]", True),
        ("xs = [2, 1]\nk = order(xs)\nassert xs[:k] == [1]", True),
        ("def test():\n    xs = [2, 1]\n    order(xs)\n    assert xs == [1, 2]", True),
        ("xs = [2, 1]\nassert order(xs) == sorted(xs)", False),
        ("xs = [2, 1]\nassert order(xs) == [1, 2]\nxs = [3]\nassert order(xs) == [3]", False),
        ("for xs in [[2, 1], [3]]:\n    assert order(xs) == sorted(xs)", False),
        ("assert order([2, 1]) == [1, 2]", False),
    ],
)
def test_it_is_known_whether_tests_look_at_an_argument_after_the_call(tests, watches):
    assert plan_of(tests, None).watches is watches


def test_imports_are_those_of_the_standard_library():
    assert imports_of("import os.path, numpy\nfrom json import loads\ndef f():\n    import re\nimport this") == [
        "json",
        "os.path",
        "re",
    ]
    assert imports_of("def f(") == []


def test_warnings_about_the_text_of_others_are_not_ours():
    assert plan_of("assert f('\\d') is 'x'", None).names == ["f"]
