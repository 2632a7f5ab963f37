"""The record of one measured action: one line of `records.jsonl`. All results are computed from these records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from tierwise.ledger.rows import PassFacts
from tierwise.runs.agents import AgentWork
from tierwise.runs.draws import DrawFacts
from tierwise.runs.durations import Durations
from tierwise.runs.refusals import is_refusal
from tierwise.spec.call import Completion

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Mode = Literal["average", "max", "both"]
"""One pass · all passes that the policy may use · both at once, for a policy of one pass, which is measured once."""

TakenFrom = Literal["request", "candidate", "pool", "tier"]
"""Where a record comes from: its own request · the first candidate of the same task's max-mode action. The other
passes of that action ran at the same time, so the candidate's seconds are those of a busier engine · an earlier pool,
from which `tierwise tune --from` took it over · the same draw of a tier that thinks longer, for which this tier's cap
would have changed nothing (`tuning.caps`)."""


MAX_ERROR_SHARE = 0.02
"""The share of infrastructure errors, or of tasks not run, above which a result is not trusted."""

_CLUSTER = "cluster:"
"""Prefix of the tag that names the cluster of a record's task."""


class TrialOutcome(StrEnum):
    """The outcome of a trial. A trial that was not run has no record."""

    CORRECT = "correct"
    """The check accepted the answer."""
    INCORRECT = "incorrect"
    """The check rejected the answer."""
    UNLABELLED = "unlabelled"
    """There is an answer, and the task has no check: in pools (`tierwise tune --labels agreement`) and logs of load."""
    NO_ANSWER = "no_answer"
    """The tier could not answer: too long, out of budget, or blocked by a filter. It counts against the tier."""
    LOST_TO_THINKING = "lost_to_thinking"
    """The answer is nothing but thinking, and could not be recovered. It counts against the tier."""
    ERROR = "error"
    """The infrastructure failed, or the server refused the request. It does not count for or against the tier."""

    @classmethod
    def _missing_(cls, value: object) -> TrialOutcome | None:
        """Read the outcomes of format 1."""
        return {"pass": cls.CORRECT, "fail": cls.INCORRECT}.get(str(value))


class CandidateMessage(msgspec.Struct, frozen=True):
    """The assistant message of a pass."""

    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[dict[str, Any]] = []


class PassSpend(PassFacts, frozen=True, kw_only=True):
    """One pass of an action: its role, its cost, and its grade if the endpoint reported its text."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dollars: float
    message: CandidateMessage | None = None
    """The message; kept for graded candidates only, without reasoning."""
    solved: bool | None = None
    """Whether the task's check accepts it; None if it was not graded, or the check failed."""

    @property
    def is_candidate(self) -> bool:
        """Whether it finished as a possible answer, and its text was reported."""
        return self.answers_prompt and self.outcome == "finished" and self.message is not None

    @property
    def is_draw(self) -> bool:
        """Whether it answers the prompt independently of other passes. A refinement of a critique does not."""
        return self.answers_prompt and not self.after and (self.candidate is not None or self.role != "refine")

    @property
    def completion(self) -> Completion:
        """The pass's answer; empty if its text was not reported."""
        message = self.message or CandidateMessage()
        return Completion(
            text=message.content or "",
            reasoning=message.reasoning_content or "",
            tool_calls=tuple(message.tool_calls),
            finish=self.finish or "stop",
        )

    @property
    def ended_after(self) -> float:
        """When it ended, in seconds after the action began. A policy sees passes in this order."""
        return (self.started or 0.0) + self.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TierVariant:
    """A tier in one mode: the subject of one row of the result."""

    tier: str
    mode: Mode

    @property
    def name(self) -> str:
        """`fast`, `max · average`."""
        return self.tier if self.mode == "both" else f"{self.tier} · {self.mode}"


class Unit(NamedTuple):
    """The unit that is paired between rows: a task and a repeat."""

    task: str
    repeat: int = 0


class Key(NamedTuple):
    """Identifies a record within a run."""

    task: str
    tier: str
    mode: Mode
    repeat: int


class JudgeSpend(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of judging, over all attempts and candidates of an action. It is not part of the action's cost."""

    tier: str
    actions: int
    """Number of requests to the judge. In the ledger, their ids are the answer's id followed by `/judge/…`."""
    dollars: float | None
    """None if the endpoint did not report it; the same holds for the tokens."""
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
    """The caller's id of the action in the ledger."""
    task: str
    tags: list[str]
    tier: str
    mode: Mode
    repeat: int = 0
    """Index of the repeat, from 0. Each repeat has its own seed."""
    seed: int
    outcome: TrialOutcome
    why: str
    """The verdict's reason, or the error message."""
    code: str = ""
    """The endpoint's error code."""
    status: int | None = None
    """HTTP status, if the request was refused."""
    attempts: int = 1
    """More than one if the endpoint was at capacity at first."""
    answer: str = ""
    """The text of the answer, or the JSON of its tool calls if it has no text."""
    tool_calls: list[dict[str, Any]] = []
    finish: str = ""
    taken: TakenFrom = "request"
    began: float
    """Scheduled start, in seconds since 1970. All times below are in seconds from it."""
    late: float = 0.0
    """Seconds until the actual start: the runner's own delay."""
    first_byte: float | None = None
    """Seconds until the response head; None if there was no response."""
    first_output: float | None
    """Seconds until the user sees the first output; None if there was none."""
    seconds: float | None
    """Seconds of the whole action: the user's total wait. None in imported runs whose log has no times."""
    gaps: Durations | None = None
    """Gaps between consecutive pieces of the answer; None with fewer than two pieces."""
    prompt_tokens: int | None = None
    """Sum over all passes; None if the endpoint did not report it. The same holds for the next three fields."""
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    dollars: float | None = None
    chosen_because: str = ""
    """The policy's reason for choosing the answer."""
    agreement: float | None = None
    """The share of votes for the answer; None without a vote."""
    passes: list[PassSpend] | None = None
    judge: JudgeSpend | None = None
    """The cost of grading with a judge; not part of the action's figures."""
    draw: DrawFacts | None = None
    """What a pool keeps of a draw; None in a run that is no pool."""
    agent: AgentWork | None = None
    """What an agent asked while it worked on the task; None in a run without one. Then `action` is the session, tokens
    and dollars are sums over all its actions, and seconds are the agent's."""

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
        """The cluster of its task; None if it has none."""
        return next((tag.removeprefix(_CLUSTER) for tag in self.tags if tag.startswith(_CLUSTER)), None)

    @property
    def is_graded(self) -> bool:
        """Whether it says something about the tier: it did not end in an infrastructure error."""
        return self.outcome != TrialOutcome.ERROR

    @property
    def is_refused(self) -> bool:
        """Whether the server refused the request itself. Earlier versions recorded such an action as `no_answer`."""
        return not self.has_answer and is_refusal(self.status, self.code, self.why)

    @property
    def is_solved(self) -> bool:
        return self.outcome == TrialOutcome.CORRECT

    @property
    def has_answer(self) -> bool:
        return self.outcome in (TrialOutcome.CORRECT, TrialOutcome.INCORRECT, TrialOutcome.UNLABELLED)

    @property
    def completion(self) -> Completion:
        """The answer, as a check reads it."""
        calls = tuple(self.tool_calls)
        is_text = not calls or self.answer != msgspec.json.encode(calls).decode()
        return Completion(text=self.answer if is_text else "", tool_calls=calls, finish=self.finish)

    @property
    def was_served(self) -> bool:
        """Whether the tier responded, so that its seconds describe it: with an answer, or with nothing but thinking."""
        return self.has_answer or self.outcome == TrialOutcome.LOST_TO_THINKING

    @property
    def mean_gap(self) -> float | None:
        """Mean seconds between two pieces of the answer."""
        return None if self.gaps is None or not self.gaps.count else self.gaps.seconds / self.gaps.count

    @property
    def spent(self) -> float:
        """Dollars spent on this record alone, its judge included."""
        judging = (self.judge.dollars or 0.0) if self.judge is not None else 0.0
        return judging + ((self.dollars or 0.0) if self.taken == "request" else 0.0)


def tags_of(tags: Sequence[str], cluster: str | None) -> list[str]:
    """The tags of a record: its task's tags, and a tag for the task's cluster."""
    return [*tags, *([] if cluster is None else [_CLUSTER + cluster])]


def clusters_of(records: Iterable[TrialRecord]) -> dict[str, str]:
    """The cluster of each task that has one."""
    return {record.task: cluster for record in records if (cluster := record.cluster) is not None}


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other
