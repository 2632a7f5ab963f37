"""What is kept of every action that was measured: one line of `records.jsonl`. All results are computed from these."""

from __future__ import annotations

from typing import Literal

import msgspec

from tierwise.bench.client import PassSpend
from tierwise.bench.schedule import Mode, Variant

Outcome = Literal["pass", "fail", "no_answer", "error"]
"""The check accepted the answer · it did not · the tier could not answer this (too long, out of budget, refused by the
engine), which counts against it · the infrastructure failed, which says nothing about the tier. What has no record was
not run."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One action of a run."""

    action: str
    """The caller's id in the ledger."""
    task: str
    tags: list[str]
    tier: str
    mode: Mode
    seed: int
    outcome: Outcome
    why: str
    """The verdict's reason, or what went wrong."""
    code: str = ""
    """The endpoint's word for what went wrong."""
    status: int | None = None
    """Of HTTP, where the request was refused."""
    attempts: int = 1
    """More than one when the endpoint had no room at first."""
    answer: str = ""
    finish: str = ""
    began: float
    """Seconds since 1970."""
    first_output: float | None
    """Seconds until the user sees the first of the answer; None when there was none."""
    seconds: float
    """The whole action, as its user waits for it."""
    prompt_tokens: int | None = None
    """Over all passes; None when the endpoint did not tell, here and below."""
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    dollars: float | None = None
    chosen_because: str = ""
    """How the policy chose the answer."""
    agreement: float | None = None
    """The share of votes that said the same, where there was a vote."""
    passes: list[PassSpend] | None = None

    @property
    def variant(self) -> Variant:
        return Variant(tier=self.tier, mode=self.mode)

    @property
    def is_graded(self) -> bool:
        """Whether it says something about the tier."""
        return self.outcome != "error"

    @property
    def is_solved(self) -> bool:
        return self.outcome == "pass"

    @property
    def has_answer(self) -> bool:
        return self.outcome in ("pass", "fail")
