"""Mathematical answers, compared as expressions in any LaTeX notation. Uses math-verify (Hugging Face, Apache-2.0),
which uses SymPy's `eval` and therefore runs in the sandbox; integers are compared without it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.spec.errors import TierwiseError
from tierwise.verifiers.answers import marked, number_in, number_key, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected
from tierwise.verifiers.contained import LimitExceeded, run_contained
from tierwise.verifiers.packages import is_installed
from tierwise.verifiers.sandbox import backend

PACKAGE = "math-verify"

_WHOLE = re.compile(r"[-+]?\d{1,100}")

_VERIFY = """
import logging
logging.disable(logging.CRITICAL)
from math_verify import parse, verify
parse("$x$", parsing_timeout=None)  # imports its parser
begin()
if not parse(given["gold"], parsing_timeout=None, fallback_mode="no_fallback"):
    report("unreadable")
else:
    gold = parse(given["gold"], parsing_timeout=None)
    said = parse(given["said"], parsing_timeout=None)
    report("nothing" if not said else bool(verify(gold, said, timeout_seconds=None)))
"""

_READ = """
import logging
logging.disable(logging.CRITICAL)
from math_verify import parse
begin()
def is_read(gold):
    return parse(gold, parsing_timeout=None, fallback_mode="no_fallback")
report([number for number, gold in enumerate(given) if not is_read(gold)])
"""

_EVALUATE = """
import logging
logging.disable(logging.CRITICAL)
from math_verify import LatexExtractionConfig, parse
latex = [LatexExtractionConfig()]
said = parse("$" + given + "$", extraction_config=latex, parsing_timeout=None, fallback_mode="no_fallback")
value = said[0] if said else None
if value is None or not getattr(value, "is_number", False) or not getattr(value, "is_real", False):
    report(None)
else:
    report(str(value.evalf(30)))
"""

_FORMULA = re.compile(r"\\[A-Za-z]{2,}|[\^!(]")
_NO_NUMBER = re.compile(
    r"[,;<>=≤≥≠±$]|\\(?:[lg]eq?|neq?|pm|mp|in|cup|text|infty|to|approx|or|and)(?![A-Za-z])|\b(?:or|and|to)\b"
)
EVALUATION_SECONDS = 10.0


class MathVerify(BaseVerifier, frozen=True, kw_only=True, omit_defaults=True):
    r"""The answer equals this expression: `\frac{1}{2}`, `0.5` and `1/2` are equal, and `{1, 2}` is a set."""

    kind = "math_verify"
    package = PACKAGE
    decisive = True
    runs_code = True

    equals: str
    r"""The correct answer in LaTeX, with or without `$`."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    """CPU seconds of the comparison, imports not counted; an answer that takes longer is rejected."""

    def __post_init__(self) -> None:
        if not self.equals.strip(" $"):
            raise ValueError("equals: is empty; give an expression")

    @property
    def gold(self) -> str:
        """The correct answer in the form that math-verify parses."""
        return self.equals if "$" in self.equals or "\\boxed" in self.equals else f"${self.equals}$"

    def key(self, completion: Completion) -> str | None:
        said = spoken(completion)
        number = number_in(said)
        return number_key(number) if number is not None else marked(said)

    async def verify(self, completion: Completion) -> Verdict:
        said = spoken(completion)
        place = marked(said) or said
        bare, right = place.strip(" $"), self.equals.strip(" $")
        if bare == right:
            return accepted(place)
        if _WHOLE.fullmatch(bare) and _WHOLE.fullmatch(right):
            return accepted(bare) if int(bare) == int(right) else rejected(f"{bare} instead of {right}")
        given = {"gold": self.gold, "said": said}
        try:
            reported = await run_contained(
                _VERIFY, given, distribution=PACKAGE, extra="workloads", seconds=self.seconds
            )
        except LimitExceeded as error:
            return rejected(str(error))
        if reported == "unreadable":
            raise TierwiseError(f"math_verify: equals: {self.equals!r} cannot be parsed as an expression")
        if reported is True:
            return accepted(f"{place[:80]} equals {self.equals}")
        why = "no expression in the answer" if reported == "nothing" else f"{place[:80]!r} instead of {self.equals!r}"
        return rejected(why)


async def unreadable(checks: Sequence[MathVerify]) -> list[int]:
    """The positions of checks whose `equals` cannot be parsed, found in one run.

    Raises:
        TierwiseError: the package or the sandbox is missing.
    """
    golds = [check.gold for check in checks]
    try:
        reported = await run_contained(
            _READ, golds, distribution=PACKAGE, extra="workloads", seconds=30 + 0.2 * len(golds)
        )
    except LimitExceeded as error:
        raise TierwiseError(f"the expressions could not be parsed: {error}") from error
    return [number for number in reported if isinstance(number, int)] if isinstance(reported, list) else []


def is_formula(formula: str) -> bool:
    """Whether a formula may have a value that is worth starting a sandbox for."""
    return 0 < len(formula) <= 300 and not _NO_NUMBER.search(formula) and _FORMULA.search(formula) is not None


def can_evaluate() -> bool:
    """Whether this machine has math-verify and a sandbox for it."""
    return is_installed(PACKAGE) and backend().name != "none"


async def evaluated(formula: str) -> Fraction | None:
    """The value of a formula in LaTeX to 30 digits; None if it has no real value.

    Raises:
        TierwiseError: the sandbox failed.
    """
    try:
        reported = await run_contained(
            _EVALUATE, formula, distribution=PACKAGE, extra="workloads", seconds=EVALUATION_SECONDS
        )
    except LimitExceeded:
        return None
    try:
        return Fraction(reported) if isinstance(reported, str) else None
    except ValueError:
        return None
