"""One way of writing: signs that mean the same become the same sign, and LaTeX that only formats goes.

Everything runs in time linear in the text.
"""

from __future__ import annotations

import re
import unicodedata

_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SPACES = dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
_NOTHING = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xAD], "")
_DASHES = dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2015, 0x2212, 0xFE58, 0xFE63, 0x2796], "-")
_QUOTES = {**dict.fromkeys("“”„‟«»″「」『』《》〈〉", '"'), **dict.fromkeys("‘’‚‛‹›′", "'")}
_CJK = {"。": ". ", "｡": ". ", "、": ", ", "【": "[", "】": "]", "〔": "[", "〕": "]", "・": "·", "۔": ". ", "।": ". "}
_ARABIC = {"٫": ".", "٬": ",", "،": ",", "؛": ";", "؟": "?", "٪": "%", "−": "-"}
_SIGNS: dict[int, str] = {
    **_FULL_WIDTH,
    **_SPACES,
    **_NOTHING,
    **_DASHES,
    **{ord(sign): other for sign, other in (*_CJK.items(), *_ARABIC.items())},
}
_OTHER_DIGIT = re.compile(r"[^\W\x00-\x7f]")

_COMMAND = re.compile(
    r"""\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mathsf|mathtt|operatorname|mbox|bm|emph|underline)
        \s*\{([^{}]{0,300})\}
    | \\(?:left|right|displaystyle|textstyle|limits|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])
    | \\(?:quad|qquad|enspace|thinspace|space)(?![A-Za-z]) | \\[,;: ] | \\! | (?<=\d)~(?=\d{3}(?!\d)|\\)""",
    re.VERBOSE,
)


def plain(text: str) -> str:
    """The text with ASCII for full-width characters, blanks, dashes and foreign digits, and LF for CRLF; superscripts
    stay.
    """
    text = unicodedata.normalize("NFC", text).translate(_SIGNS).replace("\r\n", "\n")
    return _OTHER_DIGIT.sub(_digit, text)


def _digit(match: re.Match[str]) -> str:
    """A decimal digit of another script as ASCII; other characters as they are."""
    value = unicodedata.decimal(match[0], None)
    return match[0] if value is None else str(int(value))


def straight(text: str) -> str:
    """The text with straight quotes."""
    return text.translate(_STRAIGHT)


_STRAIGHT: dict[int, str] = str.maketrans(_QUOTES)


def without_layout(text: str) -> str:
    r"""LaTeX without what only formats: `\text{…}`, `\left`, spacing commands."""
    for _ in range(2):  # `\textbf{\text{…}}`
        text, count = _COMMAND.subn(_content, text)
        if not count:
            break
    return text


def _content(match: re.Match[str]) -> str:
    if match[1] is not None:
        return f" {match[1].strip()} " if match[1].strip() else " "
    return "" if match[0] == r"\!" or match[0].startswith((r"\l", r"\r", r"\d", r"\b", r"\B", r"\t")) else " "
