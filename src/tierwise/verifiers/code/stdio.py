"""Answers that are programs: they read stdin and write stdout, as in programming contests."""

from __future__ import annotations

import math
import re
from typing import Annotated

import msgspec

from tierwise.spec import limits
from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.check_pool import CheckLimitExceeded
from tierwise.verifiers.code.blocks import code_in
from tierwise.verifiers.code.program import without_addresses
from tierwise.verifiers.code.python_tests import read_code
from tierwise.verifiers.sandbox import Limits, run_for_grade

MOST_CASES = 200


class StdioCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the program: what it reads, and what it must write."""

    input: str = ""
    """All of stdin."""
    output: str
    """All of stdout. Blanks at the ends of lines and of the text do not count, and neither does how a decimal number is
    written."""


Cases = Annotated[list[StdioCase], msgspec.Meta(min_length=1, max_length=MOST_CASES)]


class Stdio(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    """The answer's program writes the right output for every input. The program never sees an output."""

    kind = "stdio"
    decisive = True
    runs_code = True
    brought = "cases"

    cases: Cases | None = None
    """Inputs with their outputs, in the order in which they are tried. A tier leaves them to the request."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 5.0
    """CPU seconds of each case. A program that sleeps is stopped some seconds later."""

    def __post_init__(self) -> None:
        size, most = sum(len(case.input) + len(case.output) for case in self.cases or ()), limits.TESTS_BYTES
        if size > most:
            raise ValueError(f"cases: {size} characters of input and output are too many; at most {most} are run")

    @property
    def is_ready(self) -> bool:
        return self.cases is not None

    def key(self, completion: Completion) -> str | None:
        return code_in(spoken(completion)) or None

    async def verify(self, completion: Completion) -> Verdict:
        if self.cases is None:
            return rejected("there are no cases to run")
        try:
            code = await read_code(spoken(completion))
        except CheckLimitExceeded as error:
            return rejected(f"the code could not be read: {error}")
        if not code:
            return rejected("no program in the answer")
        for number, case in enumerate(self.cases, 1):
            if why := await self._run(code, case):
                return rejected(f"case {number} of {len(self.cases)}: {why}")
        return accepted(f"all {len(self.cases)} outputs are right")

    async def _run(self, code: str, case: StdioCase) -> str:
        """Why the program failed a case; empty if it did not."""
        done = await run_for_grade(
            code, limits=Limits.of_grade(self.seconds), stdin=case.input.encode(errors="surrogatepass")
        )
        if done.stopped:
            return f"stopped: {done.stopped}"
        if done.exit_code:
            return without_addresses((done.stderr.strip() or f"exit code {done.exit_code}").splitlines()[-1])
        if is_same(done.stdout, case.output):
            return ""
        return f"{done.stdout.strip()[:60]!r} instead of {case.output.strip()[:60]!r}"


def is_same(said: str, wanted: str) -> bool:
    """Whether two outputs are equal but for blanks at the ends of lines and of the text, and the way in which decimal
    numbers are written: `0.50` is `0.5`, up to a relative error of 1e-9.
    """
    ours, theirs = _lines(said), _lines(wanted)
    if ours == theirs:
        return True
    if len(ours) != len(theirs):
        return False
    return all(
        one == other or _is_same_line(_words(one), _words(other)) for one, other in zip(ours, theirs, strict=True)
    )


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.replace("\r\n", "\n").strip().split("\n")]


def _words(line: str) -> list[str]:
    """The words of a line, and the blanks between them."""
    return re.split(r"(\s+)", line)


def _is_same_line(ours: list[str], theirs: list[str]) -> bool:
    return len(ours) == len(theirs) and all(map(_is_same_word, ours, theirs))


def _is_same_word(said: str, wanted: str) -> bool:
    if said == wanted:
        return True
    if not any(mark in wanted for mark in ".eE"):  # a whole number, or a word
        return False
    try:
        number, right = float(said), float(wanted)
    except ValueError:
        return False
    return math.isfinite(right) and math.isclose(number, right, rel_tol=1e-9, abs_tol=1e-12)
