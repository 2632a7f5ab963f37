"""The base class of verifiers, with defaults."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import msgspec

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import spoken

MOST_WORDS = 200
"""Maximum characters of a verdict's reason, because the ledger stores every verdict."""


class BaseVerifier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults of a verifier: ready without further input, and not decisive.

    A subclass sets `kind` and implements `verify`; it overrides what differs.
    """

    kind: ClassVar[str]
    """Its name in the table of verifiers."""
    package: ClassVar[str] = ""
    """The package that it needs, by its pip name; empty if none."""
    runs_code: ClassVar[bool] = False
    """Whether it evaluates model output as code, which needs the sandbox."""
    text_cost: ClassVar[int] = 0
    """Work per byte of settings and character of the answer, relative to a pattern's; larger checks then run in another
    process. 0 if `key` and `verify` depend on more than those, or wait: they always run in this process."""

    brought: ClassVar[str] = "tests"
    """The field that a request or a task brings, if it is not ready without."""

    @property
    def decisive(self) -> bool:
        """Whether an accepted candidate is correct, rather than only well formed."""
        return False

    @property
    def is_ready(self) -> bool:
        """Whether it has everything it needs to judge."""
        return True

    def placed(self, folder: Path) -> Self:  # noqa: ARG002 - for subclasses
        """The check of a task in a workload's folder: with absolute paths, if it has paths relative to the workload.

        Raises:
            SpecError: one of them is not there; its `field` is the setting.
        """
        return self

    def judges(self, completion: Completion) -> bool:
        """Whether it can judge an answer of this kind. By default, any answer that calls no tool."""
        return not completion.tool_calls

    def key(self, completion: Completion) -> str | None:
        """The candidate's answer in canonical form, so that equal answers are equal texts; None without an answer."""
        return spoken(completion) or None

    def waits_for(self, completion: Completion) -> str | None:  # noqa: ARG002 - the protocol's
        """A short text that gives the same verdict, if `verify` has to wait for something to judge this answer."""
        return None

    async def verify(self, completion: Completion) -> Verdict:
        """Judge one candidate. A candidate that cannot be parsed is rejected; it never raises."""
        raise NotImplementedError


def accepted(why: str, score: float = 1.0) -> Verdict:
    """A verdict that accepts."""
    return Verdict(ok=True, score=score, why=why[:MOST_WORDS])


def rejected(why: str, score: float = 0.0) -> Verdict:
    """A verdict that rejects."""
    return Verdict(ok=False, score=score, why=why[:MOST_WORDS])
