"""Decodes the JSON of a request, within limits that are checked before it is decoded."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tierwise.spec import limits
from tierwise.spec.errors import SpecError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def decoded(body: bytes) -> dict[str, Any]:
    """The object in a request's body.

    Raises:
        SpecError: it is not a JSON object, or has too many values or levels.
    """
    check_body(body)
    try:
        value = _DECODER.decode(body.removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, msgspec.DecodeError, RecursionError, MemoryError) as error:
        raise SpecError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SpecError(f"the body is a JSON {type(value).__name__}; send an object with `model` and `messages`")
    if body.count(b"[") + body.count(b"{") > limits.DEPTH and _is_deeper(value, limits.DEPTH):
        raise SpecError(f"the body is nested more than {limits.DEPTH} levels deep")
    return value


def _number(text: str) -> float:
    """A JSON number with a fraction or an exponent. msgspec's own reader takes 8 µs for `1e300`."""
    if math.isinf(number := float(text)):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


_DECODER = msgspec.json.Decoder(float_hook=_number)


def check_body(body: bytes) -> None:
    """Check what a body would cost to decode, in time linear in its length and without decoding it.

    Raises:
        SpecError: it has too many JSON values or escapes.
    """
    if len(body) <= limits.VALUES:
        return
    escapes = body.count(b"\\")
    if escapes > limits.ESCAPES:
        raise SpecError(
            f"the body has {escapes:,} backslashes, the limit is {limits.ESCAPES:,}; send text as UTF-8 instead of "
            r"\uXXXX escapes, and data as base64"
        )
    if len(body.translate(None, _ALL_BUT_STARTS)) > limits.VALUES and _has_too_many_values(body):
        raise SpecError(f"the body has more than {limits.VALUES:,} JSON values; send fewer messages, tools or fields")


_ALL_BUT_STARTS = bytes(set(range(256)) - set(b",[{"))
_ALL_BUT_MARKS = bytes(set(range(256)) - set(b',[{"'))


def _has_too_many_values(body: bytes) -> bool:
    """Count the commas and opening brackets outside of strings."""
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = body.translate(None, _ALL_BUT_MARKS)
    if marks.count(b'"') > 4 * limits.VALUES:  # keys are strings, too
        return True
    return sum(map(len, marks.split(b'"')[::2])) > limits.VALUES


def _is_deeper(value: object, depth: int) -> bool:
    level: list[Any] = [value]
    for _ in range(depth + 1):
        level = [
            inner
            for one in level
            for inner in (one.values() if type(one) is dict else one)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True
