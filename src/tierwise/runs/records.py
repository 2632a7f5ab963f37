"""What is kept of every action that was measured: one line of `records.jsonl`. All results are computed from these."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from tierwise.ledger.rows import PassFacts
from tierwise.runs.durations import Durations
from tierwise.spec.call import Completion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Mode = Literal["average", "max", "both"]
"""One pass · all passes that the policy may spend · a policy of one pass, measured once, for which both are one."""

TakenFrom = Literal["request", "candidate"]
"""How a figure was taken: with a request of its own · from the first candidate of the same task's action in max mode,
whose passes ran beside it, so that its seconds are those of a busier engine."""


MOST_ERRORS = 0.02
"""The share of infrastructure errors, or of tasks that were not run, above which a result is not to be trusted."""

_CLUSTER = "cluster:"
"""A tag of a record that starts with this names the cluster of its task."""


class TrialOutcome(StrEnum):
    """What became of a trial. What was not run has no record."""

    CORRECT = "correct"
    """The check accepted the answer."""
    INCORRECT = "incorrect"
    """It did not."""
    NO_ANSWER = "no_answer"
    """The tier could not answer this: too long, out of budget, refused by the engine. It counts against the tier."""
    ERROR = "error"
    """The infrastructure failed, which says nothing about the tier."""

    @classmethod
    def _missing_(cls, value: object) -> TrialOutcome | None:
        """The words of runs in format 1."""
        return {"pass": cls.CORRECT, "fail": cls.INCORRECT}.get(str(value))


class CandidateMessage(msgspec.Struct, frozen=True):
    """The assistant message that a pass ended with."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] = []


class PassSpend(PassFacts, frozen=True, kw_only=True):
    """What one pass of an action was for, what it took, and what it was worth where the endpoint told what it said."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dollars: float
    message: CandidateMessage | None = None
    """What it said; kept of candidates that were graded, without their reasoning."""
    solved: bool | None = None
    """What the task's check makes of it; None where it was not asked, or could not tell."""

    @property
    def is_candidate(self) -> bool:
        """Whether it ended in something that the policy might have answered with, and that was told."""
        return self.answers_prompt and self.outcome == "finished" and self.message is not None

    @property
    def is_draw(self) -> bool:
        """Whether it answers the prompt itself: what was written after a critique is no further draw of the same."""
        return self.answers_prompt and not self.after and (self.candidate is not None or self.role != "refine")

    @property
    def completion(self) -> Completion:
        """What it said; nothing where that was not told."""
        said = self.message or CandidateMessage()
        return Completion(
            text=said.content or "",
            reasoning=said.reasoning_content or "",
            tool_calls=tuple(said.tool_calls),
            finish=self.finish or "stop",
        )

    @property
    def came(self) -> float:
        """When it ended, in seconds after the action began: the order in which a policy sees its passes."""
        return (self.started or 0.0) + self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TierVariant:
    """A tier in one mode: what a row of the result speaks of."""

    tier: str
    mode: Mode

    @property
    def name(self) -> str:
        """`fast`, `max · average`."""
        return self.tier if self.mode == "both" else f"{self.tier} · {self.mode}"


class Unit(NamedTuple):
    """What is paired between rows: a task, and which of its repeats."""

    task: str
    repeat: int = 0


class Key(NamedTuple):
    """What a record is the answer to. No two records of a run have the same one."""

    task: str
    tier: str
    mode: Mode
    repeat: int


class JudgeSpend(msgspec.Struct, frozen=True, kw_only=True):
    """What judging took, over all attempts and all candidates of an action; never a part of what the action cost."""

    tier: str
    actions: int
    """How often the judge was asked. In the ledger they stand under the answer's own id followed by `/judge/…`."""
    dollars: float | None
    """None when the endpoint did not tell, here and below."""
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float

    def __add__(self, other: JudgeSpend) -> JudgeSpend:
        return JudgeSpend(
            tier=self.tier,
            actions=self.actions + other.actions,
            dollars=None if self.dollars is None or other.dollars is None else self.dollars + other.dollars,
            prompt_tokens=_sum(self.prompt_tokens, other.prompt_tokens),
            completion_tokens=_sum(self.completion_tokens, other.completion_tokens),
            seconds=self.seconds + other.seconds,
        )


class TrialRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One action of a run."""

    action: str
    """The caller's id in the ledger."""
    task: str
    tags: list[str]
    tier: str
    mode: Mode
    repeat: int = 0
    """Counts how often the same was asked, with another seed each time."""
    seed: int
    outcome: TrialOutcome
    why: str
    """The verdict's reason, or what went wrong."""
    code: str = ""
    """The endpoint's word for what went wrong."""
    status: int | None = None
    """Of HTTP, where the request was refused."""
    attempts: int = 1
    """More than one when the endpoint had no room at first."""
    answer: str = ""
    """What was said; where that is nothing but tool calls, their JSON."""
    tool_calls: list[dict[str, Any]] = []
    finish: str = ""
    taken: TakenFrom = "request"
    began: float
    """Seconds since 1970, when it was to begin; all seconds below count from there."""
    late: float = 0.0
    """Seconds until it did begin: the runner's own delay, which its user would not know."""
    first_byte: float | None = None
    """Seconds until the endpoint answered at all; None when it did not."""
    first_output: float | None
    """Seconds until the user sees the first of the answer; None when there was none."""
    seconds: float | None
    """The whole action, as its user waits for it; None where another tool made the run, and told no times."""
    gaps: Durations | None = None
    """Between two pieces of the answer; None when there were fewer than two."""
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
    judge: JudgeSpend | None = None
    """What grading took, where a model judged; in no figure of the action."""

    @property
    def variant(self) -> TierVariant:
        return TierVariant(tier=self.tier, mode=self.mode)

    @property
    def key(self) -> Key:
        return Key(self.task, self.tier, self.mode, self.repeat)

    @property
    def unit(self) -> Unit:
        return Unit(self.task, self.repeat)

    @property
    def kinds(self) -> list[str]:
        """The tags of its task."""
        return [tag for tag in self.tags if not tag.startswith(_CLUSTER)]

    @property
    def cluster(self) -> str | None:
        """What its task shares with others; None where no tag names it."""
        return next((tag.removeprefix(_CLUSTER) for tag in self.tags if tag.startswith(_CLUSTER)), None)

    @property
    def is_graded(self) -> bool:
        """Whether it says something about the tier."""
        return self.outcome != TrialOutcome.ERROR

    @property
    def is_solved(self) -> bool:
        return self.outcome == TrialOutcome.CORRECT

    @property
    def has_answer(self) -> bool:
        return self.outcome in (TrialOutcome.CORRECT, TrialOutcome.INCORRECT)

    @property
    def mean_gap(self) -> float | None:
        """Mean seconds between two pieces of the answer."""
        return None if self.gaps is None or not self.gaps.count else self.gaps.seconds / self.gaps.count

    @property
    def spent(self) -> float:
        """Dollars that were paid for this record, and for no other; its judge's are among them."""
        judged = (self.judge.dollars or 0.0) if self.judge is not None else 0.0
        return judged + ((self.dollars or 0.0) if self.taken == "request" else 0.0)


def tags_of(tags: Sequence[str], cluster: str | None) -> list[str]:
    """The tags of a record: those of its task, and one that names the task's cluster."""
    return [*tags, *([] if cluster is None else [_CLUSTER + cluster])]


def clusters_of(records: Iterable[TrialRecord]) -> dict[str, str]:
    """The cluster of each task whose records name one."""
    return {record.task: cluster for record in records if (cluster := record.cluster) is not None}


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
