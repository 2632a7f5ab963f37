"""The form in which importers return another tool's results, and its conversion to a run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.directory import (
    IMPORTED,
    ConfigSource,
    Manifest,
    Planned,
    RunDirectory,
    RunSettings,
    SourceFile,
    new_run,
    timestamp,
)
from tierwise.runs.machine import RunMachine, versions
from tierwise.runs.records import TrialOutcome, TrialRecord, tags_of
from tierwise.spec.errors import ConfigErrors, SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_SHOWN = 5
"""Errors that are shown of one log."""

FINISHES = {"max_tokens": "length", "model_length": "length"}
"""Inspect's names of how an answer ended, which EvalScope has too, where ours differ."""

TASK_KEY = "tierwise_task"
"""Key of a sample's data in a log that `tierwise export` wrote: the task's own id."""
OUTCOME_KEY = "tierwise_outcome"
"""Key beside a score of 0 in such a log: the outcome, where the tool has none for a missing answer."""
WHY_KEY = "tierwise_why"
"""Key beside a score in such a log: the verdict's reason, where the tool has no place for one."""
DOLLARS_KEY = "tierwise_dollars"
"""Key beside the tokens of an answer in such a log: its dollars, where the tool has no place for them."""

_OF_A_TIER = ("model", "stream", "stream_options")
"""Keys of a request that do not say what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedResult:
    """The result of one task, or of one of its repeats. What the log does not have is None."""

    task: str
    outcome: TrialOutcome
    why: str = ""
    cluster: str = ""
    """The task's cluster, such as its repository; empty if unknown."""
    tags: tuple[str, ...] = ()
    repeat: int = 0
    """Index of the repeat, from 0."""
    answer: str = ""
    finish: str = ""
    began: float = 0.0
    """Seconds since 1970; 0 if unknown."""
    seconds: float | None = None
    """Seconds of the whole action, as the tool measured it."""
    first_output: float | None = None
    """Seconds until the first output."""
    prompt_tokens: int | None = None
    """Sum over all requests, tokens from a cache included, like those below."""
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    dollars: float | None = None

    @property
    def is_graded(self) -> bool:
        return self.outcome != TrialOutcome.ERROR

    @property
    def is_solved(self) -> bool:
        return self.outcome == TrialOutcome.CORRECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """One run of another tool."""

    path: Path
    sha256: str
    """Of the log's file."""
    name: str
    """Name of the run's directory."""
    tier: str
    """Name of the measured model or system."""
    suite: str
    size: int | None
    """Number of tasks in the suite; None if unknown. A run may have fewer or more."""
    results: tuple[ImportedResult, ...]
    absent: tuple[str, ...] = ()
    """Tasks that the file lists as not run."""
    harness: Mapping[str, str] = field(default_factory=dict)
    """The agent with its version, if one worked on the tasks and the log names it."""

    @property
    def clusters(self) -> Mapping[str, str]:
        return {result.task: result.cluster for result in self.results}

    @property
    def has_checks(self) -> bool:
        """Whether the tool says which answers are right; a load tool does not."""
        return all(result.outcome != TrialOutcome.UNLABELLED for result in self.results)

    @property
    def repeats(self) -> int:
        """The most results that a task has."""
        return 1 + max((result.repeat for result in self.results), default=0)


@dataclass(slots=True)
class Collected:
    """Collects the results of a log. Errors are raised together, each with its place."""

    results: list[ImportedResult] = field(default_factory=list)
    errors: list[SpecError] = field(default_factory=list)
    _seen: dict[tuple[str, int], str] = field(default_factory=dict)

    def wrong(self, place: str, message: str) -> None:
        self.errors.append(SpecError(message, field=place))

    def add(self, result: ImportedResult, place: str) -> None:
        """Add a result; `place` is where it stands, such as `samples.jsonl:7`."""
        key = result.task, result.repeat
        if key in self._seen:
            what = f"task {result.task!r}" + (f", repeat {result.repeat + 1}," if result.repeat else "")
            self.wrong(place, f"{what} is already in {self._seen[key]}; remove one of the two")
        self._seen[key] = place
        self.results.append(result)

    def done(self) -> tuple[ImportedResult, ...]:
        """The results.

        Raises:
            ConfigErrors: the first of the errors.
        """
        if self.errors:
            raise ConfigErrors(self.errors[:MOST_SHOWN])
        return tuple(self.results)


def outcome_of(value: object) -> TrialOutcome | None:
    """The outcome that a score stands for: 1 and true, 0 and false; None for any other, which no run can hold."""
    if isinstance(value, bool | int | float) and value in (0, 1):
        return TrialOutcome.CORRECT if value == 1 else TrialOutcome.INCORRECT
    return None


def task_in(fields: Mapping[str, object]) -> str:
    """The task's own id in a log that `tierwise export` wrote; empty in any other."""
    own = fields.get(TASK_KEY)
    return own if isinstance(own, str) else ""


def missing_or(outcome: TrialOutcome, said: object) -> TrialOutcome:
    """The outcome of a score, or of an answer that is missing, where `tierwise export` said so beside a score of 0."""
    missing = (TrialOutcome.NO_ANSWER, TrialOutcome.LOST_TO_THINKING)
    return next((one for one in missing if outcome == TrialOutcome.INCORRECT and one == said), outcome)


def dollars_in(fields: Mapping[str, object]) -> float | None:
    """The dollars that `tierwise export` wrote; None if there are none."""
    value = fields.get(DOLLARS_KEY)
    return float(value) if isinstance(value, int | float) else None


def no_outcome(scores: Mapping[str, object], metric: str) -> str:
    """What is wrong with a score that stands for no outcome, or is not there."""
    seen = f"{metric!r} is {scores[metric]!r}" if metric in scores else f"there is no {metric!r}"
    return f"{seen}; allowed are 0 and 1, because a task is solved or not"


def asked_in(request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request asks, without what tells one tier from another."""
    return {key: value for key, value in request.items() if key not in _OF_A_TIER}


def task_of(asked: Any) -> str:
    """The id of a task without one: a hash of what is asked, so that only equal questions are compared."""
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()[:12]


def label_of(fields: Mapping[str, object], key: str) -> str:
    """The text or number that a sample's data have under a key; empty if there is none."""
    value = fields.get(key) if key else None
    return str(value) if isinstance(value, str | int) else ""


def tags_in(fields: Mapping[str, object]) -> tuple[str, ...]:
    """The kinds of a task: `category` and `tags` of its data."""
    tags = fields.get("tags")
    found = [fields.get("category"), *(tags if isinstance(tags, list) else [tags])]
    return tuple(dict.fromkeys(tag for tag in found if isinstance(tag, str) and tag))


def safe_name(*parts: str) -> str:
    """The name of a run's directory."""
    return "_".join(re.sub(r"[^\w.+@=-]+", "-", part).strip("-.") for part in parts if part)


def write(imported: Imported, path: Path) -> RunDirectory:
    """Write a run directory like that of `tierwise bench`, with the times and costs that the log has.

    Raises:
        SpecError: the directory already holds a run, or cannot be written.
    """
    directory = RunDirectory.create(path)
    run = new_run()
    directory.write_records([_record(result, imported.tier, run) for result in imported.results])
    directory.write_manifest(
        Manifest(
            run=run,
            began=timestamp(),
            ended=timestamp(),
            url="",
            config=ConfigSource(path=str(imported.path), sha256=imported.sha256, text=""),
            workload=SourceFile(path=imported.suite, sha256=""),
            tasks=list(dict.fromkeys(result.task for result in imported.results)) + list(imported.absent),
            variants=[Planned(tier=imported.tier, mode="both", most_passes=1)],
            settings=RunSettings(seed=0, concurrency=0, timeout=0.0, arrival=IMPORTED, repeats=imported.repeats),
            versions=versions(),
            harness=dict(imported.harness),
            machine=RunMachine(cpu="", cores=0, memory_bytes=0, load=0.0, system="not known: imported"),
        )
    )
    return directory


def _record(result: ImportedResult, tier: str, run: str) -> TrialRecord:
    again = f"/{result.repeat}" if result.repeat else ""
    return TrialRecord(
        action=f"{run}/{result.task}/{tier}/both{again}",
        task=result.task,
        tags=tags_of(result.tags, result.cluster or None),
        tier=tier,
        mode="both",
        repeat=result.repeat,
        seed=0,
        outcome=result.outcome,
        why=result.why,
        answer=result.answer,
        finish=result.finish,
        began=result.began,
        first_output=result.first_output,
        seconds=result.seconds,
        prompt_tokens=result.prompt_tokens,
        cached_tokens=result.cached_tokens,
        completion_tokens=result.completion_tokens,
        dollars=result.dollars,
    )
