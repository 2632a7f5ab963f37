"""Where an answer without a mark says its result: its first line, its bold text, its last sentence.

What only surrounds the result is passed over: offers of more help and notes at the end. An answer that says that it
cannot tell has no result. Everything runs in time linear in the text.
"""

from __future__ import annotations

import re

LATEST = 2000
"""Characters at the end of a line in which a remark is looked for."""
LONGEST = 100
"""Characters of a first line that can be a result."""
MOST_REMARKS = 8
"""Remarks at the end that are passed over."""

_REMARK = re.compile(
    r"""(?:^|(?<=[.!?])\s)[\s*_>#(-]*(?:let\ me\ know|(?:I\ )?hope\ (?:this|that|it)|feel\ free|please\ (?:let|feel)
    |(?:would|do)\ you\ (?:like|want|need)|if\ you(?:'d|\ would)?\ (?:like|have|need|want)|is\ there\ anything
    |I(?:'d|\ would)\ be\ (?:happy|glad)|I\ can\ also|happy\ to\ (?:help|explain)
    |lass\ (?:mich|es\ mich)|sag\ (?:mir\ )?Bescheid|wenn\ du|falls\ (?:du|Sie)|möchtest\ du|ich\ hoffe
    |n'hésite[zs]?|si\ (?:vous|tu)\ (?:avez|as|voulez|souhaitez)|j'espère|voulez-vous
    |¿quieres|avísame|si\ (?:tienes|necesitas|quieres)|espero\ que|se\ (?:quiser|precisar|tiver)|fammi\ sapere|se\ vuoi
    |если\ (?:у\ вас|хотите|нужно)|надеюсь|如果(?:你|您)|如(?:有|需)|希望(?:这|這|能)|需要我|他に|ご(?:質問|不明))
    |^[\s*_>(]*(?:note|remark|hinweis|anmerkung|remarque|nota|注)[*_]*\s*:(?![^\n]*=)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Where a line begins to be an offer, a wish or a note, and no longer a result."""

_TELLS_NOT = re.compile(
    r"""(?:\b(?:not|n't|without|lacks?)|n't)\ (?:\w+\ ){0,2}?(?:enough|sufficient)\ (?:information|data|details)
    |\binsufficient\ (?:information|data)|\b(?:need|require)s?\ more\ (?:information|data|details)
    |(?:\b(?:cannot|can\ not|unable\ to|not\ able\ to|impossible\ to|not\ possible\ to)|can't|couldn't)
      \ (?:\w+\ )?(?:solve|determine[d]?|tell|answer(?:ed)?|say|be\ (?:known|solved|calculated|computed|found))\b
    |\bdon't\ know\b|\bnot\ sure\b
    |nicht\ (?:bestimm|genug|lösbar)|no\ se\ puede\ (?:determinar|saber|resolver)
    |impossible\ (?:de|à)\ (?:dire|savoir|déter)
    |não\ é\ possível\ (?:determinar|saber)|non\ è\ possibile|невозможно\ (?:определить|сказать)
    |недостаточно\ (?:данных|информации)
    |无法(?:确定|回答|判断)|無法|分かりません|わかりません|알\ 수\ 없""",
    re.IGNORECASE | re.VERBOSE,
)
_CONCLUDES = re.compile(
    r"\b(?:so|therefore|thus|hence|then|but|however|if|assum\w*|total|also|daher|donc|así|logo|quindi)\b|=|所以|因此|但",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_TAKES_BACK = re.compile(r"\b(?:wait|actually|correction|mistake|recheck|oops|hmm|sorry|instead)\b", re.IGNORECASE)
_BOLD = re.compile(r"(?<![\w*)\]}])\*\*(?=[^\s*])([^*\n]{1,200}?)(?<=\S)\*\*(?!\*)")
_OF_ALL = re.compile(
    r"""\b(?:for|of|out\ of|from|among|für|von|para|por|de|pour|sur|per|su|из|за)\s+
      (?:(?:all|the|his|her|their|its|our|these|those|original|initial|remaining|first|alle|die|den|der|los|las
      |todos|todas|os|as|les|tous|gli|i|le|tutti|всех)\s+)+$
    |\b(?:after|before|by)\s+\w+ing\s+(?:\w+\s+){0,2}$""",
    re.IGNORECASE | re.VERBOSE,
)


def without_remarks(text: str) -> str:
    """The text without the offers, wishes and notes that it ends with."""
    for _ in range(MOST_REMARKS):
        kept = text.rstrip()
        begin = kept.rfind("\n") + 1
        begin = max(begin, len(kept) - LATEST)
        remark = _REMARK.search(kept[begin:])
        if remark is None or not kept[: begin + remark.start()].strip():
            return text
        text = kept[: begin + remark.start()]
    return text


def tells_nothing(text: str) -> bool:
    """Whether an answer begins or ends with saying that it cannot tell, and concludes nothing after that."""
    sentences = [one for one in _SENTENCE.split(text.strip()) if one.strip()]
    if not sentences:
        return False
    last = _TELLS_NOT.search(sentences[-1])
    if last is not None and not _CONCLUDES.search(sentences[-1][last.end() :]):
        return True
    first = _TELLS_NOT.search(sentences[0])
    return first is not None and not _CONCLUDES.search(text.strip()[first.end() :])


def first_line(text: str) -> str | None:
    """The first line of an answer, if an explanation follows it that does not take it back."""
    line, _, rest = text.strip().partition("\n")
    return (
        line
        if len(line) <= LONGEST and rest.strip() and rest.startswith("\n") and not _TAKES_BACK.search(rest)
        else None
    )


def bold_spans(text: str) -> list[tuple[int, int]]:
    """Where the text that is bold in Markdown begins and ends; `2**3` is none."""
    return [bold.span(1) for bold in _BOLD.finditer(text)]


def is_of_all(before: str) -> bool:
    """Whether the words before a number say what the result is about: `$64 for all the 16 glasses`."""
    return _OF_ALL.search(f"{before[-60:].rstrip()} ") is not None


def same_sentence(between: str) -> bool:
    """Whether nothing ends between two numbers: no sentence, no clause, no line."""
    return not re.search(r"[.!?;:,]\s|\n", between)
