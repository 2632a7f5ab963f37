r"""Patterns in the dialect of ECMA-262, which JSON Schema uses, as patterns of RE2.

The dialects look alike and differ: `.` stops at more line ends, `\s` has more blanks, `[[]` is a class, `\u0041` a
character, and `\A` is nothing. What RE2 cannot match in linear time (look-around, back-references) is refused.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""\\u\{(?P<code>[0-9A-Fa-f]{1,6})\}
    | \\u(?P<high>[dD][89abAB][0-9A-Fa-f]{2})\\u(?P<low>[dD][c-fC-F][0-9A-Fa-f]{2})
    | \\u(?P<unit>[0-9A-Fa-f]{4}) | \\x(?P<hex>[0-9A-Fa-f]{2}) | \\c(?P<control>[A-Za-z])
    | \\(?P<property>[pP])\{(?P<name>[^{}]*)\} | \\0(?!\d)(?P<zero>)
    | \\k<(?P<named>[^>]*)> | \\(?P<digit>[0-9]) | \\(?P<escape>.)
    | \(\?(?P<look><?[=!]) | \(\?<(?P<group>[^>=!]+)> | \(\?(?P<mode>:|[ims-]+:) | (?P<special>\(\?) | (?P<open>\()
    | (?P<quantifier>\{\d+(?:,\d*)?\}) | (?P<brace>[{}]) | (?P<class>\[\^?\]?) | (?P<end>\])
    | (?P<any>\.) | (?P<plain>.)""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = r"\t\n\v\f\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_NOT_SPACE = (
    r"\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{202a}-\x{202e}"
    r"\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{fefe}\x{ff00}-\x{10ffff}"
)
_LINE_ENDS = r"\n\r\x{2028}\x{2029}"
_CATEGORIES = {
    "Letter": "L", "Lowercase_Letter": "Ll", "Uppercase_Letter": "Lu", "Titlecase_Letter": "Lt",
    "Modifier_Letter": "Lm", "Other_Letter": "Lo", "Mark": "M", "Nonspacing_Mark": "Mn", "Spacing_Mark": "Mc",
    "Enclosing_Mark": "Me", "Number": "N", "Decimal_Number": "Nd", "Letter_Number": "Nl", "Other_Number": "No",
    "Punctuation": "P", "Connector_Punctuation": "Pc", "Dash_Punctuation": "Pd", "Open_Punctuation": "Ps",
    "Close_Punctuation": "Pe", "Initial_Punctuation": "Pi", "Final_Punctuation": "Pf", "Other_Punctuation":
    "Po", "Symbol": "S", "Math_Symbol": "Sm", "Currency_Symbol": "Sc", "Modifier_Symbol": "Sk", "Other_Symbol":
    "So", "Separator": "Z", "Space_Separator": "Zs", "Line_Separator": "Zl", "Paragraph_Separator": "Zp",
    "Control": "Cc", "Format": "Cf", "Private_Use": "Co", "digit": "Nd", "punct": "P",
}  # fmt: skip
_ASCII = {"ASCII": r"\x{0}-\x{7f}", "Any": r"\x{0}-\x{10ffff}"}
_KEPT_ESCAPES = "dDwWnrtfv"


def to_re2(pattern: str) -> str:
    """The same pattern for RE2; groups do not capture.

    Raises:
        ValueError: RE2 cannot match it, or it is no pattern of ECMA-262.
    """
    parts: list[str] = []
    inside = False
    for token in _TOKEN.finditer(pattern):
        parts.append(_in_class(token, pattern) if inside else _outside(token, pattern))
        if not inside and token["class"]:
            inside = token["class"] in ("[", "[^")
        elif inside and token["end"]:
            inside = False
    if inside:
        raise ValueError(f"{pattern[:80]!r} has a [ without ]")
    return "".join(parts)


def _outside(token: re.Match[str], pattern: str) -> str:
    if (shared := _shared(token, pattern)) is not None:
        return shared
    match token.lastgroup:
        case "look":
            raise ValueError(
                f"{pattern[:80]!r} looks {'behind' if '<' in token['look'] else 'ahead'}, which RE2 cannot do"
            )
        case "group" | "open":
            return "(?:"
        case "mode":
            return token[0]
        case "special":
            raise ValueError(
                f"{pattern[:80]!r} has {pattern[token.start() : token.start() + 4]!r}, which ECMA-262 has not"
            )
        case "brace" | "end":
            return "\\" + token[0]
        case "class":
            return {"[]": r"[^\x{0}-\x{10ffff}]", "[^]": r"[\x{0}-\x{10ffff}]"}.get(token[0], token[0])
        case "any":
            return f"[^{_LINE_ENDS}]"
        case _:
            return token[0]


def _in_class(token: re.Match[str], pattern: str) -> str:
    if (shared := _shared(token, pattern, in_class=True)) is not None:
        return shared
    match token.lastgroup:
        case "class":  # a `[` is itself, and what the token took along with it comes after it
            rest = token[0][1:]
            if rest.endswith("]"):
                raise ValueError(f"{pattern[:80]!r} has a [ in a class; write it \\[")
            return "\\[" + rest
        case _:
            return token[0]


def _shared(token: re.Match[str], pattern: str, *, in_class: bool = False) -> str | None:
    """What an escape becomes; None where the token is none."""
    match token.lastgroup:
        case "code" | "unit" | "hex":
            code = int(token[token.lastgroup], 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise ValueError(f"{pattern[:80]!r} has {token[0]}, which is no character")
            return rf"\x{{{code:x}}}"
        case "low":
            pair = (int(token["high"], 16), int(token["low"], 16))
            return rf"\x{{{0x10000 + (pair[0] - 0xD800) * 0x400 + pair[1] - 0xDC00:x}}}"
        case "control":
            return rf"\x{{{ord(token['control'].upper()) - 64:x}}}"
        case "zero":
            return r"\x{0}"
        case "name":
            return _property(token["property"], token["name"], pattern, in_class=in_class)
        case "named" | "digit":
            raise ValueError(f"{pattern[:80]!r} refers back to a group ({token[0]}), which RE2 cannot do")
        case "escape":
            return _escape(token["escape"], pattern, in_class=in_class)
        case _:
            return None


def _escape(sign: str, pattern: str, *, in_class: bool) -> str:
    if sign in _KEPT_ESCAPES:
        return f"\\{sign}"
    if sign in "sS":
        blanks = _SPACE if sign == "s" else _NOT_SPACE
        return blanks if in_class else f"[{blanks}]"
    if sign in "bB":
        if in_class and sign == "b":
            return r"\x{8}"
        if not in_class:
            return f"\\{sign}"
    if sign.isalnum():
        raise ValueError(f"{pattern[:80]!r} has \\{sign}, which ECMA-262 has not")
    return re.escape(sign) if sign.isascii() else sign


def _property(kind: str, name: str, pattern: str, *, in_class: bool) -> str:
    value = name.rpartition("=")[2]
    if value in _ASCII:
        if kind == "P":
            raise ValueError(f"{pattern[:80]!r} has \\P{{{name}}}, which cannot be translated")
        return _ASCII[value] if in_class else f"[{_ASCII[value]}]"
    return rf"\{kind}{{{_CATEGORIES.get(value, value)}}}"
