"""Numbers that are written as words are read, and words that only look like numbers are not."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tierwise.verifiers.number_words import numbers_in_words


def found(text: str) -> list[Fraction | None]:
    return [value for _, _, value in numbers_in_words(text)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("twelve", 12),
        ("twenty-five", 25),
        ("three hundred and twelve", 312),
        ("one hundred and five", 105),
        ("two thousand three hundred", 2300),
        ("four million", 4_000_000),
        ("neunundzwanzig", 29),
        ("dreihundertzwölf", 312),
        ("quatre-vingt-dix-sept", 97),
        ("soixante et onze", 71),
        ("veinticuatro", 24),
        ("treinta y dos", 32),
        ("vinte e cinco", 25),
        ("ventiquattro", 24),
        ("drieëntwintig", 23),
        ("tjugofem", 25),
        ("dwadzieścia pięć", 25),
        ("двадцать семь", 27),
        ("yirmi beş", 25),
        ("dua puluh lima", 25),
        ("十五个", 15),
        ("三百二十个", 320),
        ("two-thirds", Fraction(2, 3)),
        ("zwei Drittel", None),
    ],
)
def test_a_number_in_words_is_read_as_a_whole(text, value):
    assert found(text) == [value]


@pytest.mark.parametrize(
    "text", ["the only one", "once more", "due tomorrow", "un homme", "一共", "Dos alunos", "a neuf voiture", "sein"]
)
def test_a_word_that_means_something_else_as_often_is_no_number(text):
    assert not found(text)
