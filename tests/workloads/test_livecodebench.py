"""LiveCodeBench: files made in its exact format, read within a window of dates and graded in the sandbox."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import pickle
import zlib
from pathlib import Path

import msgspec
import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.verifiers.code.livecodebench import LiveCodeBench, is_printed, packed, returned
from tierwise.workloads.suites import LiveCodeBenchSuite, SuiteChoice


def hidden(cases, *, as_pickle=True):
    text = json.dumps(cases)
    held = pickle.dumps(text) if as_pickle else text.encode()
    return base64.b64encode(zlib.compress(held)).decode()


def case(given, wanted, kind="stdin"):
    return {"input": given, "output": wanted, "testtype": kind}


def problem(name="abc_a", date="2025-02-01T00:00:00", **fields):
    row = {
        "question_title": "Double",
        "question_content": "Print twice the number that you read.",
        "platform": "atcoder",
        "question_id": name,
        "contest_id": "abc",
        "contest_date": date,
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([case("2\n", "4\n")]),
        "private_test_cases": hidden([case("-1\n", "-2\n"), case("0\n", "0\n")]),
        "metadata": "{}",
    }
    return {**row, **fields}


FUNCTIONAL = problem(
    "3000",
    platform="leetcode",
    starter_code="class Solution:\n    def double(self, numbers: List[int]) -> List[int]:\n        ",
    public_test_cases=json.dumps([case("[1, 2]", "[2, 4]", "functional")]),
    private_test_cases=hidden([case("[]", "[]", "functional")]),
    metadata='{"func_name": "double"}',
)


@pytest.fixture
def make(tmp_path):
    def make(*rows, **settings):
        (tmp_path / "test6.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return LiveCodeBenchSuite(file=str(tmp_path / "test6.jsonl"), **settings).make(Path())

    return make


def verdict(check, code):
    return asyncio.run(check.verify(Completion(text=f"Here:\n```python\n{code}\n```")))


def test_public_and_hidden_cases_are_the_check(make):
    (task,) = make(problem()).tasks
    assert task.id == "livecodebench/abc_a"
    assert task.tags == ["livecodebench", "easy", "atcoder"]
    assert task.check.livecodebench.cases() == [("2\n", "4\n"), ("-1\n", "-2\n"), ("0\n", "0\n")]
    assert "reads the input from stdin" in task.messages[0]["content"]


def test_hidden_cases_may_be_json_as_they_are(make):
    (task,) = make(problem(private_test_cases=json.dumps([case("1", "2")]))).tasks
    assert task.check.livecodebench.cases()[-1] == ("1", "2")


def test_a_function_is_asked_for_with_its_starter_code(make):
    (task,) = make(FUNCTIONAL).tasks
    assert task.check.livecodebench.function == "double"
    assert "def double(self, numbers: List[int])" in task.messages[0]["content"]


@pytest.mark.parametrize(
    ("window", "names"),
    [
        ({}, ["a", "b", "c"]),
        ({"since": "2025-01-01"}, ["b", "c"]),
        ({"since": "2025-01-01", "until": "2025-01-01"}, ["b"]),
        ({"until": "2024-12-31"}, ["a"]),
    ],
)
def test_only_problems_of_the_window_are_asked(make, window, names):
    rows = [
        problem(name, f"{date}T00:00:00")
        for name, date in zip("abc", ("2024-12-31", "2025-01-01", "2025-02-01"), strict=True)
    ]
    given = msgspec.convert({"livecodebench": {"file": "x", **window}}, SuiteChoice).livecodebench
    found = make(*rows, since=given.since, until=given.until)
    assert [task.id.removeprefix("livecodebench/") for task in found.tasks] == names
    assert any("older than the checkpoint" in one for one in found.notes) == ("since" not in window)


class Planted:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Planted()))).decode()},
            "it asks for builtins.print",
        ),
        ({"private_test_cases": hidden([])[:-8]}, "private_test_cases cannot be read"),
        (
            {"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps([1]))).decode()},
            "they hold a list, not a text",
        ),
        ({"metadata": '{"func_name": "f"}'}, "its cases are stdin; its function is 'f'"),
        ({"public_test_cases": "[", "private_test_cases": "[]"}, "truncated"),
    ],
)
def test_a_problem_that_cannot_be_read_is_named_with_its_line_and_runs_nothing(make, capsys, fields, why):
    with pytest.raises(ConfigErrors, match=why) as caught:
        make(problem("first"), problem(**fields))
    assert caught.value.errors[0].field == "test6.jsonl:2"
    assert capsys.readouterr().out == ""


def test_a_window_without_problems_is_refused(make):
    with pytest.raises(SpecError, match="0 tasks, fewer than the 1 requested"):
        make(problem(), since=dt.date(2026, 1, 1))


@pytest.mark.parametrize(
    ("said", "wanted", "same"),
    [
        ("4\n", "4", True),
        (" 4 \n\n", "4", True),
        ("4.0", "4", True),
        ("1 2.50", "1 2.5", True),
        ("0.333", "0.3333", False),
        ("Yes", "YES", False),
        ("1\n2", "1 2", False),
        ("", "0", False),
        ("nan", "nan", True),
    ],
)
def test_outputs_are_compared_line_by_line_and_numbers_exactly(said, wanted, same):
    assert is_printed(said, wanted) == same


def test_values_that_are_no_json_equal_nothing():
    assert returned('["l", [["i", "0x2"], ["t", [["f", "0x1p+0"]]]]]') == [2, (1.0,)]
    assert returned('["x", "{1, 2}"]') != {1, 2}
    assert returned("nonsense") != "nonsense"


@pytest.mark.parametrize("tests", ["", "bm8=", packed([])])
def test_a_check_without_cases_is_refused(tests):
    with pytest.raises(ValueError, match="tests: "):
        LiveCodeBench(tests=tests)


STDIN = packed([("2\n", "4\n"), ("5\n", "10\n")])
CALL = packed([("[1, 2]", "[2, 4]"), ("[]", "[]")])


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("print(2 * int(input()))", "all 2 outputs are right"),
        ("import sys\nif __name__ == '__main__':\n    print(2 * int(sys.stdin.buffer.read()))\n    exit(3)", "all 2"),
        ("for line in open(0):\n    print(float(line) * 2)", "all 2"),
        ("def solve():\n    global n\n    n = int(input())\n    return gcd(2 * n, 2 * n)\nprint(solve())", "all 2"),
        ("print(4)", "case 2 of 2: '4' instead of '10'"),
        ("print(2 * int(input())); 1 / 0", "case 1 of 2: ZeroDivisionError: division by zero"),
        ("print(", "SyntaxError"),
        ("import os\nos._exit(0)", "case 1 of 2: '' instead of '4'"),
        ("import os\nos.abort()", "case 1 of 2: exit code -6"),
        ("print('x' * 10**7)", "case 1 of 2: "),
    ],
)
def test_programs_are_run_on_every_input(code, why):
    found = verdict(LiveCodeBench(tests=STDIN), code)
    assert why in found.why
    assert found.ok == why.startswith("all 2")


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("code", "ok"),
    [
        ("class Solution:\n    def double(self, n: List[int]) -> List[int]:\n        return [2 * x for x in n]", True),
        ("class Solution:\n    def double(self, n):\n        return tuple(2.0 * x for x in n)", True),
        ("def double(n):\n    print('[2, 4]')\n    return [2 * x for x in n]", True),
        ("def double(n):\n    return {2 * x for x in n}", False),
        ("def double(n):\n    return [2, 4]", False),
        ("def twice(n):\n    return [2 * x for x in n]", False),
        ("def double(n):\n    exit()", False),
        ("class Any:\n    def __eq__(self, other):\n        return True\ndef double(n):\n    return Any()", False),
    ],
)
def test_functions_are_called_with_every_input(code, ok):
    assert verdict(LiveCodeBench(tests=CALL, function="double"), code).ok == ok


@pytest.mark.sandbox
@pytest.mark.parametrize(
    "spin", ["while True: pass", "import signal\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass"]
)
def test_the_limit_is_cpu_time_of_each_case(spin):
    assert "stopped: cpu" in verdict(LiveCodeBench(tests=STDIN, seconds=0.5), spin).why


@pytest.mark.sandbox
def test_what_one_case_leaves_is_not_there_for_the_next():
    code = "import builtins\nassert not hasattr(builtins, 'left')\nbuiltins.left = 1\nprint(2 * int(input()))"
    assert verdict(LiveCodeBench(tests=STDIN), code).ok
