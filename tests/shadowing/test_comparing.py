"""Comparing two answers: what counts as a difference, and as a loss."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.policies import Single
from tierwise.shadowing.comparing import differ, loss_of
from tierwise.testing import solve
from tierwise.verifiers.number import Number
from tierwise.verifiers.schema import JsonSchema

WRONG, RIGHT = "It is 5.", "It is 4."


def said(text):
    answer, trace = solve(Single(), text)
    return answer, trace.passes


def differs(first, second, verifier=None):
    (one, passes), (other, others) = said(first), said(second)
    return asyncio.run(differ(one, passes, other, others, verifier))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("It is 4.", "The answer is 4", False),
        ("It is 4.", "It is 5.", True),
        ("Paris", "paris.", False),
        ("Paris", "London", True),
        ("", "", False),
        ("", "Paris", True),
    ],
)
def test_answers_differ_as_votes_do(first, second, expected):
    assert differs(first, second) is expected
    assert differs(second, first) is expected


def test_a_verifier_says_what_the_answer_is():
    assert differs("4 of 5", "4", Number(equals=4)) is differs("4", "4 of 5", Number(equals=4))
    assert not differs("so 4.0", "4", Number(equals=4))


@pytest.mark.parametrize(
    ("kind", "route", "reference", "loss"),
    [
        ("harm", RIGHT, RIGHT, 0.0),
        ("harm", WRONG, RIGHT, 1.0),
        ("harm", RIGHT, WRONG, 0.0),
        ("harm", WRONG, WRONG, 0.0),
        ("net", WRONG, RIGHT, 1.0),
        ("net", RIGHT, WRONG, 0.0),
        ("net", RIGHT, RIGHT, 0.5),
        ("net", WRONG, WRONG, 0.5),
        ("selective", WRONG, RIGHT, 1.0),
        ("selective", WRONG, WRONG, 1.0),
        ("selective", RIGHT, WRONG, 0.0),
    ],
)
def test_the_loss_is_the_one_that_was_promised(kind, route, reference, loss):
    found = asyncio.run(loss_of(said(route)[0], said(reference)[0], Number(equals=4), kind, is_kept=True))

    assert found == loss


def test_a_selective_promise_is_not_about_what_was_passed_on():
    assert asyncio.run(loss_of(said(WRONG)[0], said(RIGHT)[0], Number(equals=4), "selective", is_kept=False)) is None


@pytest.mark.parametrize("verifier", [None, Number(), JsonSchema(schema={"type": "object"})])
def test_without_something_that_tells_right_from_wrong_no_loss_is_known(verifier):
    assert asyncio.run(loss_of(said(WRONG)[0], said(RIGHT)[0], verifier, "harm", is_kept=True)) is None
