"""What a task's answer is graded with: every verifier, and those that only a bench can use."""

from __future__ import annotations

from tierwise.spec.files import json_document
from tierwise.spec.reading import Reading
from tierwise.verifiers import VerifierChoice
from tierwise.verifiers.contained import needs
from tierwise.verifiers.math_verify import MathVerify
from tierwise.verifiers.model_judge import Judge
from tierwise.verifiers.packages import is_installed
from tierwise.verifiers.reasoning_gym import ReasoningGym

_ONE_WORD = {"regex": "pattern", "exact": "equals", "judge": "tier"}
"""Kinds that one text describes, and what it is."""


class CheckChoice(VerifierChoice, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One check, as a task names it. No request may carry the last three: they know the answer, or cost money."""

    math_verify: MathVerify | None = None
    reasoning_gym: ReasoningGym | None = None
    judge: Judge | None = None


def lacking(check: CheckChoice) -> str:
    """What keeps a check from being used on this machine; empty when nothing does."""
    package = check.member.package
    return needs(package, "workloads") if package and not is_installed(package) else ""


def check_written(text: str) -> CheckChoice:
    """A check as a command line names it: `regex:PATTERN`, `exact:TEXT`, `judge:TIER`, or JSON, `{"number": {}}`.

    Raises:
        SpecError: it is none, or does not hold together.
    """
    kind, colon, rest = text.partition(":")
    if text.startswith("{"):
        document = json_document(text, "--check", line=None)
        return document.finish(document.convert(CheckChoice))
    reading = Reading()
    value = {kind: {_ONE_WORD[kind]: rest}} if colon and kind in _ONE_WORD else text
    return reading.finish(reading.read(CheckChoice, value, "--check"))
