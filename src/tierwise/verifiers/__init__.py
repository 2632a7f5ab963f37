"""Verifiers judge candidates. This is their table: a new verifier is a file and a line here."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from tierwise.spec.choice import OneOf, with_plugins
from tierwise.spec.plugins import lacking, on_first_use
from tierwise.verifiers.base import BaseVerifier
from tierwise.verifiers.choice import Choice
from tierwise.verifiers.code.python_tests import PythonTests
from tierwise.verifiers.code.stdio import Cases, Stdio, StdioCase
from tierwise.verifiers.exact import Exact
from tierwise.verifiers.number import Number
from tierwise.verifiers.regex import Regex
from tierwise.verifiers.schema import JsonSchema
from tierwise.verifiers.verifier import Verifier

__all__ = [
    "BaseVerifier",
    "Choice",
    "Exact",
    "JsonSchema",
    "Number",
    "PythonTests",
    "Regex",
    "Stdio",
    "StdioCase",
    "Verifier",
    "VerifierChoice",
]


class VerifierChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One verifier, as written in a request, a tier or a task: `{number: {equals: 12}}`."""

    GROUP: ClassVar[str] = "tierwise.verifiers"

    number: Number | None = None
    choice: Choice | None = None
    exact: Exact | None = None
    regex: Regex | None = None
    json_schema: JsonSchema | None = None
    python_tests: PythonTests | None = None
    stdio: Stdio | Cases | None = None
    """A list is the cases alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.member  # cases that are too long are refused where they are given

    @property
    def member(self) -> BaseVerifier:
        chosen: BaseVerifier | list[StdioCase] = getattr(self, self.kind)
        return Stdio(cases=chosen) if isinstance(chosen, list) else chosen


def _problem(member: type[Any]) -> str:
    if not issubclass(member, BaseVerifier):
        return f"{member.__name__} is not a subclass of tierwise.verifiers.BaseVerifier"
    return lacking(member, ("kind",))


if not TYPE_CHECKING:
    __getattr__ = on_first_use(globals(), VerifierChoice=partial(with_plugins, VerifierChoice, _problem))
    del VerifierChoice
