"""Code passes when its tests have run to their end in the sandbox, and no other way."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import textwrap

import pytest

from tierwise.policies import BestOfN
from tierwise.run import Action
from tierwise.spec.budget import Budget
from tierwise.spec.call import Completion
from tierwise.spec.clock import now
from tierwise.testing import ScriptedEngine, ask_user, new_trace, tier
from tierwise.verifiers import PythonTests
from tierwise.verifiers.sandbox import backend

pytestmark = pytest.mark.sandbox

TESTS = "assert add(1, 2) == 3\nassert add(-1, 1) == 0"
WRONG = "\ndef add(a, b): return 4\n"
RIGHT = "\ndef add(a, b): return a + b\n"


@pytest.fixture(autouse=True)
def _sandbox(only):
    assert backend().name == only


def verdict(code: str, tests: str = TESTS, **settings):
    return asyncio.run(PythonTests(tests=tests, **settings).verify(Completion(text=textwrap.dedent(code))))


@pytest.mark.parametrize(
    "code",
    [
        RIGHT,
        f"Sure!\n```python{RIGHT}```\nThat's it.",
        f"<think>{WRONG}</think>{RIGHT}",
        f"from __future__ import annotations{RIGHT}",
        f"print('x' * 100, end=''){RIGHT}",
        f"import sys\nsys.stdout = None{RIGHT}",
        f"{RIGHT}if __name__ == '__main__':\n    print(add(1, 1))",
        "from dataclasses import dataclass\n@dataclass\nclass Sum:\n    of: int\ndef add(a, b): return Sum(a + b).of",
        f"import pickle\nclass P: pass\npickle.loads(pickle.dumps(P())){RIGHT}",
        f"x = '''{{}} %s {{code!r}} \\x00'''{RIGHT}",
    ],
)
def test_code_that_is_right_passes(code):
    said = verdict(code)
    assert (said.ok, said.score, said.why) == (True, 1.0, "tests pass")


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (WRONG, "AssertionError"),
        ("def add(a, b:", "SyntaxError: '(' was never closed"),
        ("", "NameError: name 'add' is not defined"),
        ("\x00", "SyntaxError: source code string cannot contain null bytes"),
        ("raise ValueError('no')", "ValueError: no"),
        ("while True: pass", "stopped: cpu"),
        (f"x = 'a' * 10**10{RIGHT}", "MemoryError"),
    ],
)
def test_code_that_is_wrong_does_not_and_the_last_word_says_why(code, why):
    said = verdict(code, seconds=1.0)
    assert (said.ok, said.score) == (False, 0.0)
    assert said.why.startswith(why)


@pytest.mark.parametrize(
    "trick",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise SystemExit",
        "def add(a, b): raise SystemExit(0)",
        "print('tests pass'); print('all tests passed: 4f1c9e', flush=True); import os; os._exit(0)",
        "import atexit, os\natexit.register(lambda: (print('tests pass', flush=True), os._exit(0)))" + WRONG,
        "import os, sys\nsys.excepthook = lambda *_: os._exit(0)" + WRONG,
        "import builtins, os\nbuiltins.AssertionError = SystemExit" + WRONG,
        "import threading, os\nthreading.Timer(0.05, os._exit, [0]).start()\nimport time\ndef add(a, b): time.sleep(9)",
        "import signal, os\nsignal.signal(signal.SIGALRM, lambda *_: os._exit(0)); signal.alarm(1)\nwhile True: pass",
        "import os\nif os.fork() == 0: os._exit(0)" + WRONG,
        # whoever looks for the word that is printed at the end
        "import os, re, sys\nprint(*re.findall('[0-9a-f]{32}', open(sys.argv[0]).read()), flush=True); os._exit(0)",
        "import os, re\nfor name in os.listdir():\n  print(*re.findall('[0-9a-f]{32}', open(name).read()), flush=True)",
        "import inspect, os, sys\nprint(inspect.getsource(sys.modules['__main__']), flush=True); os._exit(0)",
        "import os, re\nprint(*re.findall('[0-9a-f]{32}', open('/proc/self/cmdline').read()), flush=True)\nos._exit(0)",
        "print(globals(), flush=True); import os; os._exit(0)",
    ],
)
def test_ending_early_is_not_passing(trick):
    assert not verdict(trick, seconds=2.0).ok


def test_passing_once_teaches_nothing_about_the_next_time():
    spy = "import os, sys\nreal = os.write\nos.write = lambda fd, data: (print(data), real(fd, data))[1]" + RIGHT
    assert verdict(spy).ok
    assert not verdict("print('tests pass')\nimport os; os._exit(0)").ok


def test_tests_are_a_program_of_their_own_that_sees_what_the_code_defined():
    assert verdict(
        RIGHT + "total = add(2, 2)", "from __future__ import annotations\nassert total == 4 and __name__ == '__main__'"
    ).ok


def test_without_tests_nothing_passes():
    assert not PythonTests().is_ready
    said = asyncio.run(PythonTests().verify(Completion(text=RIGHT)))
    assert (said.ok, said.why) == (False, "there are no tests to run")


def test_tests_that_do_not_compile_are_refused_when_they_are_given():
    with pytest.raises(ValueError, match="tests: do not compile"):
        PythonTests(tests="assert (")


def test_a_vote_for_code_is_a_vote_for_its_last_block():
    def key(text: str) -> str | None:
        return PythonTests(tests=TESTS).key(Completion(text=text))

    assert key("```python\na = 1\n```") == key("Here:\n```\na = 1\n```\nBye") == "a = 1"
    assert key("") is None


def test_a_check_that_would_outlive_the_deadline_is_stopped_there():
    async def main():
        engine, trace = ScriptedEngine("while True: pass", step=0.0), new_trace()
        one = tier(BestOfN(n=2), engine, budget=Budget(seconds=1.5))
        answer = await Action(one, trace, verifier=PythonTests(tests=TESTS, seconds=60)).solve(ask_user("add!"))
        return answer, now() - trace.began

    answer, seconds = asyncio.run(main())
    assert (answer.verdict.ok, seconds < 10) == (False, True)


NO_SANDBOX = """
import asyncio
from tierwise.policies import BestOfN
from tierwise.spec.errors import SpecError
from tierwise.testing import ScriptedEngine, ask_user, new_trace, tier
from tierwise.run import Action
from tierwise.verifiers import PythonTests

async def main():
    action = Action(tier(BestOfN(n=2), ScriptedEngine("a = 1")), new_trace(), verifier=PythonTests(tests="assert a"))
    try:
        print(await action.solve(ask_user("hi")))
    except SpecError as error:
        print("refused:", error)

asyncio.run(main())
"""


def test_where_no_sandbox_can_be_had_it_refuses_with_the_reason():
    """In a user namespace that may not make any other, as in many containers."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    alone = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    locked = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = [*alone, locked, "sh", sys.executable, "-c", NO_SANDBOX]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if ended.returncode:
        pytest.skip(ended.stderr.strip()[-200:])
    assert ended.stdout.startswith("refused: No sandbox is available here (")
    assert "never run outside of one" in ended.stdout


# What crosses between the two processes

CROSSING = {
    "plain data of all kinds": (
        "def same(x): return x",
        "import datetime, decimal, fractions, collections\nfor one in (None, True, 0, -1, 10**30, 1.5, float('inf'), 1j, "
        "'é\\ud800', b'\\xff', bytearray(b'x'), [], [1, [2]], (1,), {1, 2}, frozenset('ab'), {'a': {(1, 2): None}}, "
        "range(3), slice(1, 2), ..., datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3), "
        "datetime.timedelta(1, 2, 3), decimal.Decimal('1.10'), fractions.Fraction(1, 3), collections.deque([1], 3), "
        "collections.Counter('aab'), collections.OrderedDict(a=1), int, len):\n"
        "    assert same(one) == one and type(same(one)) is type(one), one\n",
    ),
    "a class with state": (
        "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
        "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)",
        "s = Stack()\ns.push(1)\ns.push((2, 3))\nassert len(s) == 2 and s.pop() == (2, 3) and s.items == [1]\n"
        "assert isinstance(s, Stack) and not isinstance(5, Stack)",
    ),
    "an object from a function": (
        "class Node:\n    def __init__(self, v, n=None): self.val, self.next = v, n\n"
        "def build(xs):\n    head = None\n    for x in reversed(xs): head = Node(x, head)\n    return head",
        "head = build([1, 2])\nassert head.val == 1 and head.next.val == 2 and head.next.next is None",
    ),
    "a generator": (
        "def count(n):\n    yield from range(n)",
        "assert list(count(3)) == [0, 1, 2]\nassert next(count(1)) == 0",
    ),
    "an iterator that never ends": (
        "import itertools\ndef count(): return itertools.count()",
        "import itertools\nassert list(itertools.islice(count(), 3)) == [0, 1, 2]",
    ),
    "views of a dict": (
        "def f(d): return d.keys(), d.values(), d.items()",
        "k, v, i = f({1: 2})\nassert k == {1} and list(v) == [2] and (1, 2) in i",
    ),
    "a function of the tests": ("def twice(f, x): return f(f(x))", "assert twice(lambda x: x + 1, 3) == 5"),
    "an error of a function of the tests": (
        "def safe(f):\n    try:\n        return f()\n    except ZeroDivisionError:\n        return 'caught'",
        "assert safe(lambda: 1 / 0) == 'caught'",
    ),
    "an iterator of the tests": (
        "def total(xs): return sum(xs)",
        "assert total(x for x in (1, 2)) == 3\nassert total(iter([4])) == 4",
    ),
    "a function of the answer handed back": (
        "def adder(n): return lambda x: x + n\ndef run(f, x): return f(x)",
        "f = adder(2)\nassert f(3) == 5 and run(f, 1) == 3",
    ),
    "built-in functions": (
        "def apply(f, xs): return f(xs)",
        "assert apply(len, [1, 2]) == 2 and apply(sorted, [2, 1]) == [1, 2]",
    ),
    "errors": (
        "class Empty(Exception):\n    def __init__(self, size): super().__init__(f'only {size}'); self.size = size\n"
        "class Worse(Empty): pass\n"
        "def f(x):\n    if x == 0: raise Worse(7)\n    return [1][x]",
        "try:\n    f(0)\nexcept Empty as error:\n    assert str(error) == 'only 7' and error.size == 7\nelse:\n    raise AssertionError\n"
        "try:\n    f(5)\nexcept IndexError as error:\n    assert 'out of range' in str(error)\nelse:\n    raise AssertionError",
    ),
    "errors of the standard library": (
        "import json\ndef f(s): return json.loads(s)",
        "import json\ntry:\n    f('{')\nexcept json.JSONDecodeError:\n    pass\nelse:\n    raise AssertionError",
    ),
    "errors in unittest": (
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x",
        "import unittest\nclass T(unittest.TestCase):\n    def test_f(self):\n        with self.assertRaisesRegex(ValueError, 'neg'):\n"
        "            f(-1)\n        self.assertEqual(f(1), 1)\nunittest.main()",
    ),
    "a named tuple": (
        "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\ndef f(): return Point(1, 2)",
        "assert f() == (1, 2) and f().x == 1 and f()[1] == 2",
    ),
    "enums": (
        "import enum\nclass Color(enum.Enum):\n    RED = 1\nclass Level(enum.IntEnum):\n    LOW = 1\n"
        "def f(): return Color.RED\ndef g(): return Level.LOW",
        "assert f() == Color.RED and f() is not None and f().name == 'RED' and g() == 1 and g().name == 'LOW'",
    ),
    "a subclass of list": (
        "class L(list):\n    extra = 3\ndef f(): return L([1])",
        "assert f() == [1] and f().extra == 3 and isinstance(f(), list)",
    ),
    "a coroutine": (
        "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x + 1",
        "import asyncio\nassert asyncio.run(f(1)) == 2",
    ),
    "an async test": ("async def f(x): return x + 1", "async def test_f():\n    assert await f(1) == 2"),
    "a context": (
        "class Box:\n    def __enter__(self): self.is_open = True; return self\n    def __exit__(self, *a): self.is_open = False",
        "box = Box()\nwith box as inside:\n    assert inside.is_open\nassert not box.is_open",
    ),
    "printing": (
        "def greet(name): print('Hello,', name)",
        "import contextlib, io\nout = io.StringIO()\nwith contextlib.redirect_stdout(out):\n    greet('you')\nassert out.getvalue() == 'Hello, you\\n'",
    ),
    "constants and modules": (
        "import math\nLIMIT = 3\ndef f(x): return x",
        "assert LIMIT == 3 and math.isclose(f(0.1 + 0.2), 0.3)",
    ),
    "names of what the tests import": ("def f(x): return math.sqrt(x)", "import math\nassert f(4) == 2"),
    "attributes of a function": (
        'def f():\n    """Says hello."""\n    return 1',
        "assert f.__name__ == 'f' and 'hello' in f.__doc__ and callable(f)",
    ),
    "threads of the tests": (
        "def f(x): return x * x",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n    assert list(pool.map(f, range(50))) == [x * x for x in range(50)]",
    ),
    "many calls": ("def f(x): return [x] * 3", "for x in range(2000):\n    assert f(x) == [x, x, x]"),
    "much data": ("def f(xs): return xs[::-1]", "xs = list(range(200_000))\nassert f(xs) == xs[::-1]"),
    "a name of a built-in function": ("def sum(a, b): return a + b", "assert sum(2, 3) == 5"),
    "a guard": ("def f(): return 1\nif __name__ == '__main__':\n    input()\n    raise SystemExit", "assert f() == 1"),
    "recursion": ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "assert f(900) == 900"),
}


@pytest.mark.parametrize("name", CROSSING)
def test_what_crosses_is_judged_as_in_one_process_and_cannot_be_tampered_with(name):
    code, tests = CROSSING[name]
    said = verdict(code, tests)
    assert (said.ok, said.why) == (True, "tests pass")


MARKED = {
    "an operator of the answer's class": (
        "class V:\n    def __init__(self, x): self.x = x\n    def __eq__(self, o): return self.x == o.x\n    def __add__(self, o): return V(self.x + o.x)",
        "assert V(1) + V(2) == V(3)",
        "it relies on add of the answer's own class V; it relies on == of",
    ),
    "membership": (
        "class Bag:\n    def __contains__(self, x): return x == 1",
        "assert 1 in Bag() and 2 not in Bag()",
        "it relies on in of",
    ),
    "sorting in place": (
        "def order(xs): xs.sort()",
        "xs = [2, 1]\norder(xs)\nassert xs == [1, 2]",
        "arguments that the answer changed",
    ),
    "changing what lies inside": (
        "def f(grid, seen):\n    grid[0][1] = 9\n    grid.append([3])\n    seen.add(4)",
        "row = [1, 2]\ngrid, seen = [row], set()\nf(grid, seen)\nassert grid == [[1, 9], [3]] and row == [1, 9] and seen == {4}",
        "arguments that the answer changed",
    ),
    "an object of a class of the tests": (
        "def depth(n): return 0 if n is None else 1 + max(depth(n.left), depth(n.right))",
        "class Node:\n    def __init__(self, l=None, r=None): self.left, self.right = l, r\nassert depth(Node(Node())) == 2",
        "Node of the tests is no plain data",
    ),
    "a patch": (
        "def ask(): return input('name? ').upper()",
        "from unittest.mock import patch\nwith patch('builtins.input', return_value='bo'):\n    assert ask() == 'BO'",
        "the tests use mock",
    ),
    "a class derived from the answer's": (
        "class Base:\n    def run(self): return self.step() + 1",
        "class Mine(Base):\n    def step(self): return 1\nassert Mine().run() == 2",
        "derives from Base",
    ),
}


@pytest.mark.parametrize("name", MARKED)
def test_what_cannot_be_held_is_judged_all_the_same_and_the_verdict_says_so(name):
    code, tests, mark = MARKED[name]
    said = verdict(code, tests)
    assert said.ok
    assert said.why.startswith("tests pass (not tamper-proof: ")
    assert mark in said.why


@pytest.mark.parametrize("name", MARKED)
def test_what_cannot_be_held_fails_all_the_same_if_it_is_wrong(name):
    code, tests, _ = MARKED[name]
    assert not verdict(code, tests + "\nassert 1 == 2").ok


@pytest.mark.parametrize(
    ("tests", "entry_point"),
    [
        ("def test_add():\n    assert add(2, 3) == 5", None),
        ("class TestAdd:\n    def test_add(self):\n        assert add(2, 3) == 5", None),
        ("def check(candidate):\n    assert candidate(2, 3) == 5", "add"),
        (
            "import unittest\nclass T(unittest.TestCase):\n    def test_add(self):\n        self.assertEqual(add(2, 3), 5)",
            None,
        ),
        (
            "import unittest\nclass T(unittest.IsolatedAsyncioTestCase):\n    async def test_add(self):\n"
            "        self.assertEqual(add(2, 3), 5)\nunittest.main()",
            None,
        ),
        ("def check(candidate):\n    assert candidate(2, 3) == 5\ncheck(add)", None),
        ("def test_add():\n    assert add(2, 3) == 5\ntest_add()", None),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_what_tests_only_define_is_called(tests, entry_point, together):
    if together:
        tests += "\nassert globals()"
    assert verdict(RIGHT, tests, entry_point=entry_point).ok
    assert not verdict(WRONG, tests, entry_point=entry_point).ok
    assert not verdict("def other(): pass", tests, entry_point=entry_point).ok


def test_what_a_task_gives_is_there_for_the_answer_and_for_the_tests():
    setup = "import math\ndef double(x):\n    return 2 * x"
    assert verdict("def f(x): return double(math.floor(x))", "assert f(1.5) == double(1)", setup=setup).ok


def test_importing_a_library_is_not_on_the_answers_time():
    slow = "\n".join(
        f"import {name}" for name in ("asyncio", "unittest", "sqlite3", "xml.dom.minidom", "ssl", "multiprocessing")
    )
    assert verdict(f"{slow}\n{RIGHT}", TESTS, seconds=0.1).ok


def test_long_tests_and_long_answers_are_read_in_the_pool_and_judged_all_the_same():
    tests = TESTS + "\nassert add(0, 0) == 0" * 500
    code = "# comment\n" * 1000 + RIGHT
    assert verdict(code, tests).ok
    assert verdict(code, tests).ok
    assert not verdict("# comment\n" * 1000 + WRONG, tests).ok
