"""Imports jobs of Harbor: the job's `result.json`, with one folder per trial beside it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tierwise.environments.trial import REWARD, TrialResult, reward_of
from tierwise.runs.importers.imported import Collected, Imported, ImportedResult, safe_name
from tierwise.runs.importers.log import Log
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FORMAT = 1
_RESULT = "result.json"
_OF_A_JOB = ("config.json", "lock.json")
_DEPTH = 4
"""How many folders a trial's files may lie below its job."""


class _Model(msgspec.Struct):
    name: str


class _Agent(msgspec.Struct):
    name: str
    version: str = ""
    model_info: _Model | None = None


class _Trial(TrialResult, kw_only=True):
    task_name: str
    trial_name: str
    agent_info: _Agent
    source: str | None = None

    @property
    def tier(self) -> str:
        return self.agent_info.name if self.agent_info.model_info is None else self.agent_info.model_info.name


class _Stats(msgspec.Struct):
    n_running_trials: int = 0
    n_pending_trials: int = 0


class _Job(msgspec.Struct):
    n_total_trials: int
    schema_version: int = _FORMAT
    finished_at: datetime | None = None
    stats: _Stats = msgspec.field(default_factory=_Stats)


def is_companion(log: Log) -> bool:
    """Whether it is another file of a job, or a file of a trial."""
    folder = log.path.parent
    if _is_job(folder) and log.path.name in _OF_A_JOB:
        return True
    return any(_is_job(above) for above in list(folder.parents)[:_DEPTH])


def _is_job(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (_RESULT, *_OF_A_JOB))


def read(log: Log) -> list[Imported] | None:
    """One run per data set, agent and model; None if this is no job of Harbor.

    Raises:
        ConfigErrors: it is one, and trials are invalid; each error names its file.
        SpecError: it is one, and did not end, or lacks trials.
    """
    if log.has("trial_name", "task_name", "agent_info"):
        raise SpecError(
            f"{log.path} is one trial of a job of Harbor; give {_RESULT} of the job, in the folder above it"
        )
    if not log.has("n_total_trials", "stats"):
        return None
    job = log.convert(_Job)
    if job.schema_version != _FORMAT:
        raise SpecError(f"{log.path} has version {job.schema_version}, and {_FORMAT} is read; use Harbor 0.26")
    files = [path / _RESULT for path in sorted(log.path.parent.iterdir()) if path.is_dir()]
    found = [(str(path), Log(path, log.options).convert(_Trial)) for path in files if path.is_file()]
    waiting = job.stats.n_running_trials + job.stats.n_pending_trials
    if job.finished_at is None or waiting:
        raise SpecError(
            f"{log.path} is not complete: {len(found)} of {job.n_total_trials} trials have a result. Finish it with "
            f"`harbor job resume -p {log.path.parent}`"
        )
    if len(found) != job.n_total_trials or not found:
        raise SpecError(
            f"{log.path} says {job.n_total_trials} trials, and {len(found)} folders beside it have a {_RESULT}; copy "
            "the whole folder of the job"
        )
    return _runs(log, found)


def _runs(log: Log, found: list[tuple[str, _Trial]]) -> list[Imported]:
    names = list(dict.fromkeys(name for _, one in found if one.broke is None for name in one.rewards))
    metric = log.choose(names) if names and log.options.metric else ""  # without a reward that counts, all are errors
    arms: dict[tuple[str, str, str], list[tuple[str, _Trial]]] = {}
    for place, trial in sorted(found, key=_began):
        key = trial.source or "tasks", trial.agent_info.name, trial.tier
        arms.setdefault(key, []).append((place, trial))
    job = log.path.resolve().parent.name
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(job, *(dict.fromkeys((suite, agent, tier)) if len(arms) > 1 else ())),
            tier=tier,
            suite=suite,
            size=None,
            results=_results(trials, metric),
            harness={agent: _versions(trials)},
        )
        for (suite, agent, tier), trials in sorted(arms.items())
    ]


def _versions(trials: list[tuple[str, _Trial]]) -> str:
    """Of the agent: one, unless a job was resumed with another."""
    return " and ".join(sorted({trial.agent_info.version or "unknown" for _, trial in trials}))


def _began(row: tuple[str, _Trial]) -> tuple[float, str]:
    trial = row[1]
    return (trial.started_at.timestamp() if trial.started_at else 0.0), trial.trial_name


def _results(rows: list[tuple[str, _Trial]], metric: str) -> tuple[ImportedResult, ...]:
    collected = Collected()
    seen: dict[str, str] = {}
    attempts: Counter[str] = Counter()
    for place, trial in rows:
        outcome, why = _outcome(trial, metric)
        if trial.trial_name in seen:
            collected.wrong(place, f"trial {trial.trial_name!r} is already in {seen[trial.trial_name]}; remove one")
        elif outcome is None:
            collected.wrong(place, why)
        else:
            collected.add(_result(trial, attempts[trial.task_name], outcome, why), place)
            attempts[trial.task_name] += 1
        seen[trial.trial_name] = place
    return collected.done()


def _outcome(trial: _Trial, metric: str) -> tuple[TrialOutcome | None, str]:
    """The outcome with its reason; None, with what is wrong, if there is none."""
    if trial.broke is not None:
        return TrialOutcome.ERROR, trial.broke.why
    ended = next((one.why for one in trial.exceptions), "")
    try:
        reward = reward_of(trial.rewards, metric)
    except ValueError as error:
        return None, f"{error}; allowed are numbers, and a task is solved where they are at least 1"
    if reward is None:
        return TrialOutcome.ERROR, ended or f"the verifier left no {metric or REWARD!r}"
    if reward >= 1:
        return TrialOutcome.CORRECT, ""
    return TrialOutcome.INCORRECT, ended or f"{_named(trial, metric)}: {reward:g}"


def _named(trial: _Trial, metric: str) -> str:
    """What the reward that counts is called."""
    if metric or REWARD in trial.rewards or len(trial.rewards) == 1:
        return metric or (REWARD if REWARD in trial.rewards else next(iter(trial.rewards)))
    return f"mean of {', '.join(trial.rewards)}"


def _result(trial: _Trial, attempt: int, outcome: TrialOutcome, why: str) -> ImportedResult:
    spent = trial.spent
    cost = [one.cost_usd for one in spent if one.cost_usd is not None]
    return ImportedResult(
        task=trial.task_name,
        outcome=outcome,
        why=why,
        repeat=attempt,
        began=_began(("", trial))[0],
        seconds=trial.seconds if outcome != TrialOutcome.ERROR else None,
        prompt_tokens=_sum(one.n_input_tokens for one in spent),
        cached_tokens=_sum(one.n_cache_tokens for one in spent),
        completion_tokens=_sum(one.n_output_tokens for one in spent),
        dollars=sum(cost) if cost else None,
    )


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
