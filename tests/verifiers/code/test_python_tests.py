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
