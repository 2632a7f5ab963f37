"""Are answers graded here as the suites' own graders grade them? 200 made answers for each of three suites.

    python benchmarks/suite_graders.py FOLDER

FOLDER has what the graders need, and stays out of the tree:

    pip install --target FOLDER --no-deps nvidia-livecodebench==26.3 && pip install --target FOLDER numpy

LiveCodeBench: `run_test` of that package, one process for each answer. AIME: math-verify as the suites call it, `parse`
of the whole answer and `verify`. GPQA-Diamond: the pattern of openai/simple-evals, which no package has; it is written
here. Answers are drawn from a seed. Prints the numbers of equal verdicts and every answer that is graded differently.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tierwise.spec.call import Completion
from tierwise.verifiers import Choice
from tierwise.verifiers.base import BaseVerifier
from tierwise.verifiers.code.livecodebench import LiveCodeBench, packed
from tierwise.verifiers.math_verify import MathVerify

COUNT = 200

STDIN_CASES = [("3\n1 2 3\n", "6\n"), ("1\n-5\n", "-5\n"), ("0\n\n", "0\n"), ("2\n10 20\n", "30\n")]
STDIN = (
    "n = int(input())\nprint(sum(map(int, input().split())))",
    "import sys\ndata = sys.stdin.read().split()\nprint(sum(map(int, data[1:])))",
    "n = int(input())\nprint(float(sum(map(int, input().split()))))",
    "n = int(input())\nprint('  ', sum(map(int, input().split())), '  ')",
    "n = int(input())\nprint(sum(map(int, input().split())))\nprint()",
    (
        "def main():\n    n = int(input())\n    print(reduce(add, map(int, input().split()), 0))\n"
        "if __name__ == '__main__':\n    main()"
    ),
    "n = int(input())\nprint(sum(map(int, input().split())))\nexit()",
    "n = int(input())\nprint(6)",
    "n = int(input())\nprint('sum', sum(map(int, input().split())))",
    "n = int(input())\nprint(sum(map(int, input().split())), end='\\n\\n1')",
    "n = int(input())\nprint(max(map(int, input().split())))",
    "print(input(",
    "raise ValueError",
    "n = int(input())\nwhile n: pass",
    "",
)
CALL_CASES = [("[1, 2, 3]\n1", "[2, 3, 4]"), ("[]\n5", "[]"), ("[0]\n-1", "[-1]")]
CALLS = (
    "class Solution:\n    def add(self, a: List[int], k: int) -> List[int]:\n        return [x + k for x in a]",
    "class Solution:\n    def add(self, a, k):\n        return tuple(x + k for x in a)",
    "class Solution:\n    def add(self, a, k):\n        return [float(x + k) for x in a]",
    "class Solution:\n    def add(self, a, k):\n        return list(accumulate(a)) and [x + k for x in a]",
    "def add(a, k):\n    return [x + k for x in a]",
    "def add(a, k):\n    return [str(x + k) for x in a]",
    "def add(a, k):\n    return deque(x + k for x in a)",
    "def add(a, k):\n    return {x + k for x in a}",
    "def add(a, k):\n    a[:] = [x + k for x in a]",
    "def add(a, k):\n    return [2, 3, 4]",
    "def plus(a, k):\n    return [x + k for x in a]",
    "def add(a):\n    return a",
    "class Solution:\n    def add(self, a, k):\n        while True: pass",
    "class Solution:\n    def add(self, a, k):\n        return [x + k for x in a",
)
NOISE = ("", "# a comment\n", "import math\n", "x = 1\n", "from collections import *\n")

AIME_FORMS = (
    *(r"So the answer is $\boxed{{{n}}}$.", r"\boxed{{{n:03}}}", "**Answer: {n}**", "The final answer is {n}."),
    *(r"$$\boxed{{{n}}}$$ is it.", r"First \boxed{{{other}}}, no: \boxed{{{n}}}.", r"\boxed{{\text{{{n}}}}}"),
    *(r"\boxed{{{n}.0}}", r"\boxed{{x = {n}}}", r"Thus $m+n = {n}$.", r"\boxed{{\frac{{{twice}}}{{2}}}}"),
)
GPQA_FORMS = (
    *(
        "Answer: {letter}",
        "I think so.\n\nAnswer: {letter}",
        "answer:  {letter}",
        "Answer: ${letter}$",
        "ANSWER: {letter}.",
    ),
    *("The others are wrong.\nAnswer: {letter})", "I first thought of {other}.\nAnswer: {letter}"),
)

UPSTREAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from livecodebench.evaluation.testing_util import run_test
print("READY", flush=True)
given = json.load(sys.stdin)
out = sys.stdout
try:
    results, _ = run_test({"input_output": json.dumps(given["sample"])}, test=given["code"], timeout=2)
    right = bool(results) and all(one is True for one in results)
except Exception:
    right = False
print("VERDICT", right, file=out)
"""

MATH_VERIFY = """
import json, sys
from math_verify import parse, verify
print(json.dumps([bool(verify(parse("$" + gold + "$"), parse(said))) for gold, said in json.load(sys.stdin)]))
"""
SIMPLE_EVALS = re.compile(r"(?i)Answer[ \t]*:[ \t]*\$?([A-D])\$?")


def verdict(check: BaseVerifier, text: str) -> bool:
    return asyncio.run(check.verify(Completion(text=text))).ok


def livecodebench(folder: Path) -> Iterator[tuple[str, bool, bool]]:
    chance = random.Random(13)
    known: dict[tuple[str, bool], bool] = {}
    for number in range(COUNT):
        is_call = bool(number % 2)
        cases, programs = (CALL_CASES, CALLS) if is_call else (STDIN_CASES, STDIN)
        code = chance.choice(NOISE) + chance.choice(programs)
        sample = {
            "inputs": [one for one, _ in cases],
            "outputs": [one for _, one in cases],
            "fn_name": "add" if is_call else None,
        }
        if (code, is_call) not in known:
            done = subprocess.run(
                [sys.executable, "-c", UPSTREAM, str(folder)],
                input=json.dumps({"sample": sample, "code": code}),
                capture_output=True,
                text=True,
                check=False,
            )
            if "READY" not in done.stdout:
                sys.exit(f"LiveCodeBench's own grader cannot be imported from {folder}:\n{done.stderr}")
            known[code, is_call] = "VERDICT True" in done.stdout
        check = LiveCodeBench(tests=packed(cases), function="add" if is_call else None, seconds=2)
        yield code, verdict(check, f"```python\n{code}\n```"), known[code, is_call]


def aime(_: Path) -> Iterator[tuple[str, bool, bool]]:
    chance = random.Random(13)
    made = []
    for _number in range(COUNT):
        n, gold = chance.randrange(1000), chance.randrange(1000)
        n = gold if chance.random() < 0.6 else n
        made.append((str(gold), chance.choice(AIME_FORMS).format(n=n, twice=2 * n, other=(n + 7) % 1000)))
    done = subprocess.run(
        [sys.executable, "-c", MATH_VERIFY], input=json.dumps(made), capture_output=True, text=True, check=True
    )
    for (right, said), theirs in zip(made, json.loads(done.stdout), strict=True):
        yield f"{right}: {said}", verdict(MathVerify(equals=right), said), theirs


def gpqa(_: Path) -> Iterator[tuple[str, bool, bool]]:
    chance = random.Random(13)
    for _number in range(COUNT):
        gold, letter, other = (chance.choice("ABCD") for _ in range(3))
        said = chance.choice(GPQA_FORMS).format(letter=letter, other=other)
        found = SIMPLE_EVALS.search(said)
        check = Choice(options=("A", "B", "C", "D"), equals=gold)
        yield f"{gold}: {said!r}", verdict(check, said), found is not None and found[1] == gold


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    graders: dict[str, Callable[[Path], Iterator[tuple[str, bool, bool]]]] = {
        "AIME": aime,
        "GPQA-Diamond": gpqa,
        "LiveCodeBench": livecodebench,
    }
    for name, grade in graders.items():
        graded = list(grade(folder))
        same = sum(ours == theirs for _, ours, theirs in graded)
        right = sum(ours for _, ours, _ in graded)
        print(f"{name}: {same} of {len(graded)} verdicts are the same; {right} answers are right here", flush=True)
        for said, ours, theirs in sorted({one for one in graded if one[1] != one[2]}):
            print(f"  {'right' if ours else 'wrong'} here, {'right' if theirs else 'wrong'} there: {said}")


if __name__ == "__main__":
    main()
