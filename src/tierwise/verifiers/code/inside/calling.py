"""Calls what tests only define; in the process of the tests, whichever that is."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def imported(name: str) -> Any:
    """A module by its dotted name."""
    __import__(name)
    return sys.modules[name]


def call_tests(space: dict[str, Any], plan: dict[str, Any]) -> None:
    """Call what the tests only define: functions `test_*`, `check(candidate)` and test cases."""
    for name in plan["functions"]:
        result = space[name]()
        if type(result).__name__ == "coroutine":
            imported("asyncio").run(result)
    if plan["check"]:
        space["check"](space[plan["check"]])
    for name in plan["classes"]:
        one = space[name]
        for method in [method for method in dir(one) if method.startswith("test")]:
            instance = one()
            getattr(instance, "setup_method", lambda *_: None)()
            getattr(instance, method)()
            getattr(instance, "teardown_method", lambda *_: None)()
    if plan["cases"]:
        run_cases([space[name] for name in plan["cases"]])


def run_cases(cases: list[Any]) -> None:
    """Run the tests of `unittest`; raises AssertionError unless at least one ran and none failed."""
    unittest = imported("unittest")
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in cases)
    result = unittest.TestResult()
    suite.run(result)
    for _, trace in (*result.errors, *result.failures):
        raise AssertionError(trace.strip().splitlines()[-1])
    if result.unexpectedSuccesses or result.testsRun == len(result.skipped):
        raise AssertionError("no test of unittest has run")
