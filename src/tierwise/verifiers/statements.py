"""The statements of an answer in prose, and what each is for: a result, a remark, an explanation, a retraction.

Everything runs in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tierwise.verifiers import statement_words as words
from tierwise.verifiers.effort import spend
from tierwise.verifiers.quantity_words import NUMBERED

Purpose = Literal["says", "concludes", "retracts", "explains", "elaborates", "remarks", "asks"]

LONGEST = 400
"""Characters at the beginning of a statement in which the words that tell its purpose are looked for."""

_STATEMENT_STEPS = 2

_END = re.compile(r"(?:[.!?…]+[\"')\]*_]*|;)(?=\s)(?!\s*[=≈])\s*|[!?]+(?=[぀-ヿ一-鿿가-힣])|\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:i\.?e|e\.?g|p\.?s|approx|ca|vs|etc|no|nos|nr|mr|mrs|ms|dr|st|fig|eq|p\.?m|a\.?m|d\.?p|s\.?f"
    r"|z\.\s?B|d\.\s?h|bzw|usw|ggf|rd"
    r"|u\.\s?a|max|min|avg|p\.\s?ej|aprox|c\.-?à-?d|env|т\.\s?е|напр|ок|руб|стр|tzn|ok|np|m\.in|zł|ha|Rs"
    r"|Mio|Mrd|Std|Min)"
    r")\.$",
    re.IGNORECASE,
)


def _begins(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_RETRACTS = _begins(words.RETRACTS)
_REASON = re.compile(r"(?:から|ため|ので)(?:です|だ)?[.!]*$|때문(?:입니다|이다|이에요)[.!]*$")
_HYPOTHETICAL = re.compile(
    r"\b(?:would|wäre[n]?|würde[n]?|hätte[n]?|serai(?:t|ent)|serían?|seriam?|sarebbe(?:ro)?|zouden?|skulle|byłoby|бы)\b",
    re.IGNORECASE,
)
_REMARKS = _begins(words.REMARKS)
_EXPLAINS = _begins(words.EXPLAINS)
_CONCLUDES = _begins(words.CONCLUDES)
_ELABORATES = _begins(words.ELABORATES)
_STRONG = _begins(words.STRONG)


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence, or a line, of an answer.

    Args:
        start, end: where it stands.
        purpose: what it is for, by its first words.
        strong: whether it begins as one does that says a result: `So …`, `It's …`, `The total is …`.
        hypothetical: whether it says what would be: `The area would be 9`.
    """

    start: int
    end: int
    purpose: Purpose
    strong: bool
    hypothetical: bool


def statements(text: str) -> list[Statement]:
    """The statements of a text in their order."""
    return [_statement(text, start, end) for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    steps = {int(step[1]) for step in NUMBERED.finditer(text)}
    for end in _END.finditer(text):
        stop = end.start() + len(end[0].rstrip())
        if (
            end[0].startswith(".")
            and "\n" not in end[0]
            and (_ABBREVIATION.search(text[max(start, stop - 12) : stop]) or _is_step(text[start:stop], steps))
        ):
            continue
        if text[start:stop].strip():
            yield start, stop
        start = end.end()
    if text[start:].strip():
        yield start, len(text)


def _is_step(said: str, steps: set[int]) -> bool:
    number = said.strip(" \t\n*_#>(.")
    return (
        number.isdecimal() and len(number) < 4 and (number == "1" or bool({int(number) - 1, int(number) + 1} & steps))
    )


def _statement(text: str, start: int, end: int) -> Statement:
    spend(_STATEMENT_STEPS)
    opening = words.OPENING.match(text, start, end)
    begin = opening.end() if opening else start
    strong = _STRONG.match(text, begin, min(end, begin + LONGEST)) is not None
    hypothetical = _HYPOTHETICAL.search(text, begin, min(end, begin + LONGEST)) is not None
    purpose = _purpose(text, start, begin, end)
    return Statement(start, end, purpose, strong or purpose == "concludes", hypothetical)


def _purpose(text: str, start: int, begin: int, end: int) -> Purpose:
    stop = min(end, begin + LONGEST)
    if text[begin:end].rstrip("*_)\"' ").endswith("?") and re.search(r"[^\W\d_]{2}", text[begin:end]):
        return "asks"
    if _RETRACTS.match(text, begin, stop):
        return "retracts"
    if _EXPLAINS.match(text, begin, stop) or _REASON.search(text[max(begin, end - 12) : end]):
        return "explains"
    if _REMARKS.match(text, begin, stop) and not (text.startswith("note", begin) and "=" in text[begin:end]):
        return "remarks"
    if words.UNASKED.search(text, begin, stop):
        return "remarks"
    if _CONCLUDES.match(text, begin, stop):
        return "concludes"
    return "elaborates" if _is_item(text, start) or _ELABORATES.match(text, begin, stop) else "says"


def _is_item(text: str, start: int) -> bool:
    """Whether a line is an item of a list with bullets."""
    return re.match(r"\s*[-•*+]\s+\S", text[start : start + 40]) is not None
