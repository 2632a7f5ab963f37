"""Notices, while a run is measured, that its result will say nothing about a tier's answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tierwise.analysis.refusals import is_about_model, refused_share, same_reason
from tierwise.runs.records import MAX_ERROR_SHARE, TrialOutcome

if TYPE_CHECKING:
    from tierwise.runs.directory import Manifest
    from tierwise.runs.records import TrialRecord

LEAST_REFUSED = 5
"""Refused requests of a tier before the run stops."""

LONGEST_STREAK = 20
"""Actions of a tier that end one after the other with the same failure before the run stops."""


class FailureWatch:
    """Finds faults that make it pointless to continue.

    - The server refused the first 5 requests of a tier, or more than 2 % of its planned actions.
    - 20 actions of a tier in a row failed for the same reason.
    - A tier gave no answer to its first 20 actions, for the same reason, such as a context that is too short.

    Args:
        manifest: the plan of the run.
    """

    def __init__(self, manifest: Manifest) -> None:
        each = len(manifest.tasks) * manifest.settings.repeats
        self._planned: Counter[str] = Counter()
        for planned in manifest.variants:
            self._planned[planned.tier] += each
        self._seen: Counter[str] = Counter()
        self._refused: defaultdict[str, list[TrialRecord]] = defaultdict(list)
        self._streak: dict[str, tuple[str, int]] = {}
        self._has_result: set[str] = set()

    def fault(self, record: TrialRecord) -> str:
        """Add an action that has ended. Returns why the run should stop; empty if it should not."""
        self._seen[record.tier] += 1
        if record.is_refused:
            return self._refusal(record)
        if is_about_model(record):
            self._has_result.add(record.tier)
            self._streak.pop(record.tier, None)
            return ""
        return self._repeated(record)

    def _refusal(self, record: TrialRecord) -> str:
        refused, seen = self._refused[record.tier], self._seen[record.tier]
        refused.append(record)
        is_all = len(refused) == seen
        if len(refused) >= LEAST_REFUSED and (is_all or len(refused) > MAX_ERROR_SHARE * self._planned[record.tier]):
            return refused_share(record.tier, refused, seen)
        return ""

    def _repeated(self, record: TrialRecord) -> str:
        reason, count = self._streak.get(record.tier, ("", 0))
        count = count + 1 if reason == same_reason(record) else 1
        self._streak[record.tier] = same_reason(record), count
        if count < LONGEST_STREAK or (record.outcome == TrialOutcome.NO_ANSWER and record.tier in self._has_result):
            return ""
        return f"{record.tier}: {count} actions in a row failed for the same reason: {record.why}"
