"""Checks that grade a task's answer: every verifier, and five that only the bench can use."""

from __future__ import annotations

from tierwise.spec.files import json_document
from tierwise.spec.reading import Reading
from tierwise.verifiers import VerifierChoice
from tierwise.verifiers.code.livecodebench import LiveCodeBench
from tierwise.verifiers.contained import needs
from tierwise.verifiers.math_verify import MathVerify
from tierwise.verifiers.model_judge import Judge
from tierwise.verifiers.packages import is_installed
from tierwise.verifiers.reasoning_gym import ReasoningGym
from tierwise.verifiers.repository.check import RepositoryTests

_SHORT_FORMS = {"regex": "pattern", "exact": "equals", "judge": "tier"}
"""Checks with a short form `KIND:TEXT`, and the field that takes the text."""


class CheckChoice(VerifierChoice, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One check of a task. Requests cannot carry the last five: they contain the answer, cost money, or read files."""

    math_verify: MathVerify | None = None
    reasoning_gym: ReasoningGym | None = None
    livecodebench: LiveCodeBench | None = None
    judge: Judge | None = None
    repository_tests: RepositoryTests | None = None


def missing_package(check: CheckChoice) -> str:
    """An error text if the check's package is not installed; empty otherwise."""
    package = check.member.package
    return needs(package, "workloads") if package and not is_installed(package) else ""


def parse_check(text: str) -> CheckChoice:
    """Parse a check from the command line: `regex:PATTERN`, `exact:TEXT`, `judge:TIER`, or JSON, `{"number": {}}`.

    Raises:
        SpecError: the text is not a valid check.
    """
    kind, colon, rest = text.partition(":")
    if text.startswith("{"):
        document = json_document(text, "--check", line=None)
        return document.finish(document.convert(CheckChoice))
    reading = Reading()
    value = {kind: {_SHORT_FORMS[kind]: rest}} if colon and kind in _SHORT_FORMS else text
    return reading.finish(reading.read(CheckChoice, value, "--check"))
