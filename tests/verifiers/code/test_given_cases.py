"""Small answers of kinds that graders are known to get wrong, each with its right grade."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers.sandbox import backend
from tierwise.workloads.checks import CheckChoice

ADDS = "assert add(2, 3) == 5"
FUNCTION = "def test_add():\n    assert add(2, 3) == 5\n"
CASE = (
    "import unittest\nclass T(unittest.TestCase):\n    def test_add(self):\n        self.assertEqual(add(2, 3), 5)\n"
    "unittest.main()\n"
)
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "```python\ndef add(a, b):\n    return a - b\n```"

CASES = [
    (ADDS, f"```python\n{RIGHT}```\nUse it like this:\n```\nadd(2, 3)  # 5\n```", True),
    (ADDS, f"```python\n{RIGHT}```\nRun it:\n```bash\npython add.py\n```", True),
    (
        ADDS,
        "1. Write:\n   ```python\n   def add(a, b):\n       total = a + b\n       return total\n   ```",
        True,
    ),
    (ADDS, f"{RIGHT}```", True),
    (
        ADDS,
        f"```python\n{RIGHT}\nif __name__ == '__main__':\n    n = int(input())\n    print(add(n, n))\n```",
        True,
    ),
    (FUNCTION, WRONG, False),
    (FUNCTION, f"```python\n{RIGHT}```", True),
    (CASE, f"```python\n{RIGHT}```", True),
    (CASE, WRONG, False),
    (
        ADDS,
        "```python\nclass Same:\n    def __eq__(s, o):\n        return True\n\ndef add(a, b):\n    return Same()\n```",
        False,
    ),
    (
        ADDS,
        "```python\nimport builtins\nbuiltins.exec = lambda *a, **k: None\ndef add(a, b):\n    return a - b\n```",
        False,
    ),
    (ADDS, f"<think>```python\n{WRONG}\n```</think>```python\n{RIGHT}```", True),
    (ADDS, f"```python\n{RIGHT}```\n```python\nassert add(2, 3) == 6\n```", True),
    (ADDS, f"```python\n{RIGHT}\nprint(add(1, input()))\n```", False),
    (ADDS, f"```python\n{RIGHT}```\n\n```python\nimport add\nadd.main()\n```", True),
    (ADDS, f"Here is a doc:\n```markdown\n# Add\n```\n```python\n{RIGHT}```", True),
    (ADDS, f"```python\nfrom typing import *\n{RIGHT}```\n```output\n5\n```", True),
    (ADDS, "I cannot help with that.", False),
    (ADDS, "", False),
]


@pytest.mark.sandbox
@pytest.mark.parametrize(("tests", "answer", "correct"), CASES)
def test_the_grade_is_right(tests, answer, correct, only):
    assert backend().name == only
    check = Reading().read(CheckChoice, {"python_tests": {"tests": tests}}, "check").member
    assert asyncio.run(check.verify(Completion(text=answer))).ok is correct


@pytest.mark.parametrize(
    "check",
    [
        {"python_tests": {"tests": "def check(candidate):\n    assert candidate(2, 3) == 5\n"}},
        {"python_tests": {"tests": "def helper():\n    assert add(2, 3) == 5\n"}},
        {"python_tests": {"tests": "import unittest\nunittest.main()"}},
        {"stdio": []},
    ],
)
def test_a_check_that_checks_nothing_is_refused_when_the_workload_is_read(check):
    reading = Reading()
    reading.read(CheckChoice, check, "check")
    with pytest.raises(SpecError, match=r"call nothing|length"):
        reading.done()
