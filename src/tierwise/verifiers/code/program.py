"""What goes into the sandbox to test an answer, and the verdict that comes out."""

from __future__ import annotations

import functools
import marshal
import re
import secrets
from pathlib import Path

import msgspec

from tierwise.verifiers.code.calls import TestPlan, imports_of
from tierwise.verifiers.sandbox import Limits, SandboxResult, run_for_grade

MOST_READ = 8 * 1024
"""Characters of code whose imports are read, so that they are not on its time."""

_INSIDE = Path(__file__).parent / "inside"
_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_APART = "wire", "remote", "answer", "calling", "tester"


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a run of tests."""

    passed: bool
    why: str = ""
    marks: list[str] = msgspec.field(default_factory=list)
    """What the verdict relies on that an answer could have forged."""
    one_process: str = ""
    """Why the tests can run only in the answer's process; nothing is known then."""


@functools.cache
def _start() -> str:
    return (_INSIDE / "start.py").read_text()


@functools.cache
def _code() -> bytes:
    """The compiled files of both sides; the sandbox has the same interpreter."""
    return marshal.dumps({name: compile((_INSIDE / f"{name}.py").read_text(), name, "exec") for name in _APART})


def _part(body: bytes) -> bytes:
    return b"%d\n%b" % (len(body), body)


async def apart(code: str, tests: str, setup: str, plan: TestPlan, seconds: float) -> Tested:
    """Run tests in a process that the answer's cannot reach."""
    for_answer = {
        "code": code,
        "setup": setup,
        "imports": imports_of(code) if len(code) <= MOST_READ else [],
        "offers": plan.offers,
    }
    for_tests = {**msgspec.to_builtins(plan), "tests": tests, "setup": setup}
    encode = msgspec.json.encode
    stdin = _part(_code()) + _part(encode(for_answer)) + _part(encode(for_tests))
    done = await run_for_grade(_start(), limits=Limits.of_grade(seconds), stdin=stdin, prepares=True)
    if done.stopped or done.exit_code:
        return Tested(passed=False, why=_why(done))
    try:
        return msgspec.json.decode(done.stdout.encode(), type=Tested)
    except msgspec.DecodeError:
        return Tested(passed=False, why=_why(done))


_TOGETHER = """
import os, sys, types
given = __import__("json").loads({given!r})
main = sys.modules["__main__"] = types.ModuleType("__main__")
tester = types.ModuleType("tester")
exec({caller!r}, tester.__dict__)
space = main.__dict__
os.write(1, b"\\n")
space["__name__"] = "answer"
for name in ("setup", "code"):
    exec(compile(given[name], name + ".py", "exec", dont_inherit=True), space)
space["__name__"] = "__main__"
if "unittest" in given["imports"]:
    import unittest
    unittest.main = lambda *_, **__: None
space.update({{name: __import__(name) for name in given["borrowed"]}})
exec(compile(given["tests"], "tests.py", "exec", dont_inherit=True), space)
tester.call_tests(space, given)
os.write(1, {passed!r})
"""


async def together(code: str, tests: str, setup: str, plan: TestPlan, seconds: float) -> Tested:
    """Run tests in the answer's own process: an answer that looks for it finds the word that says they passed."""
    word = secrets.token_hex(16)
    given = {**msgspec.to_builtins(plan), "code": code, "tests": tests, "setup": setup}
    source = _TOGETHER.format(
        given=msgspec.json.encode(given).decode(),
        caller=(_INSIDE / "calling.py").read_text(),
        passed=f"\n{word}\n".encode(),
    )
    done = await run_for_grade(source, limits=Limits.of_grade(seconds), prepares=True)
    if done.exit_code == 0 and not done.stopped and word in done.stdout.splitlines():
        return Tested(passed=True)
    return Tested(passed=False, why=_why(done))


def _why(done: SandboxResult) -> str:
    if done.stopped:
        return f"stopped: {done.stopped}"
    return (done.stderr.strip() or "the tests were not reached").splitlines()[-1]


def without_addresses(why: str) -> str:
    """The text without what differs from run to run: `<object at 0x7f…>`."""
    return _ADDRESS.sub("at 0x…", why)
