"""Thinking that a server left in the text is no part of what the model said."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.catalog.families import families
from tierwise.spec.thinking import MARKS, without_thinking

HARMONY = "<|channel|>analysis<|message|>5?<|end|><|start|>assistant"


@pytest.mark.parametrize(("begin", "end"), MARKS)
@pytest.mark.parametrize("inside", ["is it 5?", "\nis it 5?\n", "", "```\n5\n", "</thin 5 < 6 [5]"])
def test_what_stands_between_the_marks_is_left_out(begin, end, inside):
    assert without_thinking(f"{begin}{inside}{end}\n\n4") == "4"
    assert without_thinking(f"{begin.upper()}{inside}{end.upper()}4") == "4"
    assert without_thinking(f"{begin}{inside}") == ""
    assert without_thinking(f"2 + 2 = {begin}{inside}{end}4") == "2 + 2 = 4"


@pytest.mark.parametrize(("begin", "end"), MARKS)
def test_a_closing_mark_alone_ends_thinking_that_the_template_opened(begin, end):
    assert without_thinking(f"is it 5?{end}\n4") == "4"
    assert without_thinking(f"{begin}a {begin} b {end} c {end}4") == "4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HARMONY + "<|channel|>final<|message|>4<|return|>", "4"),
        (HARMONY + "<|channel|>final<|message|>4", "4"),
        (HARMONY + "<|channel|>final <|constrain|>json<|message|>{}<|return|>", "{}"),
        (HARMONY + "<|channel|>commentary<|message|>I look it up<|end|>", ""),
        ("<|channel|>analysis<|message|>It is 5", ""),
        ("<|start|>assistant<|channel|>analysis<|message|>It is 5<|end|>", ""),
        ("analysisWe need a sum. 5?assistantfinal4", "4"),
        ("analysis of variance gives 4", "analysis of variance gives 4"),
        ("The analysis says 4. assistantfinal", "The analysis says 4. assistantfinal"),
    ],
)
def test_of_the_harmony_format_only_the_final_channel_is_said(text, said):
    assert without_thinking(text) == said


@pytest.mark.parametrize(
    "text",
    [
        '```python\nre.sub(r"<think>.*?</think>", "", text)\n```',
        "Use `<think>` and `</think>` for it",
        'The mark "<think>" opens it',
        "```xml\n<thinking>4</thinking>\n```",
        "I think 4 < 5",
        "[THINKING] of 4",
    ],
)
def test_marks_that_are_quoted_or_code_are_text(text):
    assert without_thinking(text) == text


def test_every_family_of_the_catalog_has_its_marks_in_the_table():
    marks = {family.thinking.marks for family in families().values() if family.thinking.on is not None}
    assert marks <= set(MARKS), "a family that can think names its marks, and spec/thinking.py has them"


@given(
    st.lists(
        st.sampled_from([*(mark for pair in MARKS for mark in pair), "```", "4", " ", "`", "<|channel|>"]), max_size=30
    )
)
def test_no_text_raises_and_what_is_left_is_part_of_it(parts):
    assert without_thinking("".join(parts)) is not None


@pytest.mark.parametrize(
    "unit", ["<think>", "</think>", "```", "<|channel|>", "<|channel|>final<|message|>", "analysis "]
)
def test_it_takes_time_in_proportion_to_the_text(unit):
    began = time.process_time()
    without_thinking(unit * (200_000 // len(unit)))
    assert time.process_time() - began < 3
