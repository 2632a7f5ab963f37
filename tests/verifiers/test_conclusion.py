"""An answer in prose gives the number that its conclusion claims, or none.

Each line of conclusion_cases.jsonl is an answer with the number that a reader takes it to give; null for none.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.verifiers.quantity import quantity_in

LINES = Path(__file__).with_name("conclusion_cases.jsonl").read_text("utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]
NUMBERS = st.integers(11, 999)


def value(text: str, **settings: str) -> object:
    found = quantity_in(text, **settings)
    return None if found is None else found.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["answer"][:60])
def test_an_answer_gives_the_number_that_it_concludes(case):
    found = quantity_in(case["answer"], case.get("decimal", "."))
    values = () if found is None else found.values
    if case["number"] is None:
        assert not values
    else:
        assert any(math.isclose(float(one), case["number"], rel_tol=1e-9) for one in values), values


@given(right=NUMBERS, other=NUMBERS)
@pytest.mark.parametrize(
    "text",
    [
        "It is {right}, not {other}.",
        "It isn't {other}, it's {right}.",
        "You might think {other}, but it's actually {right}.",
        "{other}. Wait, that's wrong. It's {right}.",
        "It's {right} because there are {other} of them.",
        "She needs {right} chairs for the {other} guests.",
        "After {other} days she has {right} left.",
        "Of the {other} pupils, {right} passed.",
        "She has {right} apples, {other} more than Tom.",
        "So it's {right}.\n\nLet me know if you want {other} more examples.",
        "The total is {right}.\n\nCheck: {right} - {other} is what we began with.",
        "Es sind nicht {other}, sondern {right}.",
        "Ce n'est pas {other}, c'est {right}.",
        "No son {other}, sino {right}.",
        "不是{other}，而是{right}。",
        "{other}ではなく{right}です。",
        "Из {other} учеников сдали {right}.",
    ],
)
def test_the_other_number_of_a_text_is_never_its_result(text, right, other):
    assert value(text.format(right=right, other=other)) == right


@given(one=NUMBERS, other=NUMBERS)
@pytest.mark.parametrize(
    "text",
    [
        "It is {one} or {other}.",
        "It could be {one}, but it might also be {other}.",
        "Ann gets {one} and Bob gets {other}.",
        "It's neither {one} nor {other}.",
        "I can't say, because the problem only mentions {one} boys and {other} girls.",
    ],
)
def test_two_numbers_without_a_conclusion_are_none(text, one, other):
    if one != other:
        assert value(text.format(one=one, other=other)) is None


def test_what_is_denied_later_is_not_the_result():
    assert value("It's 12. That 12 is wrong, though.") is None


@pytest.mark.parametrize(
    "unit", ["wait ", "so 1 ", "because 1, ", "1 is ", "not 1. ", "(1 ", "**1** ", "if ", "twelve ", "a: "]
)
def test_a_long_answer_in_prose_takes_no_time(unit):
    began = time.process_time()
    quantity_in(unit * (200_000 // len(unit)))
    assert time.process_time() - began < 10


@given(st.text(alphabet="so not is 12.,:;!?()*-=\n because wait twelve", max_size=80))
def test_no_prose_raises(text):
    quantity_in(text)
