"""A text falls into statements, and the first words of each tell what it is for."""

from __future__ import annotations

import pytest

from tierwise.verifiers.statements import statements


def said(text: str) -> list[str]:
    return [text[one.start : one.end] for one in statements(text)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("It is 3. It is 4.", ["It is 3.", "It is 4."]),
        ("We add 3, i.e. 4, approx. 5 in all.", ["We add 3, i.e. 4, approx. 5 in all."]),
        ("1. Add.\n2. Stop.", ["1. Add.", "2. Stop."]),
        ("42. There are 6 rows.", ["42.", "There are 6 rows."]),
        ("10! = 3628800", ["10! = 3628800"]),
        ("Not 12; 15.", ["Not 12;", "15."]),
        ("3.5 and 4.5", ["3.5 and 4.5"]),
        ("", []),
    ],
)
def test_a_statement_ends_where_a_sentence_or_a_line_ends(text, parts):
    assert said(text) == parts


@pytest.mark.parametrize(
    ("text", "purpose"),
    [
        ("So it is 3.", "concludes"),
        ("**Therefore** 3.", "concludes"),
        ("Also sind es 3.", "concludes"),
        ("所以是3。", "concludes"),
        ("Wait, it is 3.", "retracts"),
        ("Pardon, c'est 3.", "retracts"),
        ("Because of 3.", "explains"),
        ("**Check:** 3", "explains"),
        ("Probe: 3", "explains"),
        ("Let me know about the 3.", "remarks"),
        ("Confidence: 3", "remarks"),
        ("Is it 3?", "asks"),
        ("There are 3.", "elaborates"),
        ("- 3 shirts", "elaborates"),
        ("She sells 3.", "says"),
    ],
)
def test_the_first_words_of_a_statement_tell_its_purpose(text, purpose):
    assert statements(text)[0].purpose == purpose


def test_what_would_be_is_hypothetical():
    assert [one.hypothetical for one in statements("It is 3. It would be 4.")] == [False, True]
