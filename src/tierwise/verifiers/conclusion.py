"""Which number an answer in prose, without a mark, gives as its result.

There are two steps. The first finds the statement that gives the result. What an answer takes back (`Wait, …`) does
not count, and neither do questions, remarks around the result, and the explanation or check that follows it. Of what
remains, the last statement that claims a number gives the result, unless it only elaborates on a conclusion before it.
An answer that is a number and goes on to explain it gives that number.

The second step finds the number in the statement that is its claim. Every number has a role, by the words beside it:
what the statement arrives at (`= 42`, `so 42`, `which makes 42`), what it states (`is 42`), what it says
otherwise, and the background (`for 12 people`, `because 6 …`, `3 more than`). What is denied has none. The highest role
that occurs is the claim. Two numbers of the same role are no claim, except that the last one arrived at counts.

Where the two steps do not lead to one number, the answer has none that can be read: a wrong answer that is accepted is
worse than a correct one that is not. Everything runs in time linear in the text.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from tierwise.verifiers import quantity_words, role_words, statement_words
from tierwise.verifiers.amounts import Quantity, is_joined
from tierwise.verifiers.effort import spend
from tierwise.verifiers.statements import Statement, statements

NEAR = 120
"""Characters on each side of a number in which the words that tell its role are looked for."""
BESIDE = 60
"""The same for words that stand directly before it, such as prepositions."""
_ROLE_STEPS = 6

_CLAUSE = re.compile(
    r"[,;:(\[|]\s*|\s-+\s|\s(?:but|however|and|aber|mais|pero|mas|ma|maar|men|ale|но|а)\s(?=\D)", re.IGNORECASE
)
_SUBORDINATES = re.compile(role_words.SUBORDINATES, re.IGNORECASE)
_RESUMES = re.compile(
    rf"[,;:]\s*(?:and\s+)?{statement_words.CONCLUDES}|\b(?:then|so|therefore)\b|[-=]>|→|⇒", re.IGNORECASE
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}(?![\d:])")
_PARTICIPLE = re.compile(r"\W*(?:by\s+)?\w+ing\s", re.IGNORECASE)
_CONCLUDES = re.compile(statement_words.CONCLUDES, re.IGNORECASE)
_CONCLUDES_LATER = re.compile(
    r"\b(?:so|therefore|thus|hence|then|but|however|if|assum\w*|in\ total|also|daher|aber|donc|mais|así|pero|logo|mas"
    r"|quindi|ma|dus|maar|alltså|men|więc|ale|поэтому|но)\b|=|所以|因此|但",
    re.IGNORECASE,
)
_BARE = re.compile(
    rf"[\s*_`$#>]*(?:(?:yes|sure|ja|oui|sí|sim|sì|да|tak)[,.!:]\s*|{statement_words.STRONG}\s+)?[^\w\s]{{0,4}}\d",
    re.IGNORECASE,
)


_ITEM = re.compile(r"\s*(?:[-•*+]|\d{1,2}[.)])\s+\S")


class Role(IntEnum):
    """What a number is in its statement; the highest is the claim."""

    DENIED = 0
    BACKGROUND = 1
    SAID = 2
    STATED = 3
    CONCLUDED = 4


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a statement claims."""

    statement: Statement
    item: Quantity
    role: Role


def tells_nothing(text: str) -> bool:
    """Whether an answer begins or ends with saying that it cannot tell, and concludes nothing after that."""
    said = statements(text)
    if not said:
        return False
    first, last = said[0], said[-1]
    ends = statement_words.TELLS_NOT.search(text[last.start : last.end])
    if ends is not None and not _concludes_later(text[last.start + ends.end() : last.end]):
        return True
    begins = statement_words.TELLS_NOT.search(text[first.start : first.end])
    return begins is not None and not _concludes_later(text[first.start + begins.end() :])


def _concludes_later(text: str) -> bool:
    return _CONCLUDES_LATER.search(text) is not None


def concluded(text: str, items: Sequence[Quantity]) -> Quantity | None:
    """The number that a text gives as its result; None without one.

    Args:
        text: the text.
        items: its numbers, in order. One that cannot be read as a whole, or is one of several, is returned without
            a value.
    """
    reading = _Reading(text, items)
    claims = [claim for one in reading.kept() if (claim := reading.claim(one)) is not None]
    if not claims:
        return None
    last = _last(text, claims)
    for one in reading.said:
        if one.start >= last.statement.end and reading.denies(one, last.item):
            return last.item.unreadable()
    return last.item


class _Reading:
    """The statements of a text with the numbers in each; roles and claims are found once."""

    def __init__(self, text: str, items: Sequence[Quantity]) -> None:
        self.text = text
        self.items = items
        self.said = statements(text)
        self._starts = [item.start for item in items]
        self._roles: dict[int, Role] = {}
        self._claims: dict[int, _Claim | None] = {}

    def claim(self, one: Statement) -> _Claim | None:
        if one.start not in self._claims:
            self._claims[one.start] = _claim(self, one)
        return self._claims[one.start]

    def inside(self, one: Statement) -> list[tuple[int, Quantity]]:
        """The numbers of a statement with their places, without those that count steps."""
        places = range(bisect_left(self._starts, one.start), bisect_left(self._starts, one.end))
        return [(place, self.items[place]) for place in places if not self.items[place].label]

    def role(self, one: Statement, place: int) -> Role:
        if place not in self._roles:
            spend(_ROLE_STEPS)
            self._roles[place] = _role(self.text, one, self.items[place])
        return self._roles[place]

    def _is_heading(self, one: Statement) -> bool:
        return self.text[one.start : one.end].rstrip("*_ ").endswith(":")

    def _is_item(self, one: Statement) -> bool:
        return _ITEM.match(self.text, one.start, one.end) is not None

    def denies(self, one: Statement, said: Quantity) -> bool:
        """Whether a statement denies a number that was said before."""
        return any(
            set(item.values) & set(said.values) and self.role(one, place) is Role.DENIED
            for place, item in self.inside(one)
        )

    def kept(self) -> list[Statement]:
        """The statements that can give the result: none that was taken back, asks, remarks, or explains one before."""
        said = self.said
        for place in range(len(said) - 1, 0, -1):
            if said[place].purpose == "retracts":
                rest = said[place:]
                confirms = statement_words.CONFIRMS.search(self.text, rest[0].start, rest[-1].end)
                if any(self.inside(one) for one in rest) or not confirms:
                    said = rest
                    break
        kept: list[Statement] = []
        explains = claimed = heads = False
        for one in said:
            # A list below `Tips:` is a remark as a whole.
            heads = (one.purpose == "remarks" and (heads or self._is_heading(one))) or (heads and self._is_item(one))
            if one.purpose == "explains" and claimed:
                explains = True
            elif one.purpose == "concludes":
                explains = False
            if not explains and not heads and one.purpose not in ("asks", "remarks"):
                kept.append(one)
                claimed = claimed or self.claim(one) is not None
        return kept if claimed or any(one.purpose != "remarks" for one in said) else said


def _last(text: str, claims: list[_Claim]) -> _Claim:
    """The claim that gives the result."""
    first = claims[0]
    if len(claims) > 1 and _is_bare(text, first):
        later = [one for one in claims[1:] if one.statement.purpose == "concludes" and one.role > Role.BACKGROUND]
        differs = later and not set(later[-1].item.values) & set(first.item.values)
        return _Claim(first.statement, first.item.unreadable(), first.role) if differs else first
    for place in range(len(claims) - 1, -1, -1):
        claim = claims[place]
        earlier = claims[:place]
        if (
            claim.role is Role.BACKGROUND
            and claim.statement.purpose != "concludes"
            and any(one.role > Role.BACKGROUND for one in earlier)
        ):
            continue
        if claim.statement.hypothetical and any(one.role is Role.CONCLUDED or one.statement.strong for one in earlier):
            continue
        strong = [one for one in earlier if one.statement.strong and one.role > Role.BACKGROUND]
        if not strong or claim.role is Role.CONCLUDED or claim.statement.strong:
            return claim
        if claim.statement.purpose == "elaborates":
            continue
        if claim.role is Role.SAID and not set(claim.item.values) & set(strong[-1].item.values):
            return _Claim(claim.statement, claim.item.unreadable(), claim.role)
        return claim
    return claims[-1]


def _is_bare(text: str, claim: _Claim) -> bool:
    """Whether a text begins with a statement that is a number, at most with a unit."""
    begin, end = claim.statement.start, claim.statement.end
    said = text[begin:end]
    return (
        not re.search(r"\d", text[:begin])
        and len(text[:begin].split()) < 12
        and _BARE.match(said) is not None
        and len(said) < 60
        and not re.search(
            r"\w", re.sub(rf"^\W*{statement_words.STRONG}", "", text[begin : claim.item.start], flags=re.IGNORECASE)
        )
        and len(text[claim.item.end : end].split()) <= 3
    )


def _claim(reading: _Reading, statement: Statement) -> _Claim | None:
    """The number that a statement claims; without a value if it claims several."""
    inside = reading.inside(statement)
    roles = {place: reading.role(statement, place) for place, _ in inside}
    if any(not item.spelled and roles[place] > Role.BACKGROUND for place, item in inside):
        roles |= {place: Role.BACKGROUND for place, item in inside if item.spelled and roles[place] is Role.SAID}
    _after_colon(reading.text, inside, roles)
    kept = [(place, item) for place, item in inside if roles[place] > Role.DENIED]
    if not kept:
        return None
    bold = _bold(reading.text, statement)
    stressed = [(place, item) for place, item in kept if any(a <= item.start and item.end <= b for a, b in bold)]
    highest = max(roles[place] for place, _ in stressed or kept)
    those = [(place, item) for place, item in stressed or kept if roles[place] is highest]
    place, item = those[-1] if highest is Role.CONCLUDED else those[0]
    if highest < Role.CONCLUDED and any(not set(item.values) & set(other.values) for _, other in those):
        item = item.unreadable()
    role = max(highest, Role.STATED) if stressed else highest
    return _Claim(statement, _alone(reading.text, reading.items, place, item, roles), role)


def _after_colon(text: str, inside: list[tuple[int, Quantity]], roles: dict[int, Role]) -> None:
    """Gives the parts of a number that follow it after a colon their role: `7 pets: 3 dogs and 4 cats`."""
    whole = None
    for (place, item), (_, following) in pairwise(inside):
        if roles[place] > Role.BACKGROUND and re.match(r"[^:\d\n]{0,60}:\s", text[item.end : following.start]):
            whole = place
            break
    after = [place for place, _ in inside if whole is not None and place > whole]
    if len(after) > 1 and all(roles[place] < Role.CONCLUDED for place in after):
        roles.update((place, Role.BACKGROUND) for place in after)


def _alone(text: str, items: Sequence[Quantity], place: int, item: Quantity, roles: dict[int, Role]) -> Quantity:
    """The number, without its value if another one is joined to it or said to be possible as well."""
    for one, other in pairwise(range(max(0, place - 1), min(len(items), place + 2))):
        beside = other if one == place else one
        between = text[items[one].end : items[other].start]
        listed = roles.get(beside) is Role.BACKGROUND and quantity_words.LISTED.match(between)
        if listed or roles.get(beside, Role.DENIED) is Role.DENIED or set(items[beside].values) & set(item.values):
            continue
        if is_joined(text, items[one], items[other]) and not (
            beside == one
            and any(
                cue.search(text[max(0, item.start - NEAR) : item.start])
                for cue in (role_words.CHANGES_TO, role_words.ARRIVES_TO)
            )
        ):
            return item.unreadable()
    for other, role in roles.items():
        before = text[max(0, items[other].start - NEAR) : items[other].start]
        alone = other == place and not any(one > Role.BACKGROUND for at, one in roles.items() if at != place)
        if role > Role.DENIED and not alone and role_words.HEDGED.search(before):
            return item.unreadable()
    return item


def _bold(text: str, statement: Statement) -> list[tuple[int, int]]:
    """Where the text of a statement that is bold in Markdown begins and ends; `2**3` is none."""
    begin = max(0, statement.start - 3)
    return [
        (begin + one.start(1), begin + one.end(1))
        for one in quantity_words.BOLD.finditer(text[begin : statement.end + 3])
    ]


def _role(text: str, statement: Statement, item: Quantity) -> Role:
    begin = max(statement.start, item.start - NEAR)
    left, right = text[begin : item.start], text[item.end : min(statement.end, item.end + NEAR)]
    clause = left
    for boundary in _CLAUSE.finditer(left):
        clause = left[boundary.end() :]
    if (
        item.negated
        or role_words.DENIED.search(clause)
        or role_words.DISCLAIMED.search(clause)
        or role_words.DENIED_AFTER.match(right)
    ):
        return Role.DENIED
    if role_words.CHANGES_TO.search(left) or (
        role_words.CONCLUDED_AFTER.match(right) and not role_words.BACKGROUND_AFTER.match(right)
    ):
        return Role.CONCLUDED
    if _is_background(text, statement, item, left, right):
        return Role.BACKGROUND
    if role_words.CONCLUDED.search(left):
        return Role.CONCLUDED
    if (
        role_words.STATED.search(left[-BESIDE:])
        or role_words.CONCLUDED_BEFORE.search(left)
        or role_words.STATED_AFTER.match(right)
    ):
        return Role.STATED
    return Role.SAID


def _is_background(text: str, statement: Statement, item: Quantity, left: str, right: str) -> bool:
    near = left[-BESIDE:]
    return bool(
        role_words.BACKGROUND_AFTER.match(right)
        or (item.also and role_words.SHARE_AFTER.match(right))
        or role_words.BACKGROUND_OF.search(near)
        or (role_words.NAME.search(near) and role_words.NAMED.match(right))
        or (role_words.OPERANDS.search(near) and role_words.OPERAND_AFTER.match(right))
        or (role_words.BACKGROUND.search(near) and not role_words.NOT_BACKGROUND.search(near))
        or role_words.GROUP.search(near)
        or (item.value is None and _CLOCK.match(text, item.start))
        or left.rfind("(") > left.rfind(")")
        or left.rfind("[") > left.rfind("]")
        or _is_subordinate(text, statement, item)
    )


def _is_subordinate(text: str, statement: Statement, item: Quantity) -> bool:
    """Whether a number stands in a clause that begins with `because`, `if`, `when`: to its end, or to the comma if the
    statement begins with it, and never beyond a word that concludes.
    """
    begin = max(statement.start, item.start - 3 * NEAR)
    before = text[begin : item.start]
    if _PARTICIPLE.match(before) and not re.search(r",\s", before):
        return re.search(r",\s", text[item.end : min(statement.end, item.end + NEAR)]) is not None
    word = None
    for word in _SUBORDINATES.finditer(before):
        if not _RESUMES.search(before, word.end()):
            break
    else:
        return False
    assert word is not None  # noqa: S101 - the loop was left with one
    leads = not before[: word.start()].strip(" \t\n*_>#-(") or _CONCLUDES.fullmatch(
        before[: word.start()].strip(" ,*_")
    )
    return not (leads and re.search(r",\s|:\s", before[word.end() :]))
