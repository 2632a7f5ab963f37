"""Extracts the answer from a model's output: a number, a choice, JSON or text. Used by verifiers and votes.

Every pattern here runs on untrusted text, so each must run in time linear in its length.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

from tierwise.spec.call import Completion
from tierwise.spec.json import Json

Equality = Literal["auto", "number", "choice", "json", "text"]

MOST_DIGITS = 100
MOST_EXPONENT = 200
MOST_DEPTH = 64
"""Maximum nesting depth of a JSON answer."""

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_MARK = re.compile(  # lookahead, so that a mark within the text after a mark is found too
    r"""\\boxed\s*\{
    | ^[ \t]*\#{4}(?!\#)[ \t]*(?=(\S[^\n]{0,300}))
    | \banswer[ \t]*(?:\bis\b|[:=])[\s:*]*(?=([^\n]{1,300}))""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_FRACTION = re.compile(r"(\d?)\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_NUMBER = re.compile(
    r"""(?<![\w.])(?P<sign>[-+−]?)[$€£]?(?P<minus>[-−]?)
    (?: (?:(?P<whole>\d+)[ ])?(?<!/)(?P<over>\d+)/(?P<under>0*[1-9]\d*)(?![\d/])
      | (?P<decimal>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE](?P<exponent>[-+]?\d+))? )""",
    re.VERBOSE,
)
_LETTER = re.compile(r"(?:^|[\s(*])([A-Z])(?:[).:*]|\s*$)")


def spoken(completion: Completion) -> str:
    """The text without the thinking that some engines leave in it, with or without its opening tag."""
    return _THINKING.sub("", completion.text).rpartition("</think>")[2].strip()


def fenced(text: str) -> str:
    """The last code block of an answer, or the whole answer if it has none."""
    blocks = _FENCED.findall(text)
    return str(blocks[-1]).strip() if blocks else text.strip()


def marked(text: str) -> str | None:
    r"""The last marked result of an answer: `\boxed{…}`, `#### …`, `the answer is …`."""
    for mark in reversed(list(_MARK.finditer(text))):
        said = _braced(text[mark.end() : mark.end() + 300]) if mark[0].endswith("{") else (mark[1] or mark[2])
        if result := said.strip().rstrip(".*").strip():
            return result
    return None


def _braced(text: str) -> str:
    """The text up to the brace that matches the one before it."""
    depth = 1
    for brace in re.finditer(r"[{}]", text):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[: brace.start()]
    return ""


def number_in(text: str) -> Fraction | None:
    r"""The marked number, else the last one: `about $1,234.50` is 1234.5, `3/4` and `\frac{3}{4}` are 0.75."""
    mark = marked(text) or ""
    numbers = _numbers(mark)
    in_mark = numbers[::-1] if "=" in mark else numbers  # `18 dollars for 7 days`, but `3 * 6 = 18`
    found = map(_value, (*in_mark, *reversed(_numbers(text))))
    return next((number for number in found if number is not None), None)


def _numbers(text: str) -> list[re.Match[str]]:
    plain = _FRACTION.sub(lambda part: f"{part[1]} {part[2]}/{part[3]} " if part[1] else f"{part[2]}/{part[3]} ", text)
    return list(_NUMBER.finditer(plain.replace("{,}", ",")))


def _value(match: re.Match[str]) -> Fraction | None:
    whole, over, under, decimal, exponent = match.group("whole", "over", "under", "decimal", "exponent")
    if len(match[0]) > MOST_DIGITS or abs(int(exponent or 0)) > MOST_EXPONENT:
        return None
    size = Fraction(decimal.replace(",", "")) if decimal else Fraction(int(over), int(under))
    if exponent:
        size *= Fraction(10) ** int(exponent)
    if whole:
        size += int(whole)
    return -size if match["minus"] or match["sign"] in ("-", "−") else size


def json_in(text: str) -> Json:
    """The JSON value of an answer: the whole answer, its code block, or the text between its outermost brackets.

    Raises:
        ValueError: there is none.
    """
    within = [
        text[text.find(opening) : text.rfind(closing) + 1] for opening, closing in ("{}", "[]") if opening in text
    ]
    for candidate in (text, fenced(text), *sorted(within, key=text.find)):
        try:
            return _plain(json.loads(candidate, parse_constant=_refused), MOST_DEPTH)
        except (ValueError, RecursionError):
            continue
    raise ValueError("not JSON")


def _refused(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")


def _plain(value: Json, depth: int) -> Json:
    """The value with 1.0 written as 1."""
    if depth < 0:
        raise ValueError("nested too deeply")
    match value:
        case float() if value.is_integer():
            return int(value)
        case float() if not math.isfinite(value):
            raise ValueError("a number out of range")
        case list():
            return [_plain(item, depth - 1) for item in value]
        case dict():
            return {name: _plain(item, depth - 1) for name, item in value.items()}
        case _:
            return value


def normalised(text: str) -> str:
    """Text without case, repeated whitespace, and punctuation at the ends."""
    return " ".join(text.split()).strip(" .,;:!?\"'`*").casefold()


def choice_in(text: str, options: Sequence[str]) -> str | None:
    """The option that an answer names: the first one in its marked result, else the last one in the text.

    Options match as whole words, longest first, so that `dark red` does not match `red`. Single letters match
    case-sensitively first: `B is a good choice` names B.
    """
    mark = marked(text)
    for place in (mark, text):
        if place is not None and (whole := [option for option in options if normalised(option) == normalised(place)]):
            return whole[0]
    for exact_letters in (True, False):
        pattern = _pattern_of(options, exact_letters=exact_letters)
        for place, which in ((mark, 0), (text, -1)):
            found = [match.lastindex or 0 for match in pattern.finditer(place or "")]
            if found:
                return sorted(options, key=len, reverse=True)[found[which] - 1]
    return None


def _pattern_of(options: Sequence[str], *, exact_letters: bool) -> re.Pattern[str]:
    """One group per option, longest first; `re` caches the compiled pattern per set of options."""
    words = [
        r"\s+".join(re.escape(word) for word in option.split()) for option in sorted(options, key=len, reverse=True)
    ]
    groups = [f"(?-i:({word}))" if exact_letters and len(word) == 1 else f"({word})" for word in words]
    return re.compile(rf"(?<!\w)(?:{'|'.join(groups)})(?!\w)", re.IGNORECASE)


def canonical(value: Json) -> str:
    """Canonical JSON: sorted keys, no whitespace, 1.0 written as 1."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _number_key(text: str) -> str | None:
    number = number_in(text)
    return None if number is None else str(number)


def _choice_key(text: str) -> str | None:
    place = marked(text) or text
    found = _LETTER.findall(place)
    key = str(found[-1]) if found else normalised(place).strip("()[]")
    return (key.upper() if len(key) == 1 else key) or None


def _json_key(text: str) -> str | None:
    try:
        return canonical(json_in(text))
    except ValueError:
        return None


def _text_key(text: str) -> str | None:
    return normalised(text) or None


def _auto_key(text: str) -> str | None:
    """The key of a JSON object or list, else of the marked result, else of a bare number, else of the text."""
    body = fenced(text) if text.startswith("```") else text
    if body.startswith(("{", "[")) and (found := _json_key(body)) is not None:
        return found
    place = marked(text) or text
    if len(place.split()) <= 3 and (number := _number_key(place)) is not None:  # `42`, `$42`, `= 42 apples`
        return number
    return _text_key(place)


_KEYS: dict[Equality, Callable[[str], str | None]] = {
    "auto": _auto_key,
    "number": _number_key,
    "choice": _choice_key,
    "json": _json_key,
    "text": _text_key,
}


def answer_key(completion: Completion, equality: Equality) -> str | None:
    """The answer of a vote in canonical form, so that equal answers are equal texts; None without an answer.

    Tool calls are compared by name and arguments, regardless of `equality`.
    """
    if completion.tool_calls:
        return canonical([_called(dict(call)) for call in completion.tool_calls])
    return _KEYS[equality](spoken(completion))


def _called(call: dict[str, Json]) -> Json:
    function = call.get("function")
    if not isinstance(function, dict):
        return None
    arguments = function.get("arguments")
    try:
        read = json_in(arguments) if isinstance(arguments, str) else _plain(arguments, MOST_DEPTH)
    except ValueError:
        read = arguments if isinstance(arguments, str) else None
    return {"name": function.get("name"), "arguments": read}
