"""Answers that are Python code, judged by running tests in a sandbox.

The answer runs in one process and the tests in another, which calls the answer's functions and gets plain data back:
numbers, texts, lists, dicts. The answer's process never holds the tests, nor the pipe that says whether they passed,
and what it returns cannot claim to equal anything. Some tests need more: an operator of the answer's own class, an
argument that was changed, or one process for both. The verdict says so then: such a pass is not tamper-proof.

What no design of this kind can hold: an answer that knows the inputs of a public test suite by heart, and one that is
right on all inputs that the tests try and wrong elsewhere.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.check_pool import CheckLimitExceeded, pool
from tierwise.verifiers.code.blocks import code_in
from tierwise.verifiers.code.calls import TestPlan, plan_of
from tierwise.verifiers.code.program import Tested, apart, together, without_addresses
from tierwise.verifiers.code.source import compiled

MOST_TESTS = 256 * 1024
"""Maximum characters of tests and setup together."""

MOST_PLANS = 256
POOL_SECONDS = 10.0
SMALL = 4096
"""Characters of tests, or of an answer, that are read here at most; longer ones are read in the check pool."""

_planned = functools.lru_cache(maxsize=256)(plan_of)
_large: dict[tuple[str, str | None, str], TestPlan] = {}
"""Plans of long tests, which the pool has read."""


class PythonTests(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The answer's code passes these tests."""

    kind = "python_tests"
    decisive = True
    runs_code = True

    tests: str | None = None
    """Python that raises on failure: assertions, functions `test_…`, `check(candidate)`, or a `unittest.TestCase`. A
    tier leaves it to the request."""
    entry_point: str | None = None
    """The function of the answer that `check(candidate)` is called with."""
    setup: str = ""
    """Code that the task gives, such as imports and helpers. It runs before the answer, and before the tests."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """CPU seconds of code and tests together. A program that sleeps is stopped some seconds later."""

    def __post_init__(self) -> None:
        if self.tests is None:
            return
        if len(self.tests) + len(self.setup) > MOST_TESTS:
            size = len(self.tests) + len(self.setup)
            raise ValueError(f"tests: {size} characters are too many; at most {MOST_TESTS} are run")
        for name in ("setup", "tests"):
            try:
                compiled(getattr(self, name), name)
            except (RecursionError, MemoryError) as error:
                raise ValueError(f"{name}: do not compile: they are nested too deeply") from error
            except (SyntaxError, ValueError, OverflowError) as error:
                raise ValueError(f"{name}: do not compile: {error}") from error
        self._plan()

    def _plan(self) -> TestPlan:
        return _planned(self.tests or "", self.entry_point, self.setup)

    @property
    def is_ready(self) -> bool:
        return self.tests is not None

    def key(self, completion: Completion) -> str | None:
        return code_in(spoken(completion)) or None

    async def _read(self) -> TestPlan:
        given = self.tests or "", self.entry_point, self.setup
        if len(given[0]) + len(self.setup) <= SMALL:
            return self._plan()
        if given not in _large:
            if len(_large) >= MOST_PLANS:
                _large.clear()
            _large[given] = msgspec.convert(await pool.call(plan_as_json, *given, seconds=POOL_SECONDS), TestPlan)
        return _large[given]

    async def verify(self, completion: Completion) -> Verdict:
        if self.tests is None:
            return rejected("there are no tests to run")
        try:
            plan = await self._read()
            code = await read_code(spoken(completion), plan.names)
        except CheckLimitExceeded as error:
            return rejected(f"the code could not be read: {error}")
        given = code, self.tests, self.setup, plan, self.seconds
        reason = plan.one_process
        tested = Tested(passed=False, one_process=reason) if reason else await apart(*given)
        marks = tested.marks
        if tested.one_process:
            marks = [tested.one_process]
            tested = await together(*given)
        if not tested.passed:
            return rejected(without_addresses(tested.why))
        return accepted(f"tests pass (not tamper-proof: {'; '.join(marks)})" if marks else "tests pass")


async def read_code(text: str, names: Sequence[str] = ()) -> str:
    """The program of an answer, whose text is parsed for it.

    Raises:
        CheckLimitExceeded: it is too much work.
    """
    if len(text) <= SMALL:
        return code_in(text, frozenset(names))
    found = await pool.call(code_in, text, frozenset(names), seconds=POOL_SECONDS)
    return found if isinstance(found, str) else ""


def plan_as_json(tests: str, entry_point: str | None, setup: str) -> Any:
    """`plan_of`, in a process of the pool."""
    return msgspec.to_builtins(plan_of(tests, entry_point, setup))
