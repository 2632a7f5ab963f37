"""Imports bundles of NeMo Evaluator: `eval-*.json` with `results.jsonl` and `inference_log.jsonl` beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import (
    DOLLARS_KEY,
    OUTCOME_KEY,
    WHY_KEY,
    Collected,
    Imported,
    ImportedResult,
    label_of,
    missing_or,
    no_outcome,
    outcome_of,
    safe_name,
    tags_in,
)
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.runs.importers.log import Log

INFRA = "infra_error"
_INFRA = (INFRA, "system")
"""Categories of errors that are not the model's: of the endpoint, and, after `--skip-failed`, of anything else. It
grades both 0, like the third, `graceful`: an agent that crashed or used up its turns.
"""
REPORTED = "provider_reported"
"""What the log says of counts that are not its own estimates."""
_COMPANIONS = (
    "checkpoint.json",
    "failure_analysis.json",
    "inference_log.jsonl",
    "model_traffic.jsonl",
    "nel_run.json",
    "runtime_stats.json",
    "trajectories.jsonl",
    "verified_log.jsonl",
)


class _Config(msgspec.Struct):
    benchmark: str
    model: str


class _Benchmark(msgspec.Struct):
    samples: int


class _Bundle(msgspec.Struct):
    config: _Config
    benchmark: _Benchmark
    n_results: int


class _Line(msgspec.Struct):
    problem_idx: int
    repeat: int
    reward: Any
    model_response: str | None = None
    scoring_details: dict[str, Any] = {}
    scorer_rewards: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    latency_ms: float | None = None


class _ModelUsage(msgspec.Struct):
    cached_tokens: int | None = None
    provenance: str = msgspec.field(default=REPORTED, name="token_provenance")


class _Stats(msgspec.Struct):
    usage: _ModelUsage = msgspec.field(default_factory=_ModelUsage)
    dollars: float | None = msgspec.field(default=None, name=DOLLARS_KEY)


class _Inference(msgspec.Struct):
    """A line of the log of requests. Its first line is about the run."""

    problem_idx: int | None = None
    repeat: int = 0
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model_stats: _Stats = msgspec.field(default_factory=_Stats)


def is_companion(log: Log) -> bool:
    """Whether it is another file of a bundle."""
    if log.path.name in _COMPANIONS:
        return True
    return log.path.name == "results.jsonl" and any(log.path.parent.glob("eval-*.json")) and _is_results(log)


def read(log: Log) -> list[Imported] | None:
    """One run; None if this is no bundle of NeMo Evaluator.

    Raises:
        ConfigErrors: it is one, and lines are invalid; each error names its line.
        SpecError: it is one, and is incomplete.
    """
    if log.is_lines and _is_results(log):
        raise SpecError(
            f"{log.path} has the results of a bundle of NeMo Evaluator; give the bundle, eval-*.json beside it. "
            "Without one the run did not end: `nel eval run --resume` ends it"
        )
    if not log.has("run_id", "config", "benchmark", "n_results"):
        return None
    bundle = log.convert(_Bundle)
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(bundle.config.model, log.path.stem),
            tier=bundle.config.model,
            suite=bundle.config.benchmark,
            size=bundle.benchmark.samples,
            results=_results(log, bundle),
        )
    ]


def _is_results(log: Log) -> bool:
    return log.has("problem_idx", "reward", "scoring_details", "expected_answer")


def _results(log: Log, bundle: _Bundle) -> tuple[ImportedResult, ...]:
    lines = log.beside("results.jsonl").lines(_Line)
    requests = log.beside("inference_log.jsonl")
    asked = {
        (one.problem_idx, one.repeat): one
        for _, one in (requests.lines(_Inference) if requests.path.exists() else ())
        if one.problem_idx is not None
    }
    metric = log.choose(["reward", *lines[0][1].scorer_rewards]) if log.options.metric and lines else "reward"
    names = _names([line for _, line in lines])
    collected = Collected()
    for place, line in lines:
        is_error = line.scoring_details.get("error_category") in _INFRA
        value = line.reward if metric == "reward" else line.scorer_rewards.get(metric)
        outcome = TrialOutcome.ERROR if is_error else outcome_of(value)
        if outcome is None:
            collected.wrong(place, no_outcome({metric: value}, metric))
        else:
            outcome = missing_or(outcome, line.scoring_details.get(OUTCOME_KEY))
            request = asked.get((line.problem_idx, line.repeat), _Inference())
            collected.add(_result(log, line, request, names[line.problem_idx], outcome), place)
    if len(lines) != bundle.n_results:
        what = f"has {len(lines)} results, and {log.path.name} says {bundle.n_results}; copy the bundle again"
        collected.wrong(str(log.beside("results.jsonl").path), what)
    return collected.done()


def _names(lines: list[_Line]) -> dict[int, str]:
    """Task ids by number of the problem: those of the data set, if they tell all problems apart."""
    found = {line.problem_idx: label_of(line.metadata, "id") for line in lines}
    is_told = "" not in found.values() and len(set(found.values())) == len(found)
    return found if is_told else {number: str(number) for number in found}


def _result(log: Log, line: _Line, request: _Inference, task: str, outcome: TrialOutcome) -> ImportedResult:
    is_served = outcome != TrialOutcome.ERROR
    is_counted = is_served and request.model_stats.usage.provenance == REPORTED
    error = line.scoring_details.get("error") or line.scoring_details.get("method") or "no reason is given"
    why = {TrialOutcome.ERROR: str(error), TrialOutcome.INCORRECT: "the scorer rejected the answer"}
    said = line.scoring_details.get(WHY_KEY)
    return ImportedResult(
        task=task,
        outcome=outcome,
        why=said if isinstance(said, str) else why.get(outcome, ""),
        cluster=label_of(line.metadata, log.options.cluster),
        tags=tags_in(line.metadata),
        repeat=line.repeat,
        answer=line.model_response or "",
        finish=request.finish_reason or "",
        seconds=line.latency_ms / 1000 if is_served and line.latency_ms else None,
        prompt_tokens=request.prompt_tokens if is_counted else None,
        cached_tokens=request.model_stats.usage.cached_tokens if is_counted else None,
        completion_tokens=request.completion_tokens if is_counted else None,
        dollars=request.model_stats.dollars,
    )
