"""Answers to contest problems, judged as LiveCodeBench judges them (Jain et al., 2024).

A program reads stdin and writes stdout, or a function, most often a method of `Solution`, is called. Every case has the
same limit, in CPU seconds, and a process of its own; upstream runs all of them in one, against the wall clock. The
answer sees the inputs and never an output.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import zlib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.check_pool import CheckLimitExceeded
from tierwise.verifiers.code.blocks import code_in
from tierwise.verifiers.code.program import without_addresses
from tierwise.verifiers.code.python_tests import read_code
from tierwise.verifiers.sandbox import MIB, Limits, run_for_grade

MOST_BYTES = 256 * MIB
"""Decompressed cases of one problem."""
MEMORY = 1024 * MIB
LEAST_OUTPUT = 64 * 1024


class LiveCodeBench(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The answer's program is right on every case of a contest problem."""

    kind = "livecodebench"
    decisive = True
    runs_code = True

    tests: str
    """The cases: a JSON list of pairs of input and output, compressed by zlib, in base64."""
    function: str | None = None
    """The function that is called with the JSON values of the input's lines; without it, the program reads stdin."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 6.0
    """CPU seconds of each case."""

    def __post_init__(self) -> None:
        if not self.cases():
            raise ValueError("tests: there are no cases")

    def cases(self) -> list[tuple[str, str]]:
        """Input and output of every case.

        Raises:
            ValueError: `tests` does not hold any.
        """
        try:
            return msgspec.json.decode(unpacked(self.tests), type=list[tuple[str, str]])
        except (ValueError, msgspec.DecodeError) as error:
            raise ValueError(f"tests: do not hold cases ({error})") from error

    def key(self, completion: Completion) -> str | None:
        return code_in(spoken(completion)) or None

    async def verify(self, completion: Completion) -> Verdict:
        try:
            code = await read_code(spoken(completion), ["Solution", *([self.function] if self.function else [])])
        except CheckLimitExceeded as error:
            return rejected(f"the code could not be read: {error}")
        if not code:
            return rejected("no program in the answer")
        cases = await asyncio.to_thread(self.cases)
        wanted = [output for _, output in cases]
        given = {
            "code": code,
            "function": self.function,
            "seconds": self.seconds,
            "most": _most(wanted),
            "inputs": [text for text, _ in cases],
        }
        done = await run_for_grade(_inside(), limits=self._limits(cases), stdin=msgspec.json.encode(given))
        if done.stopped:
            return rejected(f"stopped: {done.stopped}")
        try:
            found = msgspec.json.decode(done.stdout.encode(), type=list[dict[str, str]])
        except msgspec.DecodeError:
            return rejected((done.stderr.strip() or "the program ended the test").splitlines()[-1])
        why = await asyncio.to_thread(_first_wrong, found, wanted, is_call=self.function is not None)
        return rejected(without_addresses(why)) if why else accepted(f"all {len(cases)} outputs are right")

    def _limits(self, cases: list[tuple[str, str]]) -> Limits:
        size = sum(len(text) + len(output) for text, output in cases)
        return Limits(
            seconds=self.seconds * len(cases) + 10,
            cpu_seconds=self.seconds * len(cases) + 5,
            memory_bytes=MEMORY + 4 * size,
            output_bytes=4 * MIB + 4 * size,
            scratch_bytes=64 * MIB + 2 * size,
        )


@functools.cache
def _inside() -> str:
    return (Path(__file__).parent / "inside" / "contest.py").read_text()


def packed(cases: list[tuple[str, str]]) -> str:
    """Cases as `tests` holds them. The same cases give the same text."""
    return base64.b64encode(zlib.compress(msgspec.json.encode(cases), 6)).decode()


def unpacked(text: str) -> bytes:
    """What a text of base64 holds, compressed by zlib.

    Raises:
        ValueError: it holds no such thing, or too much of it.
    """
    reader = zlib.decompressobj()
    try:
        raw = reader.decompress(base64.b64decode(text, validate=True), MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not reader.eof:
        raise ValueError(f"cut off, or more than {MOST_BYTES // MIB} MiB")
    return raw


def _most(outputs: list[str]) -> int:
    """Bytes that a case may write: a power of two, which tells nothing about an output."""
    longest = max(4 * max(map(len, outputs)), LEAST_OUTPUT)
    return 1 << (longest - 1).bit_length()


def _first_wrong(found: list[dict[str, str]], wanted: list[str], *, is_call: bool) -> str:
    """Why the first wrong case is wrong; empty if all are right."""
    for number, output in enumerate(wanted, 1):
        if number > len(found):
            return "not every case was run"
        one = found[number - 1]
        why = one.get("why")
        if why is None:
            said = one["said"]
            is_right = returned(said) == msgspec.json.decode(output) if is_call else is_printed(said, output)
            if is_right:
                continue
            why = f"{said.strip()[:60]!r} instead of {output.strip()[:60]!r}"
        return f"case {number} of {len(wanted)}: {why}"
    return ""


def returned(said: str) -> Any:
    """The value that `inside/contest.py` wrote."""
    try:
        return _value(msgspec.json.decode(said))
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError):
        return object()


def _value(raw: Any) -> Any:
    match raw:
        case ["i", str(text)]:
            return int(text, 16)
        case ["f", str(text)]:
            return float.fromhex(text)
        case ["l", list(items)]:
            return [_value(one) for one in items]
        case ["t", list(items)]:
            return tuple(_value(one) for one in items)
        case ["d", list(pairs)]:
            return {_value(key): _value(one) for key, one in pairs}
        case None | bool() | str():
            return raw
    return object()


def is_printed(said: str, wanted: str) -> bool:
    """Whether two outputs are equal line by line, but for blanks around lines; lines of numbers are compared as
    decimals, exactly.
    """
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in (said, wanted))
    return len(ours) == len(theirs) and all(
        one == other or _are_equal_numbers(one, other) for one, other in zip(ours, theirs, strict=True)
    )


def _are_equal_numbers(said: str, wanted: str) -> bool:
    try:
        return [Decimal(word) for word in said.split()] == [Decimal(word) for word in wanted.split()]
    except InvalidOperation:
        return False
