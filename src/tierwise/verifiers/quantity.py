r"""The number that an answer gives: where it stands, and whether it can be read as a whole.

A number with an alternative (`3 or 4`), a range, a pair, a ratio, or an expression with a variable is not readable:
no part of it is taken for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from tierwise.verifiers import conclusion
from tierwise.verifiers import quantity_words as words
from tierwise.verifiers.amounts import Quantity, amounts, is_joined, prepared, whole
from tierwise.verifiers.expression import Decimal, Value
from tierwise.verifiers.marks import Mark, marks
from tierwise.verifiers.statements import statements

FIRST = 600
"""Characters at the beginning of a long text without a mark that are read."""
LATEST = 3000
"""Characters at the end of a long text without a mark that are read."""
MOST = 200
"""Numbers at the end of a text without a mark that are read, and a tenth of it at its beginning."""


def quantity_in(text: str, decimal: Decimal = ".") -> Quantity | None:
    """The marked number of an answer, else the one that its text concludes; with value None if it is not readable.

    Returns None where there is none. An empty or unclosed last box is no number, whatever stands before it.
    """
    return located(text, decimal)[1]


def located(text: str, decimal: Decimal = ".") -> tuple[str, Quantity | None]:
    """The same, with the prepared text in which it stands: the whole answer, a phrase, or the read part."""
    text = prepared(text)
    for mark in reversed(found := marks(text)):
        if mark.kind == "box" and mark.empty:
            return text, None
        if mark.kind == "box" or (mark.kind == "tag" and not mark.empty):
            return text, _boxed(text, mark, found, decimal)
        if not mark.empty and (quantity := _of_phrase(text, mark, decimal)) is not None:
            return (text if mark.kind == "hashes" else _line(text, mark)), quantity
    if len(text) > FIRST + LATEST and not conclusion.tells_nothing(text[-LATEST:]):
        text = f"{text[:FIRST]}\n\n{text[-LATEST:]}"
    return text, _unmarked(text, decimal)


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
    line = _line(text, mark)
    first = statements(line)[:1]
    items = [item for item in amounts(line, decimal) if not item.negated]
    if not any(item.start < one.end for one in first for item in items):
        return None
    for kept in (
        [item for item in items if not item.label and not item.spelled],
        [one for one in items if not one.label],
    ):
        if any(item.start < first[0].end for item in kept):
            return _chained(line, kept, 0)
    return _chained(line, items, 0)


def _line(text: str, mark: Mark) -> str:
    """What follows `the answer is`, with its sign joined to the number."""
    line = mark.said
    if line.startswith(("- ", "+ ")) and "\n" not in text[max(0, mark.start - 3) : mark.start]:
        return line[0] + line[2:]
    return line


def _unmarked(text: str, decimal: Decimal) -> Quantity | None:
    """The number that an answer without a mark gives as its result; that of a step or a line where it has no other."""
    if conclusion.tells_nothing(text[-LATEST:]):
        return None
    items = amounts(text, decimal)
    if len(items) > MOST:
        items = [*items[: MOST // 10], *items[-MOST:]]
    found = conclusion.concluded(text, [_with_equal(text, items, place) for place in range(len(items))])
    if found is None:
        kept = [item for item in items if not item.negated]
        return kept[-1] if kept and all(item.label for item in kept) else None
    return found


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
        elif is_joined(text, item, following) and not set(item.values) & set(following.values):
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


def _with_equal(text: str, items: list[Quantity], place: int) -> Quantity:
    """A number with what it is nearly equal to beside it: `10/3 ≈ 3.33`."""
    item = items[place]
    for first in (place - 1, place):
        one, other = (items[first], items[first + 1]) if 0 <= first < len(items) - 1 else (item, item)
        readable = one.value is not None and other.value is not None
        if one is not other and readable and words.NEARLY.match(text[one.end : other.start]):
            item = replace(item, also=(*item.also, *(other if first == place else one).values))
    return item


def equal_within(values: Iterable[Value], right: Fraction, tolerance: Fraction) -> bool:
    """Whether one of the readings of a number is within a tolerance of the right one."""
    return any(value == right or abs(Fraction(value) - right) <= tolerance for value in values)
