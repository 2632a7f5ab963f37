"""What a short text can cost in the server's own process: calls are counted, and not seconds."""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tierwise.spec.call import Completion
from tierwise.verifiers import Choice, Exact, Number, effort
from tierwise.verifiers.answers import answer_key
from tierwise.verifiers.effort import TooMuchWork, bounded, spend
from tierwise.verifiers.pooled import SMALL_TEXT

MOST_CALLS = 20_000
"""Calls of functions while one text is read; a typical answer takes some 500. A call takes 0.1 to 0.5 µs."""

NUMBER, COMMA = Number(equals=7), Number(equals=7, decimal=",")
LETTERS, WORDS = Choice(options=("A", "B", "C", "D")), Choice(options=("red", "blue", "A", "B", "no"))
EXACT = Exact(equals="x")
READERS = {
    "number": NUMBER.key,
    "number with a comma": COMMA.key,
    "letters": LETTERS.key,
    "words": WORDS.key,
    "exact": EXACT.key,
    **{f"vote: {how}": (lambda said, how=how: answer_key(said, how)) for how in ("auto", "number", "choice", "text")},
}

# What some pattern begins with, continues with, or backtracks over.
TOKENS = st.sampled_from(
    [
        *"([{|√∛)]}01Aaxeπ^+- \n=≈,.!?:/$*_`#\"'%é½¹",
        *("\\sqrt{", "\\frac", "\\frac{", "\\boxed{", "\\text{", "\\(", "\\)", "\\[", "\\,", "$$", "**", "```", "\n\n"),
        *("1/2", "10^", "1,000", "1 000", "million ", "dozen ", "kg", "per ", "m/s", "°", "x2", "2024-01-01", "-5"),
        *("answer", "the answer is", "Answer: ", "not ", "is ", "or ", "and ", "if ", "I ", "(A)", "B.", "option "),
        *(
            "答案",
            "选",
            "是",
            "<think>",
            "<|channel|>",
            "<answer>",
            "wait",
            "no es",
            "rules out",
            "red",
            "blue",
            "about ",
        ),
    ]
)
FEW = st.lists(TOKENS, max_size=2).map("".join)
REPEATED = st.tuples(FEW, st.lists(TOKENS, min_size=1, max_size=4).map("".join), FEW)


def long(parts: tuple[str, str, str]) -> str:
    """A text of the largest size that is read in the server: a beginning, something repeated, an end."""
    begin, middle, end = parts
    room = SMALL_TEXT - len(begin) - len(end)
    return begin + (middle * room)[:room] + end


def calls_of(read, text: str) -> int:
    """Calls of functions, those written in C included, while a text is read with bounded steps."""
    count = 0

    def seen(_frame, event, _arg) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        with suppress(TooMuchWork), bounded():
            read(Completion(text=text))
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", READERS)
@given(REPEATED)
@example(("", "√", ""))
@example(("", "½", ""))
@example(("", "(A", ""))
@example(("", "(1", ""))
@example(("", "1/2", ""))
@example(("", "选if ", ""))
@example(("", "π*", ""))
@example(("°", "\\(Answer: ", "("))
@settings(max_examples=60, deadline=None)
def test_no_short_text_makes_a_reader_call_more_than_so_many_functions(name, parts):
    assert calls_of(READERS[name], long(parts)) <= MOST_CALLS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("number", "0é" + "e" * 1015 + "$\\sqrt"),  # took 16 s: three patterns tried all ways of splitting a word
        ("number", "5 " + "kg" * 500 + " and 6"),
        ("number", "5" + "m·" * 500 + "é!"),
        ("exact", "<|channel|>" + "ab" * 500),
        ("words", "or (A" + "\\," * 500 + "#"),
        ("letters", "A" + " " * 1000 + "x"),
    ],
)
def test_no_pattern_tries_all_ways_of_splitting_a_text(name, text):
    began = time.thread_time()
    with suppress(TooMuchWork), bounded():
        READERS[name](Completion(text=text))
    assert time.thread_time() - began < 0.5  # a hundred times what it takes


@pytest.mark.parametrize("unit", ["kg", "m/s", "km per hour", "USD", "m^2", "kg·m^{-2}", "€", "miles per gallon."])
def test_a_unit_is_still_read_as_one(unit):
    assert NUMBER.key(Completion(text=rf"\boxed{{7 {unit}}}")) == "7"


def test_a_typical_answer_takes_a_part_of_the_steps():
    text = "First, 16 - 3 - 4 = 9 eggs are left. They cost $2 each, so 9 * 2 = $18.\n" * 3 + "The answer is 18."
    with bounded(effort.MOST_STEPS):
        assert NUMBER.key(Completion(text=text)) == "18"


def test_steps_are_free_where_nothing_bounds_them():
    spend(10**9)


def test_the_bound_ends_with_its_block():
    with bounded(3):
        spend(3)
        with pytest.raises(TooMuchWork):
            spend()
    spend(10**9)


def test_steps_are_counted_and_not_time():
    with bounded(1000):
        re.sub("a", "b", "a" * 1_000_000)


@pytest.mark.parametrize("text", ["(¹", "¹", "1. ¹\n2. ²", "¹. is the answer", "(²) and (³)"])
@pytest.mark.parametrize("name", READERS)
def test_digits_that_are_no_decimal_digits_are_read_by_every_reader(name, text):
    with suppress(TooMuchWork):
        READERS[name](Completion(text=text))
