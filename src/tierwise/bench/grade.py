"""What a check or a judge says of an answer."""

from __future__ import annotations

from dataclasses import dataclass

from tierwise.runs.records import JudgeSpend, TrialOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The grade of an answer. An `error` says nothing about the tier."""

    outcome: TrialOutcome
    why: str
    code: str = ""
    """For an error: `ungraded`, `judge_failed` or `judge_nonsense`."""
    judge: JudgeSpend | None = None
