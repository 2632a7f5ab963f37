r"""The number that an answer gives: where it stands, and whether it can be read as a whole.

A number with an alternative (`3 or 4`), a range, a pair, a ratio, or an expression with a variable is not readable:
no part of it is taken for the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from tierwise.verifiers import conclusion
from tierwise.verifiers import quantity_words as words
from tierwise.verifiers.effort import spend
from tierwise.verifiers.expression import Decimal, NotPlain, Reader, Value
from tierwise.verifiers.marks import Mark, marks
from tierwise.verifiers.plain import plain, without_layout

_ITEM_STEPS = 10
LATEST = 2000
"""Characters at the end of a text without a mark in which its last number is looked for first."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number in a text.

    Args:
        start, end: where it stands.
        value: None if it cannot be read as a whole.
        also: other readings of the same: 50 % is 0.5, and `10/3 ≈ 3.33` is both.
        label: whether it numbers a step or a line, rather than being an amount.
        negated: whether the text says that it is not this one.
        formula: the LaTeX that it stands in, in a box or between dollar signs.
    """

    start: int
    end: int
    value: Value | None
    also: tuple[Value, ...] = ()
    label: bool = False
    negated: bool = False
    formula: str = ""

    @property
    def values(self) -> tuple[Value, ...]:
        return () if self.value is None else (self.value, *self.also)

    def unreadable(self) -> Quantity:
        return replace(self, value=None, also=(), formula="")


def prepared(text: str) -> str:
    """The text as this module reads it."""
    return (
        without_layout(plain(text))
        .replace("{,}", ",")
        .replace("\\dfrac", "\\frac")
        .replace("^\\circ", "°")
        .replace("^{\\circ}", "°")
    )


def quantity_in(text: str, decimal: Decimal = ".") -> Quantity | None:
    """The marked number of an answer, else its last one; with value None if that cannot be read as a whole.

    Returns None where there is none. An empty or unclosed last box is no number, whatever stands before it.
    """
    text = prepared(text)
    for mark in reversed(found := marks(text)):
        if mark.kind == "box" and mark.empty:
            return None
        if mark.kind == "box" or (mark.kind == "tag" and not mark.empty):
            return _boxed(text, mark, found, decimal)
        if not mark.empty and (quantity := _of_phrase(text, mark, decimal)) is not None:
            return quantity
    return _unmarked(text, decimal)


def _boxed(text: str, mark: Mark, found: list[Mark], decimal: Decimal) -> Quantity:
    r"""The number in a box, unless the same sentence has another box beside it: `\boxed{1} or \boxed{2}`."""
    said = whole(mark.said, decimal)
    value, also = said or (None, ())
    quantity = Quantity(mark.start, mark.start + len(mark.said), value, also, formula=mark.said)
    for other in found:
        between = text[other.start + len(other.said) : mark.start]
        if other.kind == "box" and other.start < mark.start and len(between) < 40:
            joint = between.removeprefix("}").replace("\\boxed", "").strip(" {$")
            if (words.JOINED.match(joint) or joint in (",", ";")) and whole(other.said, decimal) != said:
                return quantity.unreadable()
    return quantity


def _of_phrase(text: str, mark: Mark, decimal: Decimal) -> Quantity | None:
    """The first number after `the answer is`; after an equals sign, what it is equal to."""
    if mark.kind == "hashes":
        said = whole(mark.said, decimal) if not mark.said.rstrip().endswith(":") else None
        return None if said is None or said[0] is None else Quantity(mark.start, mark.start + len(mark.said), *said)
    line = mark.said
    if line.startswith(("- ", "+ ")) and "\n" not in text[max(0, mark.start - 3) : mark.start]:
        line = line[0] + line[2:]
    items = [item for item in _items(line, decimal) if not item.negated]
    return _chained(line, items, 0) if items else None


def _unmarked(text: str, decimal: Decimal) -> Quantity | None:
    """The number of an answer that marks none: the one that its first line is, else its last, if it says one at all."""
    if conclusion.tells_nothing(text[-LATEST:]):
        return None
    line = conclusion.first_line(text)
    said = whole(line, decimal) if line is not None and line.strip(" *_`$")[:1].isdigit() else None
    if line is not None and said is not None and said[0] is not None:
        start = text.index(line)
        return Quantity(start, start + len(line), *said)
    return _last(conclusion.without_remarks(text), decimal)


def _last(text: str, decimal: Decimal) -> Quantity | None:
    """The last number of a text; numbers of steps and lines only where there is no other."""
    cut = max(0, len(text) - LATEST)
    cut = max(cut - 100, text.rfind(" ", 0, cut) + 1) if cut else 0
    for begin in (cut, 0) if cut else (0,):
        tail = text[begin:]
        items = [item for item in _items(tail, decimal) if not item.negated]
        amounts = [item for item in items if not item.label]
        if amounts:
            return _checked_before(tail, items, items.index(_stressed(tail, amounts)))
        if items and begin == 0:
            return items[-1]
    return None


def _stressed(text: str, amounts: list[Quantity]) -> Quantity:
    """The last amount of a text, or in its line the last one in bold, or in its sentence the one that it is about."""
    last = amounts[-1]
    line = max(text.rfind("\n", 0, last.start) + 1, last.start - LATEST)
    bold = conclusion.bold_spans(text[line:])
    for item in reversed(amounts):
        if item.start < line:
            break
        if any(begin <= item.start - line and item.end - line <= end for begin, end in bold):
            return item
    for place in range(len(amounts) - 1, 0, -1):
        item, earlier = amounts[place], amounts[place - 1]
        if not conclusion.is_of_all(text[max(line, item.start - 60) : item.start]) or not conclusion.same_sentence(
            text[earlier.end : item.start]
        ):
            return item
    return amounts[0]


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


def _scaled(text: str, end: int, value: Value) -> tuple[int, Value, tuple[Value, ...]]:
    """With the words after it that change the number: percent, million, dozen."""
    if percent := words.PERCENT.match(text, end):
        return percent.end(), value, (value / 100,)
    for _ in range(2):  # `2 hundred thousand`, `3千万`
        if scale := words.SCALE.match(text, end):
            word = next(part for part in scale.groups() if part)
            value, end = value * 10 ** words.SCALES[word.lower()], scale.end()
        elif dozen := words.DOZEN.match(text, end):
            value, end = value * 12, dozen.end()
    return end, value, ()


def _items(text: str, decimal: Decimal) -> list[Quantity]:
    """The numbers of a text in order. Dates, names such as `x2` or `COVID-19`, and exponents of units are none."""
    found: list[Quantity] = []
    spend(_ITEM_STEPS)
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
            item, place = _item(text, begin, decimal)
        if item is not None:
            found.append(item)
    return found


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


def _item(text: str, begin: int, decimal: Decimal) -> tuple[Quantity | None, int]:
    """The number that begins here, and where to go on."""
    before = text[max(0, begin - 40) : begin]
    if date := words.DATE.match(text, begin):
        return None, date.end()
    if text[begin].isdigit() and words.IDENTIFIER.search(before):
        rest = words.REST.match(text, begin)
        return None, max(begin + 1, rest.end() if rest else 0)
    lead, minus = _lead(before)
    first = begin - lead
    lead, minus = _lead(before)
    opened = before[: len(before) - lead].endswith(("(", "{")) and words.GROUP.match(text, begin) is not None
    try:
        reader, said, is_group = _read(text, begin, begin - lead, opened, decimal)
    except NotPlain:
        return Quantity(first, begin + 1, None), max(begin + 1, _tail(text, begin))
    end, value, also = _scaled(text, reader.place, -said if minus and not is_group else said)
    outside = text[max(0, first - 40) : first]
    if named := words.NEGATIVE.search(outside):
        value, also, outside = -value, tuple(-one for one in also), outside[: named.start()]
    item = Quantity(
        first,
        end,
        value,
        also,
        label=_is_label(text, begin, end, outside),
        negated=words.NOT.search(outside) is not None or words.NOT_AFTER.match(text, end) is not None,
    )
    if _spoils(text, end) or words.VARIABLE.search(outside) or words.BOUND.search(outside):
        item = item.unreadable()
        end = max(end, _tail(text, end))
    return item, end


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


def _is_label(text: str, begin: int, end: int, outside: str) -> bool:
    line = outside.rpartition("\n")[2]
    starts = not line.strip(" \t#*_>") and (len(outside) < 40 or "\n" in outside)
    return bool(
        words.LABEL.search(outside)
        or (starts and text[begin:end].isdigit() and re.match(r"[.)]\**\s+\S|:", text[end : end + 9]))
    )


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


def _chained(text: str, items: list[Quantity], place: int) -> Quantity:
    """A number with those that it is equal to, unless alternatives or parts follow it."""
    item = items[place]
    while place + 1 < len(items):
        following = items[place + 1]
        between = text[item.end : following.start]
        if words.EQUAL.match(between):
            item = following
        elif item.value is not None and words.NEARLY.match(between) and following.value is not None:
            item = replace(item, end=following.end, also=(*item.also, *following.values))
        elif words.OPERATION_WORD.match(between) and (equal := _equal_after(text, items, place + 1)):
            place, item = equal - 1, items[equal]
        elif words.OPERATOR.match(between):
            if not (equal := _equal_after(text, items, place + 1)):
                return item.unreadable()
            place, item = equal - 1, items[equal]
        elif _is_joined(text, item, following) and not set(item.values) & set(following.values):
            return item.unreadable()
        else:
            break
        place += 1
    return item


def _equal_after(text: str, items: list[Quantity], place: int) -> int:
    """The place of the first number after an equals sign; 0 without one."""
    for later in range(place, len(items) - 1):
        if words.EQUAL_LATER.match(text[items[later].end : items[later + 1].start]):
            return later + 1
    return 0


def _is_joined(text: str, item: Quantity, following: Quantity) -> bool:
    """Whether two numbers are one answer: alternatives, a range, a list, an operation, or parts such as hours and
    minutes.
    """
    between = text[item.end : following.start]
    if words.OPERATION_WORD.match(between) or (item.also and words.SHARE_OF.match(between)):
        return True
    if words.JOINED.match(between) or words.PARTS.match(between):
        return bool(item.also) == bool(following.also) or not words.UP_TO.match(between)
    return bool(words.LISTED.match(between) and words.ENDS_LIST.match(text, following.end))


def _checked_before(text: str, items: list[Quantity], place: int) -> Quantity:
    """The last number, unless it is the end of a list, a range, or parts; with what it is nearly equal to. What is only
    said again in brackets (`5.5e-7 m (550 nm)`) is passed over.
    """
    while place and items[place - 1].value is not None:
        if not words.AGAIN.match(text[items[place - 1].end : items[place].start]):
            break
        place -= 1
    item = items[place]
    if place:
        earlier = items[place - 1]
        between = text[earlier.end : item.start]
        if item.value is not None and earlier.value is not None and words.NEARLY.match(between):
            return replace(item, also=(*item.also, *earlier.values))
        is_part = _is_joined(text, earlier, item) or ("\n" not in between and words.ASIDE.search(between))
        if is_part and not set(item.values) & set(earlier.values):
            return item.unreadable()
    return item


def equal_within(values: Iterable[Value], right: Fraction, tolerance: Fraction) -> bool:
    """Whether one of the readings of a number is within a tolerance of the right one."""
    return any(value == right or abs(Fraction(value) - right) <= tolerance for value in values)
