"""Answers that are Python code, judged by running tests in a sandbox.

The answer runs in one process and the tests in another, which calls the answer's functions and gets plain data back:
numbers, texts, lists, dicts. The answer's process never holds the tests, nor the pipe that says whether they passed,
and what it returns cannot claim to equal anything. Some tests need more: an operator of the answer's own class, an
argument that was changed, or one process for both. The verdict says so then: such a pass is not tamper-proof.

What no design of this kind can hold: an answer that knows the inputs of a public test suite by heart, and one that is
right on all inputs that the tests try and wrong elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from tierwise.spec import limits
from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.check_pool import CheckLimitExceeded, pool
from tierwise.verifiers.code.blocks import code_in
from tierwise.verifiers.code.calls import TestPlan, plan_of
from tierwise.verifiers.code.program import Tested, apart, together, without_addresses
from tierwise.verifiers.code.source import compiled

SMALL = 4096
"""Characters of tests, or of an answer, that are read here at most; longer ones are read in the check pool."""

_MOST_PLANS = 256
_plans: dict[tuple[str, str | None, str], TestPlan] = {}
"""Plans by tests, entry point and setup. One of 20 KiB of tests takes a quarter of a second."""


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
        if (size := len(self.tests) + len(self.setup)) > limits.TESTS_BYTES:
            raise ValueError(f"tests: {size} characters are too many; at most {limits.TESTS_BYTES} are run")
        for name in ("setup", "tests"):
            try:
                compiled(getattr(self, name), name)
            except (RecursionError, MemoryError) as error:
                raise ValueError(f"{name}: do not compile: they are nested too deeply") from error
            except (SyntaxError, ValueError, OverflowError) as error:
                raise ValueError(f"{name}: do not compile: {error}") from error
        self._plan()

    @property
    def _given(self) -> tuple[str, str | None, str]:
        return self.tests or "", self.entry_point, self.setup

    def _plan(self) -> TestPlan:
        return _plans.get(self._given) or _kept(self._given, plan_of(*self._given))

    @property
    def is_ready(self) -> bool:
        return self.tests is not None

    def key(self, completion: Completion) -> str | None:
        return code_in(spoken(completion)) or None

    async def _read(self) -> TestPlan:
        given = self._given
        if given in _plans or len(given[0]) + len(self.setup) <= SMALL:
            return self._plan()
        found = await pool.call(plan_as_json, *given, seconds=limits.CODE_CPU_SECONDS)
        return _kept(given, msgspec.convert(found, TestPlan))

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


def _kept(given: tuple[str, str | None, str], plan: TestPlan) -> TestPlan:
    if len(_plans) >= _MOST_PLANS:
        del _plans[next(iter(_plans))]
    _plans[given] = plan
    return plan


async def read_code(text: str, names: Sequence[str] = ()) -> str:
    """The program of an answer, whose text is parsed for it.

    Raises:
        CheckLimitExceeded: it is too much work.
    """
    if len(text) <= SMALL:
        return code_in(text, frozenset(names))
    found = await pool.call(code_in, text, frozenset(names), seconds=limits.CODE_CPU_SECONDS)
    return found if isinstance(found, str) else ""


def plan_as_json(tests: str, entry_point: str | None, setup: str) -> Any:
    """`plan_of`, in a process of the pool."""
    return msgspec.to_builtins(plan_of(tests, entry_point, setup))
