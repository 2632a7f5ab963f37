"""What the figures of a tuning are called: by checks an answer is right, by agreement it is the reference's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.certificate import by_agreement
from tierwise.report.numbers import percent, ranged
from tierwise.tuning.labels import judge_of

if TYPE_CHECKING:
    from tierwise.certificate import Labels
    from tierwise.tuning.judge_error import JudgeError

NO_LABELS = (
    "No label was used. Every share here is of answers that are the same as those of {reference}, compared as votes "
    "are; it is not a share of right answers, and {reference} agrees with itself by definition. Harm is at most the "
    "disagreement, because an answer that is the reference's cannot be wrong where the reference is right."
)


JUDGED = (
    "Tier {judge} judged the answers, so every share of solved tasks here is by its verdict. On the answers to {tasks} "
    "tasks that have a check, of which {wrong} have wrong ones, it accepts {accepts} of the wrong ones and rejects "
    "{rejects} of the right ones. The "
    "promise is of true harm: what the judge sees and what it misses are tested apart."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Names of figures."""

    labels: Labels
    reference: str
    judge: JudgeError | None = None

    @property
    def by_agreement(self) -> bool:
        return by_agreement(self.labels)

    @property
    def points(self) -> str:
        """Of a share of answers."""
        return "agreement" if self.by_agreement else "points"

    @property
    def solved(self) -> str:
        """The heading of such a share."""
        return f"agrees with {self.reference}" if self.by_agreement else "solved"

    @property
    def share(self) -> str:
        """The axis of a plot."""
        return f"share that agrees with {self.reference}" if self.by_agreement else "share solved"

    @property
    def right(self) -> str:
        """What an answer is."""
        return "agrees" if self.by_agreement else "right"

    @property
    def harm(self) -> str:
        return "disagreement" if self.by_agreement else "harm"

    @property
    def tasks(self) -> str:
        """What a proof takes: a check is a label, and a prompt is not."""
        return "tasks" if self.by_agreement else "labels"

    @property
    def note(self) -> str:
        """What a reader of the figures should know; empty for checks."""
        if self.judge is not None:
            one = self.judge
            rates = [ranged(of, percent) for of in (one.false_accepts, one.false_rejects)]
            return JUDGED.format(
                judge=judge_of(self.labels), tasks=one.tasks, wrong=one.wrong, accepts=rates[0], rejects=rates[1]
            )
        return NO_LABELS.format(reference=self.reference) if self.by_agreement else ""

    @property
    def signals(self) -> str:
        """What the AUROC of a signal is about; empty for checks."""
        if not self.by_agreement:
            return ""
        return (
            f"A signal is measured by whether a draw agrees with the answer of {self.reference} to the same task, not "
            "by whether it is right."
        )
