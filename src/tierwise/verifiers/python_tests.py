"""Answers that are Python code, judged by running tests in a sandbox."""

from __future__ import annotations

import math
import secrets
import warnings
from typing import Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import fenced, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.sandbox import Limits, run_python

# The program in the sandbox. The token that reports success is new for every check and printed last, so code that
# exits early, or prints an old token, does not pass. The file that contains it is deleted before the answer's code
# starts. (Code that searches its own interpreter's memory can still find it.)
_RUN = """
import os, sys, types
os.remove(__file__)
main = sys.modules["__main__"] = types.ModuleType("__main__")
for name, text in (("answer.py", {code!r}), ("tests.py", {tests!r})):
    exec(compile(text, name, "exec", dont_inherit=True), main.__dict__)
os.write(1, {passed!r})
"""


class PythonTests(BaseVerifier, frozen=True, kw_only=True):
    """The answer's code (its last code block, or all of it) passes these tests."""

    kind = "python_tests"
    decisive = True
    runs_code = True

    tests: str | None = None
    """Python that runs after the answer's code and raises on failure. A tier leaves it to the request."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """Time limit for code and tests together."""

    def __post_init__(self) -> None:
        if self.tests is not None:
            try:
                with warnings.catch_warnings(action="ignore"):  # a client's tests do not write into our log
                    compile(self.tests, "tests", "exec", dont_inherit=True)
            except (RecursionError, MemoryError) as error:
                raise ValueError("tests: do not compile: they are nested too deeply") from error
            except (SyntaxError, ValueError, OverflowError) as error:
                raise ValueError(f"tests: do not compile: {error}") from error

    @property
    def is_ready(self) -> bool:
        return self.tests is not None

    def key(self, completion: Completion) -> str | None:
        return fenced(spoken(completion)) or None

    async def verify(self, completion: Completion) -> Verdict:
        if self.tests is None:
            return rejected("there are no tests to run")
        passed = secrets.token_hex(16)
        source = _RUN.format(code=fenced(spoken(completion)), tests=self.tests, passed=f"\n{passed}\n".encode())
        done = await run_python(source, limits=Limits(seconds=self.seconds, cpu_seconds=math.ceil(self.seconds) + 1))
        if done.exit_code == 0 and passed in done.stdout.splitlines():
            return accepted("tests pass")
        said = (done.stderr.strip() or "the tests were not reached").splitlines()[-1]
        return rejected(f"stopped: {done.stopped}" if done.stopped else said)
