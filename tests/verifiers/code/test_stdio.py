"""Programs that read stdin pass when every output is right."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers import Stdio, VerifierChoice
from tierwise.verifiers.code.stdio import is_same
from tierwise.verifiers.sandbox import backend
from tierwise.workloads.checks import CheckChoice

SUM = [{"input": "3 4\n", "output": "7\n"}, {"input": "10 -2\n", "output": "8\n"}]


def check(cases, **settings) -> Stdio:
    return Reading().read(CheckChoice, {"stdio": {"cases": cases, **settings}}, "check").member


def verdict(code: str, cases=SUM, **settings):
    return asyncio.run(check(cases, **settings).verify(Completion(text=code)))


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "code",
    [
        "a, b = map(int, input().split())\nprint(a + b)",
        "```python\nimport sys\nprint(sum(map(int, sys.stdin.read().split())))\n```",
        "```py\ndef main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()\n```",
        "import sys\nsys.stdout.write(str(sum(int(word) for line in sys.stdin for word in line.split())))\nsys.exit(0)",
        "Both:\n```python\nx = input().split()\nprint(int(x[0]) + int(x[1]))\n```\nExample:\n```\n3 4\n7\n```",
    ],
)
def test_a_program_that_writes_the_right_output_passes(code, only):
    assert backend().name == only
    found = verdict(code)
    assert (found.ok, found.why) == (True, "all 2 outputs are right")


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("a, b = map(int, input().split())\nprint(a - b)", "case 1 of 2: '-1' instead of '7'"),
        ("print(7)", "case 2 of 2: '7' instead of '8'"),
        ("a, b = map(int, input().split())\nprint(a + b, 'is the sum')", "case 1 of 2: '7 is the sum' instead of '7'"),
        ("print(input())\nprint(input())", "case 1 of 2: EOFError: EOF when reading a line"),
        ("print(7)\nraise SystemExit(3)", "case 1 of 2: exit code 3"),
        ("while True: pass", "case 1 of 2: stopped: cpu"),
        ("import time\ntime.sleep(60)", "case 1 of 2: stopped: time"),
        ("print('x' * 10**6)", "case 1 of 2: stopped: output"),
        ("def add(a, b:", "case 1 of 2: SyntaxError: '(' was never closed"),
        ("", "no program in the answer"),
        # cheats: the expected output is not there to be found
        ("import gc\nprint(next((s for s in gc.get_objects() if s == '8'), '7'))", "case 2 of 2: '7' instead of '8'"),
        ("import os\nprint(7)\nos._exit(0)", "case 1 of 2: '' instead of '7'"),
        (
            "import os, sys\nfor fd in range(3, 64):\n    try: os.write(fd, b'7')\n    except OSError: pass",
            "case 1 of 2: ''",
        ),
    ],
)
def test_a_program_that_does_not_fails_and_the_first_case_says_why(code, why, only):
    assert backend().name == only
    found = verdict(code, seconds=0.5)
    assert not found.ok
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        ("7\n", "7", True),
        ("1 2 \n3\r\n", "1 2\n3", True),
        ("0.50", "0.5", True),
        ("0.3333333333333", "0.33333333333", True),
        ("a 1.50 b", "a 1.5 b", True),
        ("YES", "YES\n\n", True),
        ("7.0", "7", False),
        ("yes", "YES", False),
        ("1 2", "1\n2", False),
        ("1  2", "1 2", False),
        ("0.34", "0.33", False),
        ("nan", "0.5", False),
        ("inf", "1e5", False),
        ("", "0", False),
        ("7\n8", "7", False),
    ],
)
def test_outputs_are_compared_but_for_blanks_at_ends_and_decimals(said, wanted, same):
    assert is_same(said, wanted) is same


def test_cases_may_stand_alone_and_nothing_is_no_case():
    alone = Reading().read(VerifierChoice, {"stdio": SUM}, "verifier")
    assert (alone.kind, alone.member) == ("stdio", check(SUM))
    assert not Stdio().is_ready
    assert not asyncio.run(Stdio().verify(Completion(text="print(1)"))).ok
    for wrong in ({"stdio": []}, {"stdio": {"cases": []}}, {"stdio": [{"input": "1"}]}):
        reading = Reading()
        reading.read(VerifierChoice, wrong, "verifier")
        with pytest.raises(SpecError, match="verifier"):
            reading.done()
    reading = Reading()
    reading.read(VerifierChoice, {"stdio": [{"input": "x" * 300_000, "output": "1"}]}, "verifier")
    with pytest.raises(SpecError, match="at most 262144"):
        reading.done()


def test_a_vote_for_a_program_is_a_vote_for_its_code():
    assert check(SUM).key(Completion(text="```python\nprint(1)\n```")) == "print(1)"
    assert check(SUM).key(Completion(text="")) is None
