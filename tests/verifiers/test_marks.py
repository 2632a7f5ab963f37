"""Where an answer says what its result is: the quick search finds what the plain patterns find."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from tierwise.verifiers import marks

PIECES = [
    *marks._BEGINNINGS,
    *marks._OTHER_BEGINNINGS,
    *("The final answer is 4", "FINAL ANSWERS:", "correct\n answer = 7", "réponse finale est", "Lösung", "Antwort: B"),
    *(
        "最终答案是 42",
        "정답은 3",
        "답이",
        "الجواب هو 5",
        "odpowiedź to",
        "cevap şudur",
        "yanıt: 9",
        "YANIT: 9",
        "câu trả lời là",
    ),
    *(
        " is ",
        ": ",
        "= ",
        "\n",
        " ",
        "s",
        "är 3",
        "\\boxed{4}",
        "####",
        "不是",
        "would be",
        "İ",
        "ı",
        "ſ",
        "ϖ",
        "ᲀ",
        "ß",
        "Σ",
    ),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join)


@given(text=texts, upper=st.booleans())
def test_phrases_are_those_of_the_plain_pattern(text, upper):
    text = text.upper() if upper else text
    quick, plain = marks.phrases(text), marks._PHRASE.finditer(text)
    assert [(one.span(), one.groups()) for one in quick] == [(one.span(), one.groups()) for one in plain]


def test_no_character_that_a_pattern_takes_for_one_of_a_beginning_is_missed():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    beginnings = [*marks._BEGINNINGS, *marks._OTHER_BEGINNINGS]
    letters = {letter for beginning in beginnings for letter in beginning}
    for letter in letters:
        for found in re.findall(re.escape(letter), every, re.IGNORECASE):
            assert marks._RARE.match(found) or marks.folded(found) == letter, (letter, found)
