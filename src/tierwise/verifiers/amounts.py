"""The numbers of a running text: where each stands, whether it can be read as a whole, and what is joined to it."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, replace

from tierwise.verifiers import quantity_words as words
from tierwise.verifiers.effort import spend
from tierwise.verifiers.expression import Decimal, NotPlain, Reader, Value
from tierwise.verifiers.number_words import numbers_in_words
from tierwise.verifiers.plain import plain, without_layout

_ITEM_STEPS = 10


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in a text.

    Args:
        start, end: where it stands.
        value: None if it cannot be read as a whole.
        also: other readings of the same: 50 % is 0.5, and `10/3 ≈ 3.33` is both.
        label: whether it numbers a step or a line, rather than being an amount.
        negated: whether the text says that it is not this one.
        spelled: whether it is written as words.
        formula: the LaTeX that it stands in, in a box or between dollar signs.
    """

    start: int
    end: int
    value: Value | None
    also: tuple[Value, ...] = ()
    label: bool = False
    negated: bool = False
    formula: str = ""
    spelled: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        return () if self.value is None else (self.value, *self.also)

    def unreadable(self) -> Quantity:
        return replace(self, value=None, also=(), formula="")


def prepared(text: str) -> str:
    """The text as this module reads it."""
    return (
        words.STRUCK.sub(" ", without_layout(plain(text)))
        .replace("{,}", ",")
        .replace("\\dfrac", "\\frac")
        .replace("^\\circ", "°")
        .replace("^{\\circ}", "°")
    )


def whole(said: str, decimal: Decimal) -> tuple[Value | None, tuple[Value, ...]] | None:
    """The number that a text consists of, with its unit; None if it is anything else."""
    said = said.strip().strip("*_`").strip()
    if segment := words.SEGMENT.fullmatch(said):
        said = next(part for part in segment.groups() if part is not None)
    said = (
        said.strip().rstrip(".").strip("$ ")
        if not said.startswith("$") or said.endswith("$")
        else said.strip().rstrip(".")
    )
    if said.count("|") not in (0, 2) or re.search(r"[<>≤≥≠±]|\\(?:[lg]eq?|neq?|pm|mp|in|infty)(?![A-Za-z])", said):
        return None
    parts = re.split(r"(=|≈|\\approx(?![A-Za-z]))", said)
    if len(parts) > 1 and not parts[0].strip() and parts[1] != "=":
        parts = parts[2:]  # `≈ 42`
    if len(parts) > 1 and not all(_side(part) for part in parts[:-1:2]):
        return None
    last = _amount(parts[-1], decimal)
    if last is None or len(parts) < 3 or parts[-2] == "=":
        return last
    exact = _amount(parts[-3], decimal)
    return (
        last
        if exact is None or exact[0] is None
        else (exact[0], (*exact[1], *((last[0],) if last[0] is not None else ()), *last[1]))
    )


def _side(text: str) -> bool:
    return bool(text.strip()) and "," not in text


def _amount(text: str, decimal: Decimal) -> tuple[Value | None, tuple[Value, ...]] | None:
    """A number with nothing but its currency before it and its unit after it."""
    lead = re.match(
        rf"\s*([-+]?)\s*{words.CURRENCY}?\s*(?:(?:USD|EUR|GBP|Rs\.?|about|approximately|ca\."
        rf"|~)\s*)?",
        text,
    )
    assert lead is not None  # noqa: S101 - everything in it is optional
    reader = Reader(text, lead.end(), decimal=decimal, formula=True)
    if lead[0].strip() in ("-", "+", ""):
        reader.place = 0
    try:
        value = reader.sum()
    except NotPlain:
        return None
    if lead[1] == "-" and lead[0].strip() != "-":
        value = -value
    end, value, also = _scaled(text, reader.place, value)
    return (value, also) if _is_unit(text[end:]) else None


def _is_unit(text: str) -> bool:
    """Whether what follows a number is a unit, and no variable or function."""
    if not text.strip(" .!$€£¥*_`\\"):
        return True
    if not words.UNIT_TEXT.fullmatch(text):
        return False
    names = re.findall(rf"[{words.LETTER}°µμΩ]+", text)
    if any(
        word.lower() in ("and", "or", "und", "oder", "et", "ou", "to", "not", "log", "sin", "cos", "tan", "ln", "exp")
        for word in names
    ):
        return False
    first = names[0] if names else ""
    near = not text[:1].isspace()
    return not names or _is_word(first) or (not near and len(first) > 2)


def _is_word(word: str) -> bool:
    return word.lower() in words.UNITS or (
        len(word) >= 4 and any(sign in "aeiouyäöüáéíóúàèõåаеиоуыя" for sign in word.lower())
    )


MYRIAD = 4
"""The power of ten of 万."""


def _scaled(text: str, end: int, value: Value) -> tuple[int, Value, tuple[Value, ...]]:
    """With the words after it that change the number: percent, million, dozen."""
    if percent := words.PERCENT.match(text, end):
        return percent.end(), value, (value / 100,)
    for _ in range(2):  # `2 hundred thousand`, `3千万`
        if scale := words.SCALE.match(text, end):
            word = next(part for part in scale.groups() if part)
            size = words.SCALES[word.lower()]
            value, end = value * 10**size, scale.end()
            if rest := words.THOUSANDS.match(text, end) if size == MYRIAD else None:  # `2万5千`
                value, end = value + 1000 * int(rest[1]), rest.end()
        elif dozen := words.DOZEN.match(text, end):
            value, end = value * 12, dozen.end()
    return end, value, ()


def amounts(text: str, decimal: Decimal) -> list[Quantity]:
    """The numbers of a text in order. Dates, names such as `x2` or `COVID-19`, and exponents of units are none."""
    found: list[Quantity] = []
    spend(_ITEM_STEPS)
    text = words.BOLD.sub(r"``\1``", text)  # no sign of a power
    steps = {int(step[1]) for step in words.NUMBERED.finditer(text)}
    segments = {one.start(): one for one in words.SEGMENT.finditer(text)}
    inside = sorted((one.start(), one.end()) for one in segments.values())
    place, segment_at = 0, 0
    while start := words.START.search(text, place):
        begin = start.start()
        spend(_ITEM_STEPS)
        while segment_at < len(inside) and inside[segment_at][1] <= begin:
            segment_at += 1
        if segment_at < len(inside) and inside[segment_at][0] < begin:
            item, place = _of_segment(text, segments[inside[segment_at][0]], decimal)
        else:
            item, place = _item(text, begin, decimal, steps)
        if item is not None:
            found.append(item)
    return _with_words(text, found)


def _with_words(text: str, found: list[Quantity]) -> list[Quantity]:
    """The numbers with those that are written as words and not in digits beside them: `twelve (12)`."""
    taken = [(item.start, item.end) for item in found]
    spelled = []
    for start, end, value in numbers_in_words(text):
        place = bisect_left(taken, (start, end))
        before = taken[place - 1][1] if place else -1
        after = taken[place][0] if place < len(taken) else len(text) + 9
        if start >= before and end <= after and not words.AGAIN_IN_DIGITS.match(text, end):
            outside = text[max(0, start - 40) : start]
            said = value
            if value is not None and (named := words.NEGATIVE.search(outside)):
                said, outside = -value, outside[: named.start()]
            negated = words.NOT.search(outside) or words.NOT_AFTER.match(text, end)
            label = words.LABEL.search(outside) or words.ORDINAL.match(text, end)
            spelled.append(
                Quantity(start, end, said, label=label is not None, negated=negated is not None, spelled=True)
            )
    return sorted([*found, *spelled], key=lambda item: item.start) if spelled else found


def _of_segment(text: str, segment: re.Match[str], decimal: Decimal) -> tuple[Quantity | None, int]:
    r"""The number that a formula `$…$` is or ends in."""
    content = next(part for part in segment.groups() if part is not None)
    said = whole(content, decimal)
    value, also = said if said is not None else (None, ())
    negated = words.NOT.search(text[max(0, segment.start() - 30) : segment.start()]) is not None
    if said is None and not _has_number(content):
        return None, segment.end()
    end = segment.end()
    if value is not None and not also:
        end, value, also = _scaled(text, end, value)
    return Quantity(segment.start(), end, value, also, negated=negated, formula=content), end


def _has_number(content: str) -> bool:
    """Whether a formula says a number at all: `x_1` does not."""
    return re.search(rf"(?<![{words.LETTER}_^{{\d])[-+]?\d|=|\\frac|\\sqrt", content) is not None


def _item(text: str, begin: int, decimal: Decimal, steps: set[int]) -> tuple[Quantity | None, int]:
    """The number that begins here, and where to go on."""
    before = text[max(0, begin - 40) : begin]
    if date := words.DATE.match(text, begin):
        return None, date.end()
    if text[begin].isdigit() and words.IDENTIFIER.search(before) and not words.CURRENCY_CODE.search(before):
        rest = words.REST.match(text, begin)
        return None, max(begin + 1, rest.end() if rest else 0)
    lead, minus = _lead(before)
    first = begin - lead
    opened = before[: len(before) - lead].endswith(("(", "{")) and words.GROUP.match(text, begin) is not None
    try:
        reader, said, is_group = _read(text, begin, first, opened, decimal)
    except NotPlain:
        return Quantity(first, begin + 1, None), max(begin + 1, _tail(text, begin))
    end, value, also = _scaled(text, reader.place, -said if minus and not is_group else said)
    outside = text[max(0, first - 40) : first]
    if named := words.NEGATIVE.search(outside):
        value, also, outside = -value, tuple(-one for one in also), outside[: named.start()]
    item = Quantity(
        first + (text[first:begin].startswith(" ")),
        end,
        value,
        also,
        label=_is_label(text, begin, end, outside, steps),
        negated=words.NOT.search(outside) is not None or words.NOT_AFTER.match(text, end) is not None,
    )
    if _spoils(text, end) or words.VARIABLE.search(outside) or _is_bound(outside):
        item = item.unreadable()
        end = max(end, _tail(text, end))
    return item, end


def _is_bound(before: str) -> bool:
    """Whether a number is said to be a bound of the result: `< 10`, `fewer than 10`."""
    if words.BOUND.search(before):
        return True
    return words.THAN.search(before) is not None and words.NEGATES.search(before) is None


def _tail(text: str, place: int) -> int:
    """The end of what is written together with a number that cannot be read."""
    rest = words.TOGETHER.match(text, place)
    return rest.end() if rest else place


def _read(text: str, begin: int, first: int, opened: bool, decimal: Decimal) -> tuple[Reader, Value, bool]:
    """The expression here, and whether it is read from the bracket before it: `(3 + 4) * 2`, and not `(about 3)`."""
    if opened:
        reader = Reader(text, first - 1, decimal=decimal)
        try:
            value = reader.sum()
        except NotPlain:
            pass
        else:
            if text[reader.place - 1] != ")":
                return reader, value, True
    reader = Reader(text, begin, decimal=decimal)
    return reader, reader.sum(), False


def _lead(before: str) -> tuple[int, bool]:
    """How many characters before a number belong to it (sign, currency), and whether it is negative."""
    if spaced := words.SPACED_SIGN.search(before):
        return len(before) - spaced.start("sign"), spaced["sign"] == "-"
    lead = words.BEFORE.search(before)
    if lead is None:
        return 0, False
    sign = lead["sign"] or lead["inner"] or lead["bare"] or ""
    start = lead.start()
    if sign and lead["inner"] is None and not words.MAY_SIGN.search(before[:start]):
        return len(before) - start - 1, False
    if sign and lead[0].endswith(" ") and "$" not in lead[0]:
        return 0, False  # `- 5 apples` is an item of a list
    return len(before) - start, sign == "-"


def _is_label(text: str, begin: int, end: int, outside: str, steps: set[int]) -> bool:
    """Whether a number counts something rather than being an amount: a step, a list item in order, a place, digits."""
    if words.LABEL.search(outside) or words.ORDINAL.match(text, end):
        return True
    line = outside.rpartition("\n")[2]
    starts = not line.strip(" \t#*_>`") and (len(outside) < 40 or "\n" in outside)
    if not starts or not text[begin:end].isdecimal() or not re.match(r"[.)][*`]*\s+\S|:", text[end : end + 9]):
        return False
    number = int(text[begin:end])
    return number == 1 or text[end] == ")" or number - 1 in steps or number + 1 in steps


def _spoils(text: str, end: int) -> bool:
    """Whether what follows directly makes another thing of the number: a range, a ratio, a variable, a base."""
    if words.TIGHT.match(text, end) or words.OPERATION.match(text, end):
        return True
    word = words.WORD_AFTER.match(text, end)
    if word is None:
        return False
    if word[0].startswith("\\") or (len(word[1]) == 1 and word[1].lower() not in words.UNITS):
        return True
    return text[word.end() : word.end() + 1].isdigit() and word[1][-1] not in "m°" and not word[1].isupper()


def _is_time(text: str, between: str, following: Quantity) -> bool:
    """Whether `in` and a number say when, and no share: `in 2019`, `in 3 years`, but `1 in 6`."""
    if between.strip() not in ("in", "en", "im") or following.value is None:
        return False
    return 1500 <= following.value <= 2200 or words.TIME.match(text, following.end) is not None


def is_joined(text: str, item: Quantity, following: Quantity) -> bool:
    """Whether two numbers are one answer: alternatives, a range, a list, an operation, or parts such as hours and
    minutes.
    """
    between = text[item.end : following.start]
    if (words.OPERATION_WORD.match(between) and not _is_time(text, between, following)) or (
        item.also and words.SHARE_OF.match(between)
    ):
        return True
    if words.JOINED.match(between) or words.PARTS.match(between):
        return bool(item.also) == bool(following.also) or not words.UP_TO.match(between)
    return bool(words.LISTED.match(between) and words.ENDS_LIST.match(text, following.end))
