"""What a grade of code depends on, and what it costs: answers graded on a quiet machine and on a busy one.

    python benchmarks/code_grading.py [--load 16] [--tasks 40] [--cost 40]

Right, wrong, endless, sleeping and slow answers are graded as `tierwise replay` grades them, first as the machine is,
then beside so many processes that want a core each. Both must agree in every byte of every record. Then it measures
the CPU time of a check, of the server and of its children, with each mechanism: tests in a process of their own, and
tests in the process of the answer. Ends with 1 where a grade differs, or where a grade is not the expected one.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from tierwise.bench.trial import regrade_all
from tierwise.runs.records import TrialOutcome, TrialRecord
from tierwise.spec.call import Completion
from tierwise.spec.reading import Reading
from tierwise.verifiers import PythonTests
from tierwise.verifiers.sandbox import backend, mechanism
from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = "assert f(4) == 16\nassert f(-3) == 9\nassert [f(x) for x in range(50)] == [x * x for x in range(50)]"
SECONDS = 2.0

ANSWERS = {
    "right": ("def f(x): return x * x", True),
    "wrong": ("def f(x): return x + x", False),
    "right, after half of its time": (
        "import time\nend = time.process_time() + 1.0\nwhile time.process_time() < end: pass\ndef f(x): return x * x",
        True,
    ),
    "right, after a nap": ("import time\ntime.sleep(1)\ndef f(x): return x * x", True),
    "right, with many imports": (
        "import asyncio, unittest, sqlite3, ssl, multiprocessing, xml.dom.minidom\ndef f(x): return x * x",
        True,
    ),
    "endless": ("def f(x):\n    while True: pass", False),
    "asleep": ("import time\ndef f(x): time.sleep(1000)", False),
    "too much memory": ("def f(x): return len(bytearray(10**10))", False),
    "always equal": ("class S:\n    def __eq__(self, o): return True\ndef f(x): return S()", False),
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--load", type=int, default=16, help="processes that want a core each")
    arguments.add_argument("--tasks", type=int, default=45, help="answers to grade")
    arguments.add_argument("--cost", type=int, default=40, help="checks to measure the cost with")
    given = arguments.parse_args()
    if (found := backend()).name == "none":
        print(f"no sandbox: {found.reason}")
        return 1
    tasks, records = made(given.tasks)
    graded = {}
    for load in (0, given.load):
        with busy(load):
            began = time.perf_counter()
            again = asyncio.run(regrade_all(tasks, records))
            seconds = time.perf_counter() - began
        graded[load] = again
        wrong = [one.task for one, was in zip(again, records, strict=True) if one.outcome != was.outcome]
        passes = sum(one.outcome == TrialOutcome.CORRECT for one in again)
        print(f"load {load:2}: {len(again)} answers, {passes} correct, {len(wrong)} not as expected, {seconds:.0f} s")
        for task in wrong:
            print(f"    {task}")
    same = msgspec.json.encode(graded[0]) == msgspec.json.encode(graded[given.load])
    print(f"records {'the same, bit for bit' if same else 'DIFFER'}")
    cost(given.cost)
    is_right = all(one.outcome == was.outcome for one, was in zip(graded[given.load], records, strict=True))
    return 0 if same and is_right else 1


def made(count: int) -> tuple[list[Task], list[TrialRecord]]:
    """So many answers, of every kind in turn."""
    tasks, records = [], []
    kinds = list(ANSWERS.items())
    for number in range(count):
        name, (answer, is_right) = kinds[number % len(kinds)]
        values = {
            "id": f"{name} {number}",
            "messages": [{"role": "user", "content": "Write f."}],
            "check": {"python_tests": {"tests": TESTS, "seconds": SECONDS}},
        }
        reading = Reading()
        task = reading.read(Task, values, "")
        reading.done()
        assert task is not None
        tasks.append(task)
        records.append(
            TrialRecord(
                action=f"run/{number}",
                task=task.id,
                tags=[],
                tier="fast",
                mode="both",
                seed=number,
                outcome=TrialOutcome.CORRECT if is_right else TrialOutcome.INCORRECT,
                why="",
                answer=answer,
                began=0.0,
                first_output=0.1,
                seconds=1.0,
            )
        )
    return tasks, records


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that want a core each."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def cost(count: int) -> None:
    """CPU milliseconds of a check."""
    for name in mechanism.MECHANISMS:
        if backend(name).name == "none":
            continue
        mechanism.MECHANISMS, before = (name,), mechanism.MECHANISMS
        backend.cache_clear()
        for how, tests in (("of their own", TESTS), ("of the answer", f"assert globals()\n{TESTS}")):
            check = PythonTests(tests=tests)
            ours, theirs = asyncio.run(_cost(check, count))
            print(f"{name:10} tests in a process {how}: {ours:.1f} ms of the server, {theirs:.1f} ms of its children")
        mechanism.MECHANISMS = before
        backend.cache_clear()


async def _cost(check: PythonTests, count: int) -> tuple[float, float]:
    said = Completion(text=ANSWERS["right"][0])
    assert (await check.verify(said)).ok
    ours, theirs = _cpu(resource.RUSAGE_SELF), _cpu(resource.RUSAGE_CHILDREN)
    for _ in range(count):
        await check.verify(said)
    return (
        1000 * (_cpu(resource.RUSAGE_SELF) - ours) / count,
        1000 * (_cpu(resource.RUSAGE_CHILDREN) - theirs) / count,
    )


def _cpu(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())
