"""Which of several options an answer names.

In this order: an answer that is an option and nothing else; an explicit mark (`The answer is B`, a box, a tag); a line
`Label: option`; an option in bold; an option at the very beginning; the last option that is named at all. Options
that are denied (`not A`, `rules out C`) or only considered (`could be A`) do not count, and neither does an
alternative (`A or B`).
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tierwise.verifiers import option_words as words
from tierwise.verifiers.effort import spend
from tierwise.verifiers.marks import MOST, Mark, marks, picks
from tierwise.verifiers.plain import plain, straight, without_layout

_ENDS = " \t\n.,;:!?\"'`*_~()[]{}<>$|#-·\\"
_AROUND = " \t\n.,;:!?\"'`*_~()[]{}|"
_NO_LETTER_BEFORE = r"(?<![A-Za-zÀ-ɏͰ-ϿЀ-ӿ0-9])(?<!non-)"
_NO_LETTER_AFTER = r"(?![A-Za-zÀ-ɏͰ-ϿЀ-ӿ0-9])"
_LABELLED = re.compile(r"^\s*[(\[]?([A-Za-z]|\d{1,2})\s*[).:\]-]\s+(\S.*)$", re.DOTALL)


_BLANKS = re.compile(r"[ \t]{9,}")
"""Blanks that say no more than eight, but take much longer to match."""
_NAMED_STEPS, _AFFIRMED_STEPS, _MARK_STEPS = 2, 15, 25
LATEST = 4000
"""Characters at the end of an answer without a mark in which an option is looked for."""

CONFLICT = -1
"""An answer names one option by its letter and another by its words: `B) Rome`, where B is London."""


@dataclass(frozen=True, slots=True)
class Named:
    """An option that a text names: its number, and where."""

    option: int
    start: int
    end: int


class Options:
    """The options of one task, ready to be found in texts.

    Single letters are matched in upper case, other options in any case; both as whole words, the longest first. Options
    that are texts may be named by their letter, in their order: the second is `B`, unless they bring labels of their
    own (`B) Paris`).
    """

    def __init__(self, options: Sequence[str]) -> None:
        self.options = tuple(options)
        self._by_text: dict[str, int] = {}
        self._letters: dict[str, int] = {}
        texts: list[list[str]] = []
        labels = [_LABELLED.match(option) for option in options]
        own = all(labels) and len({label[1].upper() for label in labels if label}) == len(options)
        for place, option in enumerate(options):
            label = labels[place] if own else None
            texts.append([option] if label is None else [option, label[2]])
            if label is not None:
                self._letters[label[1].upper()] = place
        if not own and len(options) <= 26 and all(len(option.strip()) > 1 for option in options):
            self._letters = {chr(ord("A") + place): place for place in range(len(options))}
        for place, names in enumerate(texts):
            for name in names:
                self._by_text.setdefault(_bare(name), place)
        self._is_letters = all(len(option.strip()) == 1 for option in options)
        named = [_folded(straight(without_layout(plain(name)))) for names in texts for name in names]
        self._words = _pattern(named)
        shown = [*self._letters, *(self.options if self._is_letters else ())]
        alone = "|".join(re.escape(name) for name in shown) or "(?!)"
        self._label = re.compile(
            rf"[\s(\[*_\"'`#>]{{0,12}}(?:(?:option|choice|answer|letter|opción|opção"
            rf"|选项)\s+)?[(\[*_\"'`]{{0,4}}({alone})(?=[)\].:,;*_\"`-]|'(?![A-Za-z])|\s*$|\s*\n|\s+-)",
            re.IGNORECASE,
        )

    # ── what a text names ────────────────────────────────────────────────

    def only(self, text: str) -> int | None:
        """The option that a short text is, by its words or its letter."""
        bare = _bare(text)
        if bare in self._by_text:
            return self._by_text[bare]
        return self._letters.get(bare.upper()) if len(bare) <= 2 else None

    def at_start(self, text: str, *, strict: bool = False) -> int | None:
        """The option that a text begins with: `B`, `B. Paris`, `(b) Paris`, `Paris, because …`.

        Args:
            text: the text; only its beginning is read.
            strict: a letter counts only in upper case or in brackets.
        """
        label = self._label.match(text)
        if label is not None:
            letter = label[1]
            bracketed = text[label.end() : label.end() + 1] in ")]"
            if (
                letter.isupper()
                or not letter.isalpha()
                or bracketed
                or (not strict and text[label.end() :].strip(_ENDS) == "")
            ):
                place = self._letters.get(letter.upper(), -1)
                if place < 0:
                    place = self._by_text.get(letter.casefold(), -1)
                told = self._named_first(text[label.end() : label.end() + MOST])
                if place >= 0 and self._letters and told is not None and told != place:
                    return CONFLICT
                return place if place >= 0 else None
        first = next(iter(self.named(text[:MOST])), None)
        if first is None or text[: first.start].strip(_ENDS) or not words.ENDS_OPTION.match(text, first.end):
            return None
        return first.option

    def _named_first(self, text: str) -> int | None:
        found = next(iter(self.named(text)), None)
        return found.option if found is not None and not text[: found.start].strip(_ENDS) else None

    def named(self, text: str) -> list[Named]:
        """Every option that a text names by its words, in order."""
        folded = _folded(text)
        found = []
        for match in self._words.finditer(folded):
            spend(_NAMED_STEPS)
            option = self._by_text.get(_bare(match[0]))
            if option is None:
                continue
            if len(match[0]) == 1 and not self._is_letter(text, match.start(), match.end(), option):
                continue
            if match[0] == "no" and not words.ENDS_OPTION.match(text, match.end()):
                continue  # `no idea`, `no other`
            found.append(Named(option, match.start(), match.end()))
        return found

    def _is_letter(self, text: str, start: int, end: int, option: int) -> bool:
        """Whether a single letter is an option here, and no article, pronoun or initial."""
        sign = text[start]
        if not sign.isalpha() or not sign.isascii():
            return True
        enclosed = text[max(0, start - 1) : start] in tuple("([*_`\"'{") and text[end : end + 1] in tuple(")]*_`\"'}")
        if enclosed or text[end : end + 1] == ")":
            return True
        following = text[end : end + 24]
        if sign.islower() and self.options[option].strip() == sign:
            return (
                sign not in "aeoy"
                or not words.LATER_WORD.match(following)
                or words.LETTER_VERB.match(following) is not None
            )
        if not sign.isupper():
            return not text[end:].strip(_ENDS) and not text[:start].strip(_ENDS)
        if text[end : end + 1] in ("'", "-", "+", "#", "&"):
            return words.SUFFIX.match(text, end) is not None or text[end : end + 2] == "- "
        if text[end : end + 1] == "." and re.match(r"\.\s?[A-Z]\.", text[end : end + 4]):
            return False  # initials
        if not re.match(r"\s*\w", following) or following[0] > "\u2e7f":
            return True
        if sign in "AO" and words.LETTER_AFTER.match(following):
            return True
        begins = (
            not text[:start].strip(" \t\"'(*_") or re.search(r"[.!?\n:]\s*[\"'(*_]*$", text[:start][-8:]) is not None
        )
        if sign == "I":
            return words.PRONOUN_VERB.match(following) is not None and not re.match(r"\s+(?:as|and|or)\b", following)
        if sign == "A" and begins:
            return (
                re.match(
                    r"\s+(?:is|was|because|since|fails|works|rather|instead|due|and\s+[B-Z]\b|or\s+[B-Z]\b"
                    r"|seems)\b",
                    following,
                )
                is not None
            )
        if sign in "AO" and words.LATER_WORD.match(following):
            return words.LETTER_VERB.match(following) is not None
        return True

    # ── what a text says ─────────────────────────────────────────────────

    def affirmed(self, text: str) -> list[Named] | None:
        """The options that a text affirms, in order; None where it says that there is none."""
        if words.NONE.match(text) and not self.named(text[:20]):
            return None
        found: list[Named] = []
        denied_end = -1
        everything = self.named(text)
        for place, named in enumerate(everything):
            spend(_AFFIRMED_STEPS)
            end = everything[place + 1].start if place + 1 < len(everything) else len(text)
            before, after = text[max(0, named.start - 80) : named.start], text[named.end : min(named.end + 80, end)]
            clause = re.split(r"[.!?;\n](?:\s|$)", before)[-1]
            between = text[denied_end : named.start] if denied_end >= 0 else None
            carried = between is not None and re.fullmatch(
                r"[\s\"')\]*_`]*(?:,?\s*(?:or|nor|and|oder|noch|ni|ou|(?:and )?so (?:is|are|does)"
                r"|und|et|y|,|或|和))?[\s\"'(\[*_`]*(?:option\s+)?",
                between,
            )
            if text[named.start : named.end].casefold() in words.NO and after.startswith(","):
                after = ""  # `No, no es posible`: the comma ends what is said of it
            is_denied = words.DENIED_BEFORE.search(clause) or carried or words.DENIED_AFTER.match(after)
            excepted = words.EXCEPT.search(clause) and words.DENIED_AFTER.match(after)
            if (
                is_denied
                and not excepted
                and not (words.IS_RIGHT.match(after) and not words.DENIED_BEFORE.search(clause))
            ):
                denied_end, last = named.end, named
                while found and words.DENIED_AFTER.match(after) and self._joined(text, found[-1], last):
                    last = found.pop()  # `A, B and C are all wrong`
                continue
            denied_end = -1
            hedge = words.HEDGED_BEFORE.search(clause)
            if words.CONCEDED_BEFORE.search(clause):
                continue
            if (hedge and not words.BUT.search(clause[hedge.start() :])) or words.HEDGED_AFTER.match(after):
                continue
            found.append(named)
        return found

    def in_mark(self, text: str, several: bool) -> frozenset[int] | None:
        """The options that a marked result names: the first, with those that are joined to it.

        Returns None where it names none, an empty set where it refuses or leaves it open.
        """
        spend(_MARK_STEPS)
        line = text.strip()
        if (one := self.only(line)) is not None:
            return frozenset({one})
        if several and (run := self._run(line)):
            return run
        start = self.at_start(line, strict=True)
        affirmed = self.affirmed(line)
        if affirmed is None or start == CONFLICT:
            return frozenset()
        if start is not None and (not affirmed or affirmed[0].option == start) and not several:
            rest = [one for one in affirmed if one.option != start]
            label = self._label.match(line)
            apart = not rest or label is None or not words.OR.match(line[label.end() : rest[0].start])
            is_alone = apart and not (affirmed and rest and self._joined(line, affirmed[0], rest[0]))
            return frozenset({start}) if is_alone else frozenset()
        if not affirmed:
            labels = self._labels(line)
            if labels:
                return frozenset(labels) if several or len(set(labels)) == 1 else frozenset()
            return frozenset() if self.named(line) else None
        chosen = [affirmed[0]]
        for following in affirmed[1:]:
            if not self._joined(line, chosen[-1], following):
                break
            chosen.append(following)
        options = frozenset(one.option for one in chosen)
        if len(options) > 1 and any(
            words.OR.match(line[one.end : two.start]) and "," not in line[one.end : two.start]
            for one, two in pairwise(chosen)
        ):
            return frozenset()
        return options if several or len(options) == 1 else frozenset()

    @staticmethod
    def _joined(text: str, one: Named, two: Named) -> bool:
        between = text[one.end : two.start]
        if len(between) > 40 or not (words.OR.match(between) or words.AND.match(between)):
            return False
        return (
            bool(re.search(r"[^\W\d_]{2}|[/&+]|[^\x00-\x7f]", between))
            or words.ENDS_ITEM.match(text, two.end) is not None
        )

    def _run(self, text: str) -> frozenset[int] | None:
        """The letters of `ACD`, `A, C and D` or `A C D`."""
        bare = re.sub(
            r"\b(?:and|und|et|y|e|и|ve|và|en|i|och|og|both|options?|&)\b|[和与と]|(?<=[A-Z])[와과]",
            " ",
            text,
            flags=re.IGNORECASE,
        ).strip(_ENDS)
        letters = re.sub(r"[\s,;/&+()\[\].、]+", "", bare)
        known = {
            **self._letters,
            **({option: place for place, option in enumerate(self.options)} if self._is_letters else {}),
        }
        if (
            letters
            and letters.isupper()
            and len(set(letters)) == len(letters)
            and all(sign in known for sign in letters)
        ):
            return frozenset(known[sign] for sign in letters)
        return None

    def _labels(self, text: str) -> list[int]:
        """Options that are named by their letters in a text: `option B`, `(B)`."""
        if not self._letters:
            return []
        names = "|".join(re.escape(name) for name in self._letters)
        found = re.finditer(
            rf"(?:\b(?:[Oo]ption|[Cc]hoice|[Ll]etter|选项)\s*[(\"'*]*({names})\b"
            rf"|[(\[]({names})[)\]])",
            text,
        )
        kept = []
        for one in found:
            spend(_AFFIRMED_STEPS)
            clause = re.split(r"[.!?;\n](?:\s|$)", text[max(0, one.start() - 80) : one.start()])[-1]
            if not words.DENIED_BEFORE.search(clause) and not words.DENIED_AFTER.match(
                text[one.end() : one.end() + 80]
            ):
                kept.append(self._letters[(one[1] or one[2]).upper()])
        return kept

    def chosen(self, text: str, *, several: bool = False) -> frozenset[int]:
        """The options that an answer chooses: one, or with `several` any number of them; empty where it chooses
        none.
        """
        text = _BLANKS.sub(" " * 8, straight(without_layout(plain(text))))
        if (whole := self.only(text)) is not None:
            return frozenset({whole})
        if several and (run := self._run(text)):
            return run
        for mark in reversed(self._marks(text)):
            if mark.kind == "box" and mark.empty:
                return frozenset()
            found = self.in_mark(mark.said, several)
            if found is not None:
                return found if found or mark.exact or not self._recovers(text, mark) else self._rest(text, several)
            if mark.kind == "box":
                return frozenset()
        return self._rest(text, several)

    @staticmethod
    def _recovers(text: str, mark: Mark) -> bool:
        """Whether an answer goes on after a mark that only denies: `The answer is not A. It is B.`"""
        return len(text) > mark.start + len(mark.said.strip()) + 2 or ". " in mark.said

    def _marks(self, text: str) -> list[Mark]:
        chosen = [
            Mark(one.end(), "phrase", one[1])
            for one in deque(words.CHOSEN.finditer(text), maxlen=100)
            if not words.NOT_CHOSEN.search(text[max(0, one.start() - 40) : one.start()])
        ]
        chosen = [mark for mark in chosen if not words.HEDGED_BEFORE.search(text[max(0, mark.start - 90) : mark.start])]
        chosen += [Mark(one.end(), "phrase", one[1]) for one in deque(words.RETRACTED.finditer(text), maxlen=100)]
        found = [*marks(text), *chosen, *picks(text)]
        hashes = [mark for mark in found if mark.kind == "hashes" and self.only(mark.said) is None]
        return sorted((mark for mark in found if mark not in hashes), key=lambda mark: mark.start)

    def _rest(self, text: str, several: bool) -> frozenset[int]:
        """The option of an answer that marks none."""
        whole, text = text, text[-LATEST:]
        lines = {one for line in words.LINE.finditer(text) if (one := self.only(line[1])) is not None}
        if len(lines) == 1:
            return frozenset(lines)
        affirmed = self.affirmed(text) or []
        said = [self.at_start(text[one.end() : one.end() + 100], strict=True) for one in words.IT_IS.finditer(text)]
        if not several and (is_said := [one for one in said if one is not None and one != CONFLICT]):
            return frozenset({is_said[-1]})
        groups = self._groups(text, affirmed)
        right = [group for group in groups if words.IS_RIGHT.match(text[group[-1].end : group[-1].end + 80])]
        start = self.at_start(whole[:LATEST], strict=True)
        if start == CONFLICT:
            return frozenset()
        if right and (several or len({one.option for group in right for one in group}) == 1):
            return frozenset(one.option for group in right for one in group)
        is_open = bool(groups) and len({one.option for one in groups[0]}) > 1
        if start is not None and not several and not is_open and not self._enumerates(whole[:LATEST]):
            first = self.named(whole[:MOST])
            if (
                not first
                or first[0].option != start
                or any(one.start == first[0].start for one in self.affirmed(whole[:MOST]) or [])
            ):
                return frozenset({start})
        bold = {one for part in words.BOLD.finditer(text) if (one := self.at_start(part[2])) is not None} - {CONFLICT}
        if len(bold) == 1 or (several and bold):
            return frozenset(bold)
        if groups:
            told = affirmed if several else (right or groups)[-1]
            options = frozenset(one.option for one in told)
            return options if several or len(options) == 1 else frozenset()
        labels = self._labels(text)
        return frozenset(labels if several else labels[-1:])

    def _groups(self, text: str, affirmed: list[Named]) -> list[list[Named]]:
        """The affirmed options, with those together that `or`, `and` or a comma joins."""
        groups: list[list[Named]] = []
        for named in affirmed:
            if groups and self._joined(text, groups[-1][-1], named):
                groups[-1].append(named)
            else:
                groups.append([named])
        return groups

    def _enumerates(self, text: str) -> bool:
        """Whether several lines begin with different options, as in a list of them all."""
        lines = [line for line in text.split("\n") if line.strip()][:60]
        return len({one for line in lines if (one := self.at_start(line[:60], strict=True)) is not None}) > 1


def _folded(text: str) -> str:
    """The text in lower case except for single letters' sake: of the same length as before."""
    return "".join(low if len(low := sign.lower()) == 1 else sign for sign in text)


def _bare(text: str) -> str:
    """An option without the signs around it, in one case."""
    text = " ".join(straight(without_layout(plain(text))).split())
    stripped = text.strip(_AROUND).lstrip("# ").strip(_AROUND)
    if len(stripped) > 2 and stripped[0] == stripped[-1] == "$":
        stripped = stripped[1:-1].strip(_AROUND)
    return (stripped or text).casefold()


def _pattern(names: list[str]) -> re.Pattern[str]:
    """One alternative per option, the longest first, as whole words; a neighbour of another script is none of the
    word.
    """
    words = []
    for name in sorted({name for name in names if name.strip()}, key=len, reverse=True):
        word = r"\s+".join(re.escape(part) for part in name.split())
        before = r"(?<![\d.,-])(?<!\w)" if name[0].isdigit() else _NO_LETTER_BEFORE if name[0].isalnum() else ""
        after = r"(?![.,]?\d)(?![\w%])" if name[-1].isdigit() else _NO_LETTER_AFTER if name[-1].isalnum() else ""
        words.append(f"{before}{word}{after}")
    return re.compile("|".join(words))


@functools.lru_cache(maxsize=64)
def options_of(options: tuple[str, ...]) -> Options:
    """The options of a task, made ready once."""
    return Options(options)
