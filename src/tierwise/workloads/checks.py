"""What a task's answer is graded with: every verifier, and those that only a bench can use."""

from __future__ import annotations

import msgspec

from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers import VerifierChoice
from tierwise.verifiers.contained import needs
from tierwise.verifiers.math_verify import PACKAGE as MATH_VERIFY
from tierwise.verifiers.math_verify import MathVerify
from tierwise.verifiers.model_judge import Judge
from tierwise.verifiers.packages import is_installed
from tierwise.verifiers.reasoning_gym import PACKAGE as REASONING_GYM
from tierwise.verifiers.reasoning_gym import ReasoningGym

RUN_CODE = frozenset({"python_tests", "math_verify", "reasoning_gym"})
"""Kinds that evaluate what a model wrote, and need the sandbox for it."""

_ONE_WORD = {"regex": "pattern", "exact": "equals", "judge": "tier"}
"""Kinds that one text describes, and what it is."""

_PACKAGES = {"math_verify": MATH_VERIFY, "reasoning_gym": REASONING_GYM}


class CheckChoice(VerifierChoice, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One check, as a task names it. No request may carry the last three: they know the answer, or cost money."""

    math_verify: MathVerify | None = None
    reasoning_gym: ReasoningGym | None = None
    judge: Judge | None = None


def lacking(check: CheckChoice) -> str:
    """What keeps a check from being used on this machine; empty when nothing does."""
    package = _PACKAGES.get(check.kind)
    return needs(package, "workloads") if package is not None and not is_installed(package) else ""


def check_written(text: str) -> CheckChoice:
    """A check as a command line names it: `regex:PATTERN`, `exact:TEXT`, `judge:TIER`, or JSON, `{"number": {}}`.

    Raises:
        SpecError: it is none, or does not hold together.
    """
    kind, colon, rest = text.partition(":")
    reading = Reading()
    value: object
    if text.startswith("{"):
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise SpecError(f"{text!r} is no JSON: {error}", field="--check") from error
    elif colon and kind in _ONE_WORD:
        value = {kind: {_ONE_WORD[kind]: rest}}
    else:
        value = text
    check = reading.read(CheckChoice, value, "--check")
    reading.done()
    assert check is not None  # noqa: S101 - `done` raises otherwise
    return check
