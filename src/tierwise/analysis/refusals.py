"""Finds rows whose results say nothing about the model, because the server refused their requests."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tierwise.runs.records import MAX_ERROR_SHARE, TrialOutcome
from tierwise.runs.refusals import reason

if TYPE_CHECKING:
    from collections.abc import Collection

    from tierwise.runs.records import TrialRecord

_OUT_OF_BUDGET = "budget_exhausted"
"""The code of an action that took too long or spent too much. Unlike a refusal, that may be the model's doing."""

_LONGEST_REASON = 300


def refusals(name: str, records: Collection[TrialRecord]) -> str:
    """Why the measured actions of a tier or row say nothing about its answers; empty if they do.

    Args:
        name: of the tier or row.
        records: its measured actions.
    """
    refused = [record for record in records if record.is_refused]
    if len(refused) > MAX_ERROR_SHARE * len(records):
        return refused_share(name, refused, len(records))
    first = next(iter(records), None)
    if first is None or first.outcome != TrialOutcome.NO_ANSWER or first.code == _OUT_OF_BUDGET:
        return ""
    if all(record.outcome == TrialOutcome.NO_ANSWER and record.code == first.code for record in records):
        return f"{name}: all {len(records)} actions ended without an answer for the same reason: {_common(records)}"
    return ""


def refused_share(name: str, refused: Collection[TrialRecord], measured: int) -> str:
    """How many of a tier's requests the server refused, and the most common reason."""
    return f"{name}: the server refused {len(refused)} of {measured} requests. Most common: {_common(refused)}"


def same_reason(record: TrialRecord) -> str:
    """A key that is equal for unanswered actions with the same cause."""
    return record.code if record.outcome == TrialOutcome.NO_ANSWER else reason(record.status, record.code, record.why)


def is_about_model(record: TrialRecord) -> bool:
    """Whether the outcome can be the model's doing: an answer, lost to thinking or not, or a budget that it used up."""
    return record.was_served or record.code == _OUT_OF_BUDGET


def _common(records: Collection[TrialRecord]) -> str:
    groups = Counter(same_reason(record) for record in records)
    most, _ = groups.most_common(1)[0]
    return next(record.why for record in records if same_reason(record) == most)[:_LONGEST_REASON]
