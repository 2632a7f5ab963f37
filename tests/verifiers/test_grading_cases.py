"""Every case of grading_cases.jsonl and held_out_cases.jsonl, whose verdicts were set by hand, is graded so.

See benchmarks/grading.py.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from tierwise.spec.call import Completion
from tierwise.verifiers.math_verify import PACKAGE
from tierwise.verifiers.packages import is_installed
from tierwise.verifiers.sandbox import backend
from tierwise.workloads.checks import CheckChoice


def cases_of(name):
    return [json.loads(line) for line in Path(__file__).with_name(name).read_text("utf-8").splitlines()]


CASES = cases_of("grading_cases.jsonl")
HELD_OUT = cases_of("held_out_cases.jsonl")


def _marked(case):
    """A case; one that is known to be graded wrongly is expected to fail, so that a correction is noticed."""
    marks = [pytest.mark.xfail(strict=True, reason="graded wrongly so far")] if case.get("open") else []
    return pytest.param(case, id=f"{case['kind']}-{case['answer'][:40]}", marks=marks)


@pytest.mark.parametrize("case", [_marked(case) for case in (*CASES, *HELD_OUT)])
def test_an_answer_is_graded_as_a_person_would(case):
    check = msgspec.convert(case["check"], CheckChoice)
    if ("\\log" in case["answer"] or "{e^" in case["answer"]) and (
        not is_installed(PACKAGE) or backend().name == "none"
    ):
        pytest.skip("math-verify and a sandbox are needed for logarithms and powers of e")
    verdict = asyncio.run(check.member.verify(Completion(text=case["answer"])))
    assert verdict.ok is case["correct"], verdict.why


def test_there_are_cases_of_every_kind_in_many_languages():
    assert {case["kind"] for case in CASES} == {"number", "choice", "exact", "json", "thinking"}
    assert len({case["language"] for case in CASES}) >= 15
    assert len(CASES) >= 300
