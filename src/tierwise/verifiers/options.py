"""Which of several options an answer chooses.

The strongest claim decides; the first of these that there is:

1. an answer that is an option and nothing else;
2. an explicit mark: a box, a tag, `The answer is B`, `I choose B`; the last, unless two of the same rank disagree;
3. a line `Label: option`, or options that the text says are right: `B is correct`, `It must be B`, `B ✓`;
4. an answer that begins with an option: `B. Because …`, `Yes, …`;
5. the only option in bold;
6. the only option that is left when all others are denied;
7. the last option that is named and neither denied nor only considered.

Two different claims of the same rank are no answer, unless the later one corrects the earlier. Options that are denied
(`not A`, `rules out C`), only considered (`could be A`) or alternatives (`A or B`) are not chosen.
"""

from __future__ import annotations

import functools
import re
from collections import deque

from tierwise.verifiers import option_words as words
from tierwise.verifiers.effort import spend
from tierwise.verifiers.marks import MOST, Mark, marks, picks
from tierwise.verifiers.option_claims import Claim, Stance, claims
from tierwise.verifiers.option_names import CONFLICT, Names

LATEST = 4000
"""Characters at the end of an answer without a mark in which an option is looked for."""
_MARK_STEPS = 25
_NOTHING: frozenset[int] = frozenset()


class Options:
    """The options of one task, ready to be found in texts."""

    def __init__(self, options: tuple[str, ...]) -> None:
        self._names = Names(options)
        self._all = frozenset(range(len(options)))

    def chosen(self, text: str, *, several: bool = False) -> frozenset[int]:
        """The options that an answer chooses: one, or with `several` any number of them; empty where it chooses
        none.
        """
        text = words.STRUCK.sub(" ", self._names.read(text))
        if (whole := self._names.only(text)) is not None:
            return frozenset({whole})
        text = self._own_words(text)
        if (whole := self._names.only(text)) is not None:
            return frozenset({whole})
        if several and (run := self._names.run(text)):
            return run
        found = self._corrected(text, several)
        found = self._read(text, several) if found is None else found
        if CONFLICT in found or (not several and len(found) > 1):
            return _NOTHING
        return found

    def _own_words(self, text: str) -> str:
        """The text without what it quotes, and without a list of the options as they were given."""
        rest = words.QUOTED.sub("", text)
        if rest.strip() and rest != text and self._names.named(rest[-LATEST:]):
            text = rest
        said = claims(text[:LATEST], self._names)[: 2 * len(self._all)]
        for place in range(len(said) - len(self._all) + 1):
            listed = said[place : place + len(self._all)]
            if all(one.options == (n,) and one.stance == Stance.NAMED for n, one in enumerate(listed)):
                rest = text[listed[-1].end :]
                after = rest.partition("\n")[2]
                return after if after.strip() else text
        return text

    def _corrected(self, text: str, several: bool) -> frozenset[int] | None:
        """What an answer chooses after it last began to correct itself; None where it chooses nothing there."""
        cuts = deque(words.TAKES_BACK.finditer(text, max(0, len(text) - LATEST)), maxlen=8)
        for cut in reversed(cuts):
            rest = text[cut.end() :].lstrip(" ,.:;!-")
            found = self._marked(rest, several, corrected=True)
            if found:
                return found
            right = [one for one in claims(rest[:LATEST], self._names) if one.stance == Stance.RIGHT]
            if right and not several:
                return frozenset(right[-1].options)
            first = self._names.at_start(rest, strict=True)
            if first is not None and not several:
                heads = claims(rest[:MOST], self._names)
                if heads and heads[0].counts and heads[0].options == (first,):
                    return frozenset({first})
        return None

    def _read(self, text: str, several: bool) -> frozenset[int]:
        found = self._marked(text, several)
        return self._rest(text, several) if found is None else found

    # ── explicit marks ───────────────────────────────────────────────────

    def _marked(self, text: str, several: bool, *, corrected: bool = False) -> frozenset[int] | None:
        """What the last explicit mark names; None without one that decides."""
        found = self._marks(text)
        for place in range(len(found) - 1, -1, -1):
            mark = found[place]
            if mark.kind == "box" and mark.empty:
                return None if corrected else _NOTHING
            options = self._listed(text, mark) if several else None
            options = self.in_mark(mark.said, several) if options is None else options
            if options is None:
                if mark.kind == "box":
                    return _NOTHING
                continue
            if not options:
                return None if not mark.exact and self._goes_on(text, mark) else _NOTHING
            before = self._mark_before(found[:place], mark, several)
            if before is None or before == options:
                return _NOTHING if self._reopens(text, mark) else options
            between = text[found[place - 1].start : mark.start]
            if several and mark.kind == "box" and len(between) < 60:
                return options | before
            return options if self._is_newer(text, found[place - 1], mark) else _NOTHING
        return None

    def _listed(self, text: str, mark: Mark) -> frozenset[int] | None:
        """The options with which the lines of a list begin that follows a phrase; None without one."""
        begin = text.rfind("\n", 0, mark.start) + 1
        if mark.kind not in ("phrase", "title") or (bullets := words.BULLETS.match(text, begin)) is None:
            return None
        lines = [line.strip().lstrip("-*•+ ") for line in bullets[0].split("\n") if line.strip()]
        found = {self._names.at_start(re.sub(r"^\d{1,2}[.)]\s+", "", line), strict=True) for line in lines}
        return frozenset(one for one in found if one is not None) if len(found) > 1 and None not in found else None

    def _mark_before(self, found: list[Mark], mark: Mark, several: bool) -> frozenset[int] | None:
        """What the mark of the same kind before this one names."""
        if not found or found[-1].kind != mark.kind:
            return None
        return self.in_mark(found[-1].said, several) or None

    @staticmethod
    def _is_newer(text: str, one: Mark, two: Mark) -> bool:
        """Whether a mark replaces the one before it: after a word of conclusion or contrast, or much later."""
        between = text[one.start : two.start]
        if len(between) > 150:
            return True
        return (
            re.search(
                r"\b(?:so|therefore|thus|hence|but|however|final|finally|instead|actually|correct(?!\s+answers)|right|although|would)\b|不|而|所以|因此|最终",
                between[1:],
                re.IGNORECASE,
            )
            is not None
        )

    def _reopens(self, text: str, mark: Mark) -> bool:
        """Whether the end of an answer leaves open again what a phrase marked."""
        rest = text[mark.start :][-LATEST:]
        undecided = None if mark.exact else words.UNDECIDED.search(rest)
        return undecided is not None and any(
            frozenset(one.options) != self.in_mark(mark.said, several=False) and one.stance >= Stance.OPEN
            for one in claims(rest[: undecided.end() + 60], self._names)
        )

    @staticmethod
    def _goes_on(text: str, mark: Mark) -> bool:
        """Whether an answer goes on after a mark that only denies: `The answer is not A. It is B.`"""
        return len(text) > mark.start + len(mark.said.strip()) + 2 or ". " in mark.said

    def _marks(self, text: str) -> list[Mark]:
        phrases = [
            Mark(one.end(), "phrase", one[1])
            for one in deque(words.CHOICE_MARK.finditer(text), maxlen=100)
            if not self._names.named(one[0])
        ]
        phrases += [
            pick for pick in picks(text) if not words.OPTION_NOUN.search(text[max(0, pick.start - 6) : pick.start])
        ]
        found = [
            mark
            for mark in (*marks(text), *phrases)
            if mark.kind != "phrase" or (self._is_said(text, mark) and not self._holds_option(text, mark))
        ]
        hashes = [mark for mark in found if mark.kind == "hashes" and self._names.only(mark.said) is None]
        return sorted((mark for mark in found if mark not in hashes), key=lambda mark: mark.start)

    def _holds_option(self, text: str, mark: Mark) -> bool:
        """Whether the words of a phrase name the option that is told of: `Answer B is right, since A fails`."""
        before = re.split(r"[.,;:!?\n]\s", text[max(0, mark.start - 60) : mark.start].rstrip(" :"))[-1]
        return bool(self._names.named(before))

    @staticmethod
    def _is_said(text: str, mark: Mark) -> bool:
        """Whether a phrase is the answer's own word, and not denied, supposed, asked or told of others."""
        spend(_MARK_STEPS)
        before = text[max(0, mark.start - 110) : mark.start]
        ends = list(words.SENTENCE.finditer(before))
        before = before[ends[-1].end() :] if ends else before
        end = words.SENTENCE.search(mark.said)
        sentence = mark.said[: end.start()] if end is not None else mark.said
        if end is not None and mark.said[end.start()] == "?" and len(sentence) < 40:
            return False
        if re.search(r"\bwould\b", before) and re.search(r"\bif\b", sentence) and re.search(r"\bbe\b", before):
            return False
        if words.NOT_SAID.search(before) or words.WRONG_LABEL.search(before):
            return False
        hedge = words.HEDGED_BEFORE.search(before)
        return (
            hedge is None
            or re.search(r",\s", before[hedge.start() :]) is not None
            or words.BUT.search(before[hedge.start() :]) is not None
        )

    def in_mark(self, text: str, several: bool) -> frozenset[int] | None:
        """The options that a marked result names: the first, with those that are joined to it.

        Returns None where it names none, an empty set where it refuses or leaves it open.
        """
        spend(_MARK_STEPS)
        line = text.strip()
        if (one := self._names.only(line)) is not None:
            return frozenset({one})
        if several and (run := self._names.run(line)):
            return run
        start = self._names.at_start(line, strict=True)
        if start == CONFLICT or (words.NONE.match(line) and not self._names.named(line[:20])):
            return _NOTHING
        if several and words.ALL.search(line[:40]):
            return self._all
        said = claims(line, self._names)
        if not said:
            return None if start is None else frozenset({start})
        if start is not None and start != said[0].options[0] and not several:
            return frozenset({start})
        if len(said) > 1 and re.fullmatch(r"\s*(?:→|->|=>)\s*", line[said[0].end : said[1].start]):
            said = said[1:]
        if start is not None and not several and said[0].stance == Stance.WRONG and not said[0].is_alternative:
            return frozenset({start})  # `B, A and C are wrong`
        for place, claim in enumerate(said):
            if (claim.is_alternative and claim.stance != Stance.WRONG) or (
                place and said[0].stance == Stance.OPEN and claim.stance != Stance.RIGHT
            ):
                return _NOTHING
            if claim.counts or (place == 0 and claim.stance == Stance.OPEN and start is not None):
                return frozenset(claim.options)
        return _NOTHING

    # ── an answer without a mark ─────────────────────────────────────────

    def _rest(self, text: str, several: bool) -> frozenset[int]:
        whole, text = text, text[-LATEST:]
        said = claims(text, self._names)
        if several:
            return self._together(text, said)
        lines = {
            one
            for line in words.LINE.finditer(text)
            if not words.BAD_LINE.search(line[1])
            and (one := self._names.only(line[2])) is not None
            and not self._names.named(line[1])
        }
        if len(lines) == 1:
            return frozenset(lines)
        if len(self._all) == 2 and not self._names.is_letters and (start := self._first(whole)) is not None:
            return frozenset({start})
        right = [one for one in said if one.stance == Stance.RIGHT]
        if right and (decided := self._agreed(right)) is not None:
            return decided
        if words.UNDECIDED.search(text[-300:]) and len({one.options for one in said if one.stance >= Stance.OPEN}) != 1:
            return _NOTHING
        start = self._first(whole)
        if start is not None:
            return frozenset({start})
        bold = {one for part in words.BOLD.finditer(text) if (one := self._names.at_start(part[2])) is not None} - {
            CONFLICT
        }
        if len(bold) == 1 and not any(one.stance < Stance.NAMED and set(one.options) & bold for one in said):
            return frozenset(bold)
        if len(left := self._left(said)) == 1:
            return left
        named = [one for one in said if one.counts]
        if not named or self._enumerates(text):
            return _NOTHING
        return frozenset(named[-1].options)

    @staticmethod
    def _agreed(right: list[Claim]) -> frozenset[int] | None:
        """The options that a text says are right: the same throughout, or the last if it turns against the others."""
        different = {frozenset(one.options) for one in right}
        if len(different) == 1:
            return next(iter(different))
        return frozenset(right[-1].options) if right[-1].turns else _NOTHING

    def _first(self, text: str) -> int | None:
        """The option with which an answer begins, if that is not one of a list of them all."""
        head = text[:LATEST].lstrip()
        start = self._names.at_start(head, strict=True)
        if start is None:
            return None
        line, _, rest = head.partition("\n")
        is_alone = self._names.only(line) is not None and self._names.only(rest.lstrip().partition("\n")[0]) is None
        if not is_alone and self._enumerates(head):
            return None
        first = next(iter(claims(head[: MOST if not is_alone else len(line)], self._names)), None)
        if first is None or first.options[0] != start:
            return start
        return start if first.counts and len(set(first.options)) == 1 else None

    def _left(self, said: list[Claim]) -> frozenset[int]:
        """The options that are not denied, where a text denies others."""
        denied = {option for one in said if one.stance == Stance.WRONG for option in one.options}
        kept = {option for one in said if one.counts for option in one.options}
        left = self._all - (denied - kept)
        return left if len(self._all) > 2 and len(left) == 1 else _NOTHING

    def _together(self, text: str, said: list[Claim]) -> frozenset[int]:
        """All options that a text says are right, or that it names without denying them."""
        if any(one.is_alternative and one.stance == Stance.OPEN for one in said):
            return _NOTHING
        right = [option for one in said if one.stance == Stance.RIGHT for option in one.options]
        if right:
            named = [
                option
                for one in said
                if one.stance == Stance.NAMED and self._is_added(text, one)
                for option in one.options
            ]
            return frozenset(right + named)
        if words.ALL.search(text) and not any(one.stance == Stance.WRONG for one in said):
            return self._all
        denied = {option for one in said if one.stance == Stance.WRONG for option in one.options}
        if denied and all(words.EXCEPT.search(text[: one.start]) for one in said):
            return self._all - denied
        return frozenset(option for one in said if one.counts for option in one.options)

    @staticmethod
    def _is_added(text: str, claim: Claim) -> bool:
        return re.match(r"^\W*(?:too|also|as\s+well)\b", text[claim.end : claim.end + 20]) is not None

    def _enumerates(self, text: str) -> bool:
        """Whether several lines begin with different options, as in a list of them all."""
        lines = [line for line in text.split("\n") if line.strip()][:60]
        found = [self._names.at_start(line[:60], strict=True) for line in lines]
        return len({one for one in found if one is not None}) > 1 and found[-1] is not None


@functools.lru_cache(maxsize=64)
def options_of(options: tuple[str, ...]) -> Options:
    """The options of a task, made ready once."""
    return Options(options)
