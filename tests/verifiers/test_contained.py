"""Graders that evaluate what a model wrote: they grade, they are contained, and they come to an end."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.spec.call import Completion
from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.verifiers.contained import LimitExceeded, run_contained
from tierwise.verifiers.math_verify import MathVerify, unreadable
from tierwise.verifiers.packages import files_of, is_installed
from tierwise.verifiers.reasoning_gym import ReasoningGym, answer_in
from tierwise.verifiers.sandbox import backend


@pytest.fixture
def sandbox(only):
    assert backend().name == only


@pytest.fixture
def math_verify(sandbox):
    if not is_installed("math-verify"):
        pytest.skip("tierwise[workloads] is not installed")


@pytest.fixture
def reasoning_gym(sandbox):
    if not is_installed("reasoning-gym"):
        pytest.skip("tierwise[workloads] is not installed")


def verdict(check, text):
    return asyncio.run(check.verify(Completion(text=text)))


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("right", "said", "ok"),
    [
        (r"\frac{1}{2}", "so it is $0.5$", True),
        (r"x^2 + 2x + 1", r"\boxed{(x+1)^2}", True),
        (r"\{1, 2\}", r"\boxed{\{2, 1\}}", True),
        (r"\sqrt{2}", r"\boxed{1.5}", False),
        (r"\sqrt{2}", "I do not know", False),
    ],
)
def test_mathematics_is_compared_as_such(math_verify, right, said, ok):
    assert verdict(MathVerify(equals=right), said).ok is ok


@pytest.mark.parametrize(
    ("right", "said", "ok"),
    [("42", r"\boxed{42}", True), ("$x+1$", r"\boxed{x+1}", True), ("042", "#### 42", True), ("42", "#### 41", False)],
)
def test_what_is_plain_needs_neither_package_nor_sandbox(right, said, ok):
    assert verdict(MathVerify(equals=right), said).ok is ok


@pytest.mark.sandbox
def test_a_comparison_that_does_not_end_is_ended(math_verify):
    check = MathVerify(equals=r"\sqrt{2}", seconds=3)
    found = verdict(check, r"$9^{9^{9^{9}}} + \sqrt{3}^{7^{8^{9}}}$")
    assert not found.ok


@pytest.mark.sandbox
def test_expressions_that_cannot_be_read_are_found_in_one_run(math_verify):
    checks = [MathVerify(equals="x+1"), MathVerify(equals=r"\begin{wrong}"), MathVerify(equals="7")]
    assert asyncio.run(unreadable(checks)) == [1]


@pytest.mark.sandbox
def test_a_right_answer_that_cannot_be_read_is_nobodys_failure(math_verify):
    with pytest.raises(TierwiseError, match="cannot be parsed as an expression"):
        verdict(MathVerify(equals=r"\begin{wrong}"), "7")


@pytest.mark.parametrize("equals", ["", " $ $ "])
def test_an_empty_expression_is_no_check(equals):
    with pytest.raises(ValueError, match="is empty"):
        MathVerify(equals=equals)


@pytest.mark.sandbox
def test_a_package_is_all_that_is_shown(sandbox, tmp_path):
    files = files_of("pytest")
    assert {"_pytest", "pytest", "pluggy"} <= {path.name for path in files}
    program = "import os, pluggy\nreport(sorted(os.listdir('/packages')))"
    shown = asyncio.run(run_contained(program, None, distribution="pytest", extra="dev", seconds=20))
    assert shown == sorted(path.name for path in files)
    assert "tierwise" not in shown


@pytest.mark.sandbox
def test_a_grader_that_breaks_says_how(sandbox):
    with pytest.raises(TierwiseError, match="pytest failed: ZeroDivisionError"):
        asyncio.run(run_contained("1 / 0", None, distribution="pytest", extra="dev", seconds=20))


@pytest.mark.sandbox
def test_a_grader_that_runs_out_of_memory_is_stopped_and_not_broken(sandbox):
    with pytest.raises(LimitExceeded, match="stopped: "):
        asyncio.run(
            run_contained("[bytes(2**26) for _ in range(64)]", None, distribution="pytest", extra="dev", seconds=20)
        )


def test_a_package_that_is_missing_says_how_to_get_it():
    with pytest.raises(
        SpecError, match=r"the package no-such-thing is not installed; install it with: pip install 'tierwise\[x\]'"
    ):
        asyncio.run(run_contained("", None, distribution="no-such-thing", extra="x", seconds=1))


COUNTDOWN = {
    "generator": "countdown",
    "answer": "1 + 2 + 3",
    "scorer": "reasoning_gym.games.countdown:CountdownDataset:CountdownConfig",
    "entry": {"metadata": {"numbers": [1, 2, 3], "target": 6, "expression": "1 + 2 + 3"}},
}


@pytest.mark.sandbox
def test_another_right_answer_than_the_generators_own_passes(reasoning_gym):
    assert verdict(ReasoningGym(**COUNTDOWN), "<answer>3 * 2 * 1</answer>").ok
    assert not verdict(ReasoningGym(**COUNTDOWN), "<answer>3 * 2 + 1</answer>").ok


@pytest.mark.sandbox
def test_an_answer_that_is_code_reaches_nothing(reasoning_gym, tmp_path):
    """`n_queens` evaluates what a model wrote."""
    hit = tmp_path / "hit"
    check = ReasoningGym(
        generator="n_queens",
        scorer="reasoning_gym.games.n_queens:NQueensDataset:NQueensConfig",
        entry={"metadata": {"solutions": [[["Q"]]], "valid_answers": ["Q"]}},
    )
    assert not verdict(check, f"<answer>[[__import__('pathlib').Path({str(hit)!r}).write_text('x')]]</answer>").ok
    assert not hit.exists()


def test_a_puzzle_with_one_answer_needs_neither_package_nor_sandbox():
    check = ReasoningGym(generator="gcd", answer="7")
    assert verdict(check, "it is <answer> 7 </answer>").ok
    assert verdict(check, "<answer>8</answer>").why == "'8' instead of '7'"
    assert verdict(check, "<think>7</think>").why == "says nothing"


def test_a_puzzle_that_nothing_can_solve_is_no_check():
    with pytest.raises(ValueError, match="give at least one"):
        ReasoningGym(generator="gcd")


@pytest.mark.parametrize(
    ("said", "answer"),
    [("<answer>1</answer> or <ANSWER>2\n3</ANSWER>", "2\n3"), ("The answer is 5.", "5"), ("just 6", "just 6")],
)
def test_the_answer_is_what_is_tagged_or_marked_or_all(said, answer):
    assert answer_in(said) == answer
