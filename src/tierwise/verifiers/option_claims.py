"""What an answer says of each option that it names: right, wrong, only considered, or no more than its name.

Neighbours that `and`, `or` or a comma joins are one claim: `A, B and D are wrong`. What is said of a claim stands in
its own clause, before it up to the claim or the sentence before, and after it up to the next.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from tierwise.verifiers import option_words as words
from tierwise.verifiers.effort import spend
from tierwise.verifiers.option_names import Named, Names

_BEFORE = 90
_AFTER = 100
"""Characters beside an option in which something may be said of it."""
MOST_CLAIMS = 400
_CLAIM_STEPS = 30


class Stance(IntEnum):
    """What is said of options."""

    WRONG = 0
    OPEN = 1
    """Only considered, granted, asked about or left as an alternative."""
    NAMED = 2
    RIGHT = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """Options that are named together, and what is said of them."""

    options: tuple[int, ...]
    start: int
    end: int
    stance: Stance
    is_alternative: bool = False
    """Whether `or` joins them."""
    turns: bool = False
    """Whether the clause turns against what was said before: `but`, `so`, `actually`."""

    @property
    def counts(self) -> bool:
        return self.stance >= Stance.NAMED


def claims(text: str, names: Names) -> list[Claim]:
    """The claims of a text in order; of very many the last."""
    groups: list[list[Named]] = []
    for named in _without_headers(text, names.named(text)[-MOST_CLAIMS:]):
        if groups and joined(text, groups[-1][-1], named):
            groups[-1].append(named)
        else:
            groups.append([named])
    groups = [part for group in groups for part in _parted(text, group)]
    found: list[Claim] = []
    for place, group in enumerate(groups):
        begin = groups[place - 1][-1].end if place else 0
        stop = groups[place + 1][0].start if place + 1 < len(groups) else len(text)
        found.append(_claim(text, group, begin, stop, names, found[-1] if found else None))
    return found


def _parted(text: str, group: list[Named]) -> list[list[Named]]:
    """A group, or what is told to be right apart from what is wrong: `the correct one is B, A and C are wrong`."""
    if len(group) < 2 or text[group[0].end : group[1].start].strip(" *_") != ",":
        return [group]
    before = re.split(words.SENTENCE, text[max(0, group[0].start - _BEFORE) : group[0].start])[-1]
    after = re.split(words.SENTENCE, text[group[-1].end : group[-1].end + _AFTER], maxsplit=1)[0]
    if _ahead(before) is True and _predicate(after) is Stance.WRONG:
        return [group[:1], group[1:]]
    return [group]


def _without_headers(text: str, found: list[Named]) -> list[Named]:
    """The options without those that are the headings of a table, which says nothing of them: `| A | B |`."""
    cells = {
        place + also
        for place in range(len(found) - 1)
        for also in (0, 1)
        if text[found[place].end : found[place + 1].start].strip(" *_") == "|"
    }
    return [one for place, one in enumerate(found) if place not in cells]


def joined(text: str, one: Named, two: Named) -> bool:
    """Whether two neighbours are named together."""
    between = text[one.end : two.start]
    if len(between) <= 100:
        between = re.sub(r"^ ?\((?!(?:yes|no|ja|nein|oui|non)\b|[✓✔✗✘✅❌])[^()\n]{1,80}\)", "", between)
    if len(between) > 40 or ("\n" in between.strip(" \t") and not between.strip(" \t\n-*_")):
        return False
    if words.OR.match(between):
        return True
    if not words.AND.match(between):
        return False
    return (
        bool(re.search(r"[^\W\d_]|[/&+]|[^\x00-\x7f]", between))
        or words.ENDS_ITEM.match(text, two.end) is not None
        or (two.end - two.start == 1 and words.PREDICATE.match(text[two.end : two.end + _AFTER]) is not None)
    )


def _claim(text: str, group: list[Named], begin: int, stop: int, names: Names, last: Claim | None) -> Claim:
    spend(_CLAIM_STEPS)
    start, end = group[0].start, group[-1].end
    before = text[max(begin, start - _BEFORE) : start]
    sentence = text[max(0, start - 2 * _BEFORE) : start]
    ends = list(words.SENTENCE.finditer(before))
    clause = before[ends[-1].end() :] if ends else before
    ends = list(words.SENTENCE.finditer(sentence))
    sentence = sentence[ends[-1].end() :] if ends else sentence
    after = text[end : min(stop, end + _AFTER)]
    if stop < len(text) and (denial := words.DENIED_BEFORE.search(after)) is not None:
        after = after[: denial.start()]  # `B, not C`
    if not clause.strip(" \t*_#>|-([") and (after[:1] in (".", ")") or after[:2] == "**"):
        after = after.lstrip(".)*")  # a label: `B. wrong`
    said = text[start:end].casefold()
    if (row := _in_row(text, start, end)) is not None:
        return Claim(tuple(one.option for one in group), start, end, row)
    is_alternative = any(words.OR.match(text[one.end : two.start]) for one, two in pairwise(group))
    stance = _stance(clause, sentence, after, said in names.by_text and len(names.options) == 2, stop == len(text))
    if (
        last is not None
        and last.stance == Stance.WRONG
        and stance >= Stance.NAMED
        and _is_carried(text[last.end : start])
    ):
        stance = Stance.WRONG  # `not A nor B`, `A is wrong, and so is B`
    if is_alternative and stance >= Stance.NAMED and len({one.option for one in group}) > 1:
        stance = Stance.OPEN
    turns = words.BUT.search(clause) is not None or words.CHOSEN_BEFORE.search(clause) is not None
    return Claim(tuple(one.option for one in group), start, end, stance, is_alternative, turns)


def _in_row(text: str, start: int, end: int) -> Stance | None:
    """What the last cell of a table's row says of the option in its first: `| A | too small | ✗ |`."""
    line = text[text.rfind("\n", max(0, start - 40), start) + 1 : start]
    if not re.fullmatch(r"[ \t]*\|[\s*_`(]*", line):
        return None
    cells = [cell.strip(" *_`.\t") for cell in text[end : end + 600].partition("\n")[0].strip().strip("|").split("|")]
    for cell in reversed(cells):
        if words.TICK.match(cell) or re.match(r"(?:yes|ja|oui|sí|sim|да|是)\b", cell, re.IGNORECASE):
            return Stance.RIGHT
        if words.CROSS.match(cell) or re.match(r"(?:no|nein|non|não|нет|否)\b", cell, re.IGNORECASE):
            return Stance.WRONG
        verdict = _polarity(cell) if len(cell) < 40 and words.POLAR.match(cell) else None
        if verdict is not None:
            return verdict
    return None


def _is_carried(between: str) -> bool:
    return (
        re.fullmatch(
            r"[^.;\n]{0,30}(?:\bso\ (?:is|are|does)|neither\ (?:is|does|are)|nor)\s+(?:option\s+)?[\s\"'(*_]*", between
        )
        is not None
    )


def _stance(clause: str, sentence: str, after: str, is_word: bool, is_last: bool) -> Stance:
    """What a clause says of the options between `clause` and `after`."""
    end = words.SENTENCE.search(after)
    is_asked = end is not None and _is_question(after, end)
    told = after[: end.start()] if end is not None else after
    line = after.partition("\n")[0].rstrip()
    if words.BEGINS.fullmatch(clause) and (words.TICK.search(line[-2:]) or words.CROSS.search(line[-2:])):
        return Stance.RIGHT if words.TICK.search(line[-2:]) else Stance.WRONG
    if (tick := words.TICK_AFTER.match(after)) or (tick := words.TICK_BEFORE.search(clause)):
        return Stance.RIGHT if tick["yes"] else Stance.WRONG
    if not is_word and (yes := words.YES_AFTER.match(after)):
        return Stance.RIGHT if yes["yes"] or yes["yes2"] or yes["yes3"] else Stance.WRONG
    if end is not None and is_asked and (not is_last or after[end.end() :].strip() or words.ASKS.search(sentence)):
        return Stance.OPEN
    is_excepted = words.EXCEPT.search(sentence) is not None or words.APART.search(clause) is not None
    denied = words.DENIED_BEFORE.search(clause) is not None and not words.EXCEPT.search(sentence)
    if is_word and not re.match(r"\s+(?:would|is|was|has|can|cannot|isn't)\b", told):
        told = ""
    verdict = _predicate(told)
    if is_excepted:
        return _excepted(sentence, told)
    if denied or words.WRONG_LABEL.search(clause) or words.NOT_SAID.search(clause):
        return Stance.WRONG
    if verdict is None and words.DENIED_AFTER.match(told):
        return Stance.WRONG
    if words.BUT_DENIED.search(told):
        return Stance.WRONG
    if words.LOOKED_AT.search(clause) or words.CONCEDED_BEFORE.search(sentence) or words.HEDGED_AFTER.match(told):
        return Stance.OPEN
    clause = clause if clause == sentence else clause[clause.rfind(",") + 1 :]
    hedge = words.HEDGED_BEFORE.search(clause)
    if (
        hedge is not None
        and not words.BUT.search(clause, hedge.start())
        and not re.search(r",\s*(?:so|then|it)\b|[:-]\s", clause[hedge.start() :])
    ):
        return Stance.OPEN
    if verdict is not None:
        return verdict
    ahead = _ahead(clause)
    if ahead is not None:
        return Stance.RIGHT if ahead else Stance.WRONG
    if words.CHOSEN_BEFORE.search(clause) or words.CHOSEN_AFTER.match(told) or words.IT_IS.search(clause):
        return Stance.RIGHT
    return Stance.NAMED


def _excepted(before: str, after: str) -> Stance:
    """What is said of an option that is excepted: the opposite of what is said of all others."""
    if words.NO_OTHER.search(before):
        return Stance.RIGHT
    verdicts = list(words.POLAR.finditer(before + after))
    last = next((one for one in verdicts if one["no"] is None), None)
    is_wrong = last is not None and last["wrong"] is not None
    is_wrong = is_wrong or bool(re.search(r"\bfails?\b", before + after)) or (last is None and bool(verdicts))
    return Stance.RIGHT if is_wrong else Stance.WRONG


def _is_question(after: str, end: re.Match[str]) -> bool:
    """Whether a sentence ends with a question mark."""
    return after[end.start()] == "?" and "," not in after[: end.start()]


def _predicate(after: str) -> Stance | None:
    """Whether what follows an option says that it is right, or wrong; None where it says neither."""
    for pattern in (words.PREDICATE, words.SCRIPT_PREDICATE):
        if (match := pattern.match(after)) is not None:
            return _polarity(after[match.end() :][:50])
    return None


def _polarity(text: str) -> Stance | None:
    """Whether the first words of a text that say right or wrong say right, with the negations before them."""
    is_right: bool | None = None
    denied = 0
    place = 0
    while (match := words.POLAR.match(text, place)) is not None or (
        match := words.POLAR.search(text, place)
    ) is not None:
        if match.start() - place > 25:
            break
        if match["no"] is None:
            is_right = match["right"] is not None
            break
        denied += 1
        place = match.end()
    if is_right is None:
        return Stance.WRONG if denied else None
    if is_right and words.NOT_AFTER.match(text[match.end() :] if match else ""):
        denied += 1
    if denied:
        return Stance.WRONG if is_right else Stance.NAMED
    return Stance.RIGHT if is_right else Stance.WRONG


def _ahead(clause: str) -> bool | None:
    """Whether what leads up to an option says that it is right, or wrong: `the correct options are`."""
    if (match := words.RIGHT_BEFORE.search(clause)) is None:
        return None
    if match["wrong"] is not None:
        return False
    if match["no"] is not None:
        return None
    denied = re.search(rf"{words.NEGATION}(?:\s+\w+){{0,3}}\s*$", clause[: match.start()], re.IGNORECASE)
    return denied is None
