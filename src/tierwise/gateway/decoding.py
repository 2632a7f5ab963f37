"""Decodes the JSON of a request, within limits that are checked before it is decoded."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from tierwise.spec import limits
from tierwise.spec.errors import SpecError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def decoded(body: bytes | bytearray) -> dict[str, Any]:
    """The object in a request's body, whose values were counted before.

    Raises:
        SpecError: it is not a JSON object, or has too many levels.
    """
    try:
        begins = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
        value = _DECODER.decode(memoryview(body)[begins:])
    except (ValueError, msgspec.DecodeError, RecursionError, MemoryError) as error:
        raise SpecError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SpecError(f"the body is a JSON {type(value).__name__}; send an object with `model` and `messages`")
    brackets = body.count(b"{") + body.count(b"[")
    if brackets > limits.DEPTH and _is_deeper(value, limits.DEPTH):
        raise SpecError(f"the body is nested more than {limits.DEPTH} levels deep")
    return value


def _number(text: str) -> float:
    """A JSON number with a fraction or an exponent. msgspec's own reader takes 8 µs for `1e300`."""
    if math.isinf(number := float(text)):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


_DECODER = msgspec.json.Decoder(float_hook=_number)


class ValueCounter:
    """Counts JSON values and escapes of a body while it arrives, so that a costly body is refused before it is all
    there. It does not check the syntax: it counts the commas and opening brackets outside of strings.
    """

    def __init__(self) -> None:
        self._values = 0
        self._escapes = 0
        self._wide_bytes = 0
        self._is_in_string = False
        self._backslash = b""  # the first half of an escape, whose second half is yet to come

    def add(self, part: bytes) -> None:
        """Count the next part of the body, in time linear in its length.

        Raises:
            SpecError: there are too many values, escapes, or bytes that are not ASCII.
        """
        if not part.isascii():
            self._wide_bytes += len(part.translate(None, _ASCII))
            if self._wide_bytes > limits.WIDE_BYTES:
                most = limits.WIDE_BYTES // limits.MIB
                raise SpecError(
                    f"the body has more than {most} MiB of text that is not ASCII, which no model reads; send less"
                )
        if self._backslash or b"\\" in part:
            part = self._without_escapes(self._backslash + part)
        marks = part.translate(None, _ALL_BUT_MARKS).split(b'"')
        self._values += sum(map(len, marks[1::2] if self._is_in_string else marks[::2]))
        self._is_in_string ^= len(marks) % 2 == 0
        if self._values > limits.VALUES:
            most = limits.VALUES
            raise SpecError(f"the body has more than {most:,} JSON values; send fewer messages, tools or fields")

    def _without_escapes(self, part: bytes) -> bytes:
        trailing = len(part) - len(part.rstrip(b"\\"))
        self._backslash = b"\\" if trailing % 2 else b""
        part = part.removesuffix(self._backslash)
        self._escapes += part.count(b"\\")
        if self._escapes > limits.ESCAPES:
            raise SpecError(
                f"the body has more than {limits.ESCAPES:,} backslashes; send text as UTF-8 instead of "
                r"\uXXXX escapes, and data as base64"
            )
        return part.replace(b"\\\\", b"").replace(b'\\"', b"")


_ASCII = bytes(range(128))
_ALL_BUT_MARKS = bytes(set(range(256)) - set(b',[{"'))
_STEP_BYTES = 256 * limits.KIB


def check_body(body: bytes) -> None:
    """`ValueCounter` for a whole body.

    Raises:
        SpecError: it has too many values, escapes, or bytes that are not ASCII.
    """
    counter = ValueCounter()
    for start in range(0, len(body), _STEP_BYTES):
        counter.add(body[start : start + _STEP_BYTES])


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
