r"""Where an answer says what its result is: `\boxed{…}`, `<answer>…</answer>`, `#### …`, `The answer is …`.

The words for it are those of 25 languages. Every pattern runs on untrusted text, so each takes time linear in it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tierwise.verifiers.effort import spend

MOST = 300
"""Characters of a result; what follows is explanation."""

_BOX_STEPS, _MARK_STEPS = 5, 3

MarkKind = Literal["box", "tag", "hashes", "phrase", "title"]

_LANGUAGES = {
    r"\b(?:(?:final|correct|right)\s+answers|(?:final\s+|correct\s+)?answer)": (
        r"is|are|equals|would\ be|must\ be|should\ be"
    ),
    r"\brespuestas?|\brespostas?": r"es|é|son|são|ser[íi]a",
    r"\brispost[ae]": "è|sono",
    r"\br[ée]ponses?": "est|sont",
    r"\bantwort(?:en)?": r"ist|sind|lauten?|lautet|wäre|heißt",
    r"\bantwoord(?:en)?": r"is|zijn|luidt",
    r"\bsvar(?:et)?": r"är|er|blir",
    r"\bvastaus": "on",
    r"\bodpowied(?:[źz]|zi)|\bodpov[ěe][ďd]": r"to|je|jest|są|brzmi",
    r"\bjawaban(?:nya)?": r"adalah|ialah",
    r"\bcevap|\byanıt": r"şudur",
    r"\brăspuns(?:ul)?": r"este|e",
    r"\bválasz": r"az|a",
    r"\bđáp\s+án|\bcâu\s+trả\s+lời": r"là",
    r"\bответы?|\bвідповідь|\bотговор(?:ът)?": r"это|є|е",
    r"\bαπάντηση": "είναι",
}
"""Words for an answer, and for what says which it is."""
_SCRIPTS = (
    r"(?:(?:正确|最终|最終|正確)?答案|答え|正解|解答|回答|정답|(?<![가-힣])답"
    r"|الإجابة|الجواب|התשובה|תשובה|उत्तर|คำตอบ|উত্তর)"
)
_SCRIPT_COPULA = r"(?:应该是|应为|應為|是|为|為|は|은|는|이|가|คือ|है|هي|هو|היא|הוא|হলো|হল|[:=])"
_WORDS = r"(?:[ \t]+[^\s.,:;!?=]{1,20}){0,5}?[ \t]*"
_SIGN = r"[*_\"'`)\]]{0,4}"
_LATIN = "|".join(
    rf"(?:{nouns}){_SIGN}(?:{_WORDS}{_SIGN}(?:\b(?:{copulas})\b(?!'t)|[:=])|[ \t]+-[ \t]+)"
    for nouns, copulas in _LANGUAGES.items()
)
_NOUN = rf"(?:{'|'.join(_LANGUAGES)}|{_SCRIPTS})"
_PHRASE = re.compile(
    rf"(?:{_LATIN}|{_SCRIPTS}[*_\"'`)\]\s]{{0,4}}(?:[^\s.,:;!?=不非并]{{0,6}}?){_SCRIPT_COPULA})"
    rf"[\s:*_\"'`>#]*(?=([^\n]{{1,{MOST}}}))",
    re.IGNORECASE,
)
_BEGINNINGS = (
    *("answer", "final", "correct", "right", "respuest", "respost", "rispost", "reponse", "antwo", "svar", "vastaus"),
    *("odpow", "odpov", "jawaban", "cevap", "yanit"),
)
"""How a phrase begins, in lower case and without dots on i; each in `_LANGUAGES`."""
_OTHER_BEGINNINGS = (
    *("réponse", "răspuns", "válasz", "đáp", "câu", "ответ", "відповідь", "отговор", "απάντη"),
    *("正", "最", "答", "解", "回", "정답", "답", "الإجابة", "الجواب", "התשובה", "תשובה", "उत्तर", "คำตอบ", "উত্তর"),
)
_RARE = re.compile("[\u03d6\u1c80-\u1c8f]")
"""Characters that a pattern may take for one of a beginning, though they are not so in lower case."""
_TITLE = re.compile(
    rf"^[ \t#*_>]*(?:the\s+|la\s+|die\s+)?{_NOUN}[ \t*_:]*\n[\s*_>]*(?=([^\n]{{1,{MOST}}}))",
    re.IGNORECASE | re.MULTILINE,
)
_PICK = re.compile(r"(?:(?:故|应|應|因此|所以|答案)?选(?:择|項|项)?|(?:故|應)?選)[\s::]*(?=([^\n]{1,300}))")
_HASHES = re.compile(rf"^[ \t]*\#{{4}}(?!\#)[ \t]*(?=(\S[^\n]{{0,{MOST}}}))", re.MULTILINE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=([^\s{}])))")
_TAG = re.compile(
    rf"(?:<(?:final_?)?answer>|\[ANSWER\])(.{{0,{MOST}}}?)(?:</(?:final_?)?answer>|\[/ANSWER\]|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_NOT_FINAL = re.compile(
    r"\b(?:wrong|incorrect|mistaken|previous|earlier|initial|first|tempting|naive|false|common|no|student'?s|their"
    r"|his|her)"
    r"\s+(?:final\s+|correct\s+)?$",
    re.IGNORECASE,
)
_OF_PART = re.compile(r"\bto\s+(?:part\s+|question\s+)?\(?\w\)", re.IGNORECASE)
"""In a phrase that gives the answer to a part of the task: `Answer to 2): `."""
_DENIES = re.compile(
    r"\b(?:no|n[ãa]o|non|ne|nie|не)\s+(?:es|son|é|são|è|sono|est|sont|to|jest|е|є|это)[\s:*_\"'`>#]*$", re.IGNORECASE
)
"""How a phrase ends that says what the answer is not: `la respuesta no es`."""
_DOUBT = re.compile(r"\b(?:if|were|had)\b[^.!?\n]*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mark:
    """A result that an answer marks.

    Args:
        start: where the result begins.
        kind: how it is marked.
        said: the result with what follows on its line; for a box and a tag exactly what they hold.
        closed: False for a box that was never closed.
    """

    start: int
    kind: MarkKind
    said: str
    closed: bool = True

    @property
    def exact(self) -> bool:
        """Whether the result is all of `said`."""
        return self.kind in ("box", "tag")

    @property
    def empty(self) -> bool:
        return not self.closed or not self.said.strip(" .*_$`\\\n\t{}")


def marks(text: str) -> list[Mark]:
    """The marked results of an answer, in the order in which they begin; of each kind the last hundred."""
    found = [_box(text, box) for box in _latest(_BOX, text)]
    found += [Mark(tag.start(1), "tag", tag[1]) for tag in _latest(_TAG, text)]
    found += [Mark(line.end(), "hashes", line[1]) for line in _latest(_HASHES, text)]
    found += [Mark(line.end(), "title", line[1]) for line in _latest(_TITLE, text)]
    found += [_phrase(text, phrase) for phrase in deque(phrases(text), maxlen=100) if _is_final(text, phrase)]
    spend(_MARK_STEPS * len(found))
    return sorted(found, key=lambda mark: mark.start)


def _latest(pattern: re.Pattern[str], text: str) -> deque[re.Match[str]]:
    return deque(pattern.finditer(text), maxlen=100)


def phrases(text: str) -> Iterator[re.Match[str]]:
    """As `_PHRASE.finditer`, a tenth of its time: the pattern is tried only where one of its beginnings is.

    A route reads an answer for its marked result before a user sees it.
    """
    if _RARE.search(text):
        yield from _PHRASE.finditer(text)
        return
    lower = folded(text)
    beginnings = _BEGINNINGS if text.isascii() else (*_BEGINNINGS, *_OTHER_BEGINNINGS)
    end = 0
    for place in sorted({place for beginning in beginnings for place in _places(lower, beginning)}):
        if place >= end and (phrase := _PHRASE.match(text, place)):
            end = phrase.end()
            yield phrase


def folded(text: str) -> str:
    """Lower case of the same length, with one i and one s for those that a pattern without case takes for the same."""
    return text.replace("İ", "i").lower().replace("ı", "i").replace("ſ", "s")


def _places(text: str, part: str) -> Iterable[int]:
    place = text.find(part)
    while place >= 0:
        yield place
        place = text.find(part, place + 1)


def picks(text: str) -> list[Mark]:
    """The results that Chinese answers mark with `选` (choose), which is said of options only."""
    return [Mark(pick.end(), "phrase", pick[1]) for pick in _latest(_PICK, text)]


def _is_final(text: str, phrase: re.Match[str]) -> bool:
    before = text[max(0, phrase.start() - 60) : phrase.start()]
    return (
        not _NOT_FINAL.search(before)
        and not _OF_PART.search(phrase[0])
        and not ("would be" in phrase[0] and _DOUBT.search(before))
    )


def _phrase(text: str, phrase: re.Match[str]) -> Mark:
    """What follows the phrase, with the phrase's own denial: `no es A, sino B`."""
    denies = _DENIES.search(phrase[0])
    start = phrase.start() + denies.start() if denies else phrase.end()
    return Mark(start, "phrase", text[start : phrase.end()] + phrase[1])


def _box(text: str, box: re.Match[str]) -> Mark:
    r"""What `\boxed{` holds, up to the brace that matches; at most three lengths of a result are searched."""
    if box[1] is not None:
        return Mark(box.end(), "box", box[1])
    depth = 1
    spend(_BOX_STEPS)
    for brace in re.finditer(r"(?<!\\)[{}]", text[box.end() : box.end() + 3 * MOST]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return Mark(box.end(), "box", text[box.end() : box.end() + brace.start()])
    return Mark(box.end(), "box", "", closed=False)


def last_mark(text: str) -> Mark | None:
    """The last marked result; a phrase that marks nothing is passed over, an empty or unclosed box is not."""
    for mark in reversed(marks(text)):
        if mark.kind == "box" or not mark.empty:
            return mark
    return None
