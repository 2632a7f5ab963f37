"""Imports reviews of EvalScope: `reviews/MODEL/DATASET_SUBSET.jsonl`, with `predictions/` and `reports/` beside it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import (
    FINISHES,
    OUTCOME_KEY,
    Collected,
    Imported,
    ImportedResult,
    dollars_in,
    label_of,
    missing_or,
    no_outcome,
    outcome_of,
    safe_name,
    tags_in,
    task_in,
)
from tierwise.runs.importers.log import Log
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAIN = "accuracy"
"""The score of the reviews that `tierwise export` writes."""
INPUT = "input"
"""Source of a message that the task has, and the model did not write."""

_REVIEWS = "reviews"
_SUCCESS = "success"
_USABLE = (_SUCCESS, "fallback", "degraded")
"""Statuses of scores that EvalScope counts: also by its rule where the judge failed, and by a part of its judges. The
metrics that such a score lacks have none.
"""


class _Measured(msgspec.Struct):
    """What one answer took."""

    latency: float | None = None
    ttft: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class _Message(msgspec.Struct):
    role: str
    content: Any = None
    source: str | None = None
    perf_metrics: _Measured | None = None

    @property
    def is_answer(self) -> bool:
        return self.role == "assistant" and self.source != INPUT


class _Score(msgspec.Struct):
    value: dict[str, Any] = {}
    status: str = _SUCCESS
    explanation: str | None = None
    main_score_name: str | None = None
    metadata: dict[str, Any] | None = None


class _SampleScore(msgspec.Struct):
    score: _Score
    group_id: int | str | None = None
    generation_index: int | None = None
    sample_metadata: dict[str, Any] | None = None


class _Review(msgspec.Struct):
    index: int
    sample_score: _SampleScore
    target: Any = None
    messages: list[_Message] = []


class _Usage(msgspec.Struct):
    input_tokens_cache_read: int | None = None


class _Choice(msgspec.Struct):
    stop_reason: str | None = None


class _Output(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    metadata: dict[str, Any] | None = None


class _Prediction(msgspec.Struct):
    index: int
    model_output: _Output | None = None


class _Subset(msgspec.Struct):
    name: str
    num: int
    is_aggregate: bool = False


class _Category(msgspec.Struct):
    subsets: list[_Subset] = []


class _Metric(msgspec.Struct):
    categories: list[_Category] = []


class _Report(msgspec.Struct):
    dataset_name: str
    model_name: str = ""
    metrics: list[_Metric] = []

    def count(self, subset: str) -> int | None:
        """How many samples of a subset it counts: those with a score."""
        found = [one for metric in self.metrics for category in metric.categories for one in category.subsets]
        return next((one.num for one in found if one.name == subset and not one.is_aggregate), None)


def is_companion(log: Log) -> bool:
    """Whether it is a file of predictions or a report."""
    if log.is_lines:
        return log.has("index", "model_output", "messages")
    return log.has("dataset_name", "model_name", "metrics", "dataset_pretty_name")


def read(log: Log) -> list[Imported] | None:
    """One run of one subset; None if these are no reviews of EvalScope.

    Raises:
        ConfigErrors: they are, and lines are invalid; each error names its line.
        SpecError: they are, and are incomplete.
    """
    if not log.is_lines or not log.has("index", "sample_score"):
        return None
    rows = log.lines(_Review)
    report, counted = _report(log)
    scored = sum(bool(row.sample_score.score.value) for _, row in rows)
    if counted is not None and counted != scored:
        raise SpecError(
            f"{log.path} has {scored} reviews with a score, and the report counts {counted}; copy the folder again"
        )
    model = report.model_name if report is not None and report.model_name else log.path.resolve().parent.name
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(model, log.path.stem),
            tier=model,
            suite=log.path.stem,
            size=None,
            results=_results(log, rows),
        )
    ]


def _report(log: Log) -> tuple[_Report | None, int | None]:
    """The report on these reviews, and how many it counts; both None where the file lies outside of a run's folder."""
    if log.path.parent.parent.name != _REVIEWS:
        return None, None
    folder = log.path.parent.parent.parent / "reports" / log.path.parent.name
    for path in sorted(folder.glob("*.json")):
        if log.path.stem.startswith(f"{path.stem}_"):
            report = Log(path, log.options).convert(_Report)
            counted = report.count(log.path.stem.removeprefix(f"{path.stem}_"))
            if counted is not None:
                return report, counted
    raise SpecError(
        f"{log.path} has no report in {folder}, so the evaluation did not end; finish it with "
        f"`evalscope eval … --use-cache {log.path.parent.parent.parent}`"
    )


def _predictions(log: Log) -> dict[int, tuple[str, _Prediction]]:
    path = log.path.parent.parent.parent / "predictions" / log.path.parent.name / log.path.name
    if log.path.parent.parent.name != _REVIEWS or not path.is_file():
        return {}
    return {one.index: (place, one) for place, one in Log(path, log.options).lines(_Prediction)}


def _results(log: Log, rows: Sequence[tuple[str, _Review]]) -> tuple[ImportedResult, ...]:
    metric = _metric(log, [row for _, row in rows])
    made = _predictions(log)
    collected = Collected()
    for place, row in rows:
        outcome, why = _outcome(row.sample_score.score, metric)
        if outcome is None:
            collected.wrong(place, why)
        else:
            prediction = made[row.index][1] if row.index in made else _Prediction(index=row.index)
            collected.add(_result(log, row, prediction, outcome, why), place)
    if lost := sorted(made.keys() - {row.index for _, row in rows}):
        what = f"has no review of the prediction in {made[lost[0]][0]}; review again with --rerun-review"
        collected.wrong(str(log.path), what)
    return collected.done()


def _metric(log: Log, rows: Sequence[_Review]) -> str:
    """The score that counts: the one asked for, or else EvalScope's main score."""
    scores = [row.sample_score.score for row in rows if row.sample_score.score.status in _USABLE]
    mains = dict.fromkeys(one.main_score_name for one in scores if one.main_score_name)
    if not log.options.metric and len(mains) == 1:
        return next(iter(mains))
    names = list(dict.fromkeys(name for one in scores for name in one.value))
    return log.choose(names) if names else ""


def _outcome(score: _Score, metric: str) -> tuple[TrialOutcome | None, str]:
    """The outcome with its reason; None, with what is wrong, if there is none."""
    if score.status not in _USABLE or (score.status != _SUCCESS and metric not in score.value):
        said = (score.explanation or "no reason is given").partition("\n")[0]
        return TrialOutcome.ERROR, f"the score's status is {score.status!r}: {said}"
    outcome = outcome_of(score.value.get(metric))
    if outcome is None:
        return None, no_outcome(score.value, metric)
    why = "" if outcome == TrialOutcome.CORRECT else f"{metric}: 0"
    return missing_or(outcome, (score.metadata or {}).get(OUTCOME_KEY)), why


def _result(log: Log, row: _Review, made: _Prediction, outcome: TrialOutcome, why: str) -> ImportedResult:
    asked = [one.content for one in row.messages if not one.is_answer]
    said = [one for one in row.messages if one.is_answer]
    spent = [one.perf_metrics for one in said]
    known = [one for one in spent if one is not None]
    is_known = bool(known) and len(known) == len(spent) and outcome != TrialOutcome.ERROR
    output = made.model_output or _Output()
    finish = (output.choices[0].stop_reason if output.choices else None) or ""
    number = row.index if row.sample_score.group_id is None else row.sample_score.group_id
    digest = hashlib.sha256(msgspec.json.encode([asked, row.target])).hexdigest()[:8]
    fields = row.sample_score.sample_metadata or {}
    own = task_in(fields)
    return ImportedResult(
        task=own or f"{number}-{digest}",
        outcome=outcome,
        why=(row.sample_score.score.explanation or "") if own else why,
        cluster=label_of(fields, log.options.cluster),
        tags=tags_in(fields),
        repeat=row.sample_score.generation_index or 0,
        answer=_text(said[-1].content) if said else "",
        finish=FINISHES.get(finish, finish),
        seconds=_sum([one.latency for one in known]) if is_known else None,
        first_output=known[0].ttft if is_known and len(known) == 1 else None,
        prompt_tokens=_whole([one.input_tokens for one in known]) if is_known else None,
        cached_tokens=output.usage.input_tokens_cache_read if is_known and len(known) == 1 and output.usage else None,
        completion_tokens=_whole([one.output_tokens for one in known]) if is_known else None,
        dollars=dollars_in(output.metadata or {}),
    )


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "" if content is None else msgspec.json.encode(content).decode()


def _sum(values: Sequence[float | None]) -> float | None:
    return None if None in values else sum(value or 0.0 for value in values)


def _whole(values: Sequence[int | None]) -> int | None:
    return None if None in values else sum(value or 0 for value in values)
