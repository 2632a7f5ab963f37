"""Extracts the answer from a model's output: a number, a choice, JSON or text. Used by verifiers and votes.

Every pattern here runs on untrusted text, so each must run in time linear in its length.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from tierwise.spec.ask import Equality
from tierwise.spec.call import Completion
from tierwise.spec.json import Json
from tierwise.spec.thinking import without_thinking
from tierwise.verifiers.expression import Value
from tierwise.verifiers.plain import plain, straight, without_layout

if TYPE_CHECKING:
    from tierwise.verifiers.units import Unit

MOST_DEPTH = 64
"""Maximum nesting depth of a JSON answer."""
MOST_BEGINNINGS = 1000
"""Brackets in a text that are tried as the beginning of JSON."""

_FENCED = re.compile(r"```[^\n`]*\n(.*?)(?:```|\Z)", re.DOTALL)
_BEGINS_JSON = re.compile(r"[{[]")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{(.*)\}|\\\((.*)\\\)", re.DOTALL)
_BULLET = re.compile(r"^[-•]\s+(?=\D)")
_PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">", "$": "$"}
_BARE = re.compile(r"-?\d{1,300}(?:/\d{1,300})?|-?\d{1,300}\.\d{1,300}")
_WORD = re.compile(r"[^\W\d_]+")
_DIGIT = re.compile(r"\d")
_SAYING = frozenset(
    [
        "a", "about", "an", "answer", "approximately", "are", "equals", "exactly", "is", "it", "result", "so", "sum",
        "the", "they", "total",
    ]
)  # fmt: skip
_LETTER = re.compile(r"(?:^|[\s(*])([A-Z])(?:[).:*]|\s*$)")


def spoken(completion: Completion) -> str:
    """The text without the thinking that some engines leave in it, with or without its opening tag."""
    return without_thinking(completion.text)


def fenced(text: str) -> str:
    """The last code block of an answer, or the whole answer if it has none."""
    blocks = _FENCED.findall(text)
    return str(blocks[-1]).strip() if blocks else text.strip()


def marked(text: str) -> str | None:
    r"""The last marked result of an answer: `\boxed{…}`, `<answer>…</answer>`, `#### …`, `the answer is …`.

    Returns None without one, and for a last box that is empty or was never closed.
    """
    from tierwise.verifiers.marks import last_mark  # noqa: PLC0415 - see readers.py

    mark = last_mark(straight(plain(text)))
    if mark is None or mark.empty:
        return None
    return mark.said.strip().rstrip(".*").strip() or None


def number_in(text: str) -> Value | None:
    """The number of an answer; None without one, or with one that cannot be read as a whole."""
    from tierwise.verifiers.quantity import quantity_in  # noqa: PLC0415 - see readers.py

    found = quantity_in(text)
    return None if found is None else found.value


def number_key(value: Value) -> str:
    """A number in canonical form: exact, or to twelve digits where a root or π was in it."""
    return str(value) if isinstance(value, Fraction) else f"{value:.12g}"


def json_in(text: str) -> Json:
    """The JSON value of an answer: the whole answer, its last code block that is JSON, or the first whole object or
    list in the text. A part of an object or list that is broken is never taken.

    Raises:
        ValueError: there is none.
    """
    blocks = [str(block) for block in reversed(_FENCED.findall(text))]
    for candidate in (text, *blocks):
        try:
            return _plain(_JSON.decode(candidate.strip()), MOST_DEPTH)
        except (ValueError, RecursionError):
            continue
    place = 0
    for _ in range(MOST_BEGINNINGS):
        if (begins := _BEGINS_JSON.search(text, place)) is None:
            break
        try:
            return _plain(_JSON.raw_decode(text, begins.start())[0], MOST_DEPTH)
        except json.JSONDecodeError as error:
            place = max(error.pos, begins.end())  # not within what is broken, which would also take time without bound
        except (ValueError, RecursionError):
            break
    raise ValueError("not JSON")


def _refused(constant: str) -> Json:
    raise ValueError(f"{constant} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_refused)


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
    r"""Text without case, repeated whitespace, and punctuation, quotes, emphasis and brackets around it.

    Unicode forms of the same character are equal, and so are full-width and ASCII signs; `\text{…}` and a box are
    what they hold.
    """
    text = " ".join(straight(without_layout(plain(text))).split())
    for _ in range(8):
        bare = _BULLET.sub("", text).strip(" .,;:!?\"'`*_")
        if (box := _BOX.fullmatch(bare)) is not None:
            bare = box[1] if box[1] is not None else box[2]
        elif bare[:1] and (closing := _PAIRS.get(bare[0])) is not None and bare.endswith(closing) and len(bare) > 1:
            inner = bare[1:-1]
            bare = bare if bare[0] in inner or closing in inner else inner
        bare = " ".join(bare.split())
        if bare == text:
            break
        text = bare
    return text.casefold()


def canonical(value: Json) -> str:
    """Canonical JSON: sorted keys, no whitespace, 1.0 written as 1."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _number_key(text: str) -> str | None:
    """The number with its unit in base units: `5000 m`, `1/2`."""
    from tierwise.verifiers.quantity import located  # noqa: PLC0415 - see readers.py
    from tierwise.verifiers.units import unit_after  # noqa: PLC0415

    text, found = located(text)
    if found is None or found.value is None:
        return None
    unit = unit_after(text, found)
    return number_key(found.value) if unit is None else amount_key(found.value, unit)


def amount_key(value: Value, unit: Unit) -> str:
    """An amount in canonical form."""
    from tierwise.verifiers.units import in_base  # noqa: PLC0415 - see readers.py

    number, base = in_base(value, unit)
    return f"{number_key(number)} {base}".rstrip()


def with_asked_unit(key: str, question: str) -> str:
    """The key of a bare number with the unit in which the question wants its answer, and that of a percentage as a
    number unless the question asks for one.
    """
    from tierwise.verifiers.units import asked_unit  # noqa: PLC0415 - see readers.py

    if key.endswith(" %") and _BARE.fullmatch(key[:-2]) is not None:
        asked = asked_unit(question)
        return key if asked is not None and asked[1] == "%" else number_key(Fraction(key[:-2]) / 100)
    if _BARE.fullmatch(key) is None or (unit := asked_unit(question)) is None:
        return key
    return amount_key(Fraction(key), unit)


def _choice_key(text: str) -> str | None:
    place = marked(text) or text
    found = _LETTER.findall(place)
    key = str(found[-1]) if found else normalised(place).strip("()[]")
    return (key.upper() if len(key) == 1 else key) or None


def _json_key(text: str) -> str | None:
    try:
        return canonical(json_in(unicodedata.normalize("NFC", text)))
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
    if _is_amount(place) and (number := _number_key(text)) is not None:  # `42`, `$42`, `= 42 apples`
        return number
    return _text_key(place)


def _is_amount(text: str) -> bool:
    """Whether a short text is a number with its unit, and not a name with a number such as `Room 5`."""
    from tierwise.verifiers.amounts import prepared, whole  # noqa: PLC0415 - see readers.py
    from tierwise.verifiers.number_words import numbers_in_words  # noqa: PLC0415

    text = plain(text)
    words = text.split()
    if len(words) > 6:
        return False
    if whole(prepared(text), ".") is not None:
        return True
    spelled = next((start for start, _, _ in numbers_in_words(text)), len(text))
    digit = _DIGIT.search(text)
    lead = text[: min(spelled, digit.start() if digit else len(text))]
    return len(words) <= 3 and all(word.lower() in _SAYING for word in _WORD.findall(lead))


_KEYS: dict[Equality, Callable[[str], str | None]] = {
    "auto": _auto_key,
    "number": _number_key,
    "choice": _choice_key,
    "json": _json_key,
    "text": _text_key,
    "code": lambda text: fenced(text) or None,  # its text; `verifiers.votes` compares what it does
}


def answer_key(completion: Completion, equality: Equality) -> str | None:
    """The answer of a vote in canonical form, so that equal answers are equal texts; None without an answer.

    Tool calls are compared by name and arguments, or by one of them if `equality` says so. A call never equals a text.
    """
    if completion.tool_calls:
        return f"calls\n{canonical([_called(dict(call), equality) for call in completion.tool_calls])}"
    return _KEYS["auto" if equality in ("tool_name", "tool_arguments") else equality](spoken(completion))


def _called(call: dict[str, Json], equality: Equality) -> Json:
    function = call.get("function")
    if not isinstance(function, dict):
        return None
    if equality == "tool_name":
        return function.get("name")
    arguments = function.get("arguments")
    try:
        read = json_in(arguments) if isinstance(arguments, str) else _plain(arguments, MOST_DEPTH)
    except ValueError:
        read = arguments if isinstance(arguments, str) else None
    return read if equality == "tool_arguments" else {"name": function.get("name"), "arguments": read}
