"""Imports samples of lm-evaluation-harness (`samples_TASK_TIME.jsonl`, written with `--log_samples`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import (
    Collected,
    Imported,
    ImportedResult,
    label_of,
    no_outcome,
    outcome_of,
    safe_name,
    tags_in,
    task_in,
)
from tierwise.runs.records import TrialOutcome

if TYPE_CHECKING:
    from tierwise.runs.importers.log import Log

_NAME = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.-]+)")
_NO_FILTER = "none"


class _Line(msgspec.Struct):
    """One sample with one filter; the score of each metric is a key of its own."""

    doc_id: int
    doc: Any
    resps: list[Any]
    filtered_resps: list[Any] = []
    filter: str = _NO_FILTER
    metrics: list[str] = []
    doc_hash: str = ""


class _Count(msgspec.Struct):
    effective: int


class _Results(msgspec.Struct, rename={"samples": "n-samples"}):
    """The file of a run's figures."""

    model_name: str = ""
    samples: dict[str, _Count] = {}


def is_companion(log: Log) -> bool:
    """Whether it is the file of figures, which is read with the samples."""
    return log.has("results", "configs", "n-samples") or log.has("results", "configs", "lm_eval_version")


def read(log: Log) -> list[Imported] | None:
    """One run of one task; None if these are no samples of lm-eval.

    Raises:
        ConfigErrors: they are, and lines are invalid; each error names its line.
        SpecError: they are, and are incomplete.
    """
    if not log.is_lines or not log.has("doc_id", "resps", "filtered_resps"):
        return None
    named = _NAME.fullmatch(log.path.stem)
    task = named["task"] if named else log.path.stem
    figures = log.beside(f"results_{named['time']}.json") if named else None
    results = figures.convert(_Results) if figures is not None and figures.path.exists() else _Results()
    model = results.model_name or log.path.resolve().parent.name
    planned = results.samples.get(task)
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(model, log.path.stem.removeprefix("samples_")),
            tier=model,
            suite=task,
            size=None if planned is None else planned.effective,
            results=_results(log, None if planned is None else planned.effective),
        )
    ]


def _results(log: Log, planned: int | None) -> tuple[ImportedResult, ...]:
    lines = log.lines(_Line)
    scores = log.lines(dict[str, Any])
    names = dict.fromkeys(_metric(name, line.filter) for _, line in lines for name in line.metrics)
    chosen = log.choose(list(names))
    metric, _, used = chosen.partition(",")
    collected = Collected()
    for (place, line), (_, values) in zip(lines, scores, strict=True):
        if used not in ("", line.filter):
            continue
        outcome = outcome_of(values.get(metric))
        if outcome is None:
            collected.wrong(place, no_outcome(values, metric))
        else:
            collected.add(_result(log, line, outcome, chosen), place)
    if planned is not None and len(collected.results) < planned and not collected.errors:
        what = f"has {len(collected.results)} of {planned} samples, as the file of results says; copy it again"
        collected.wrong(str(log.path), what)
    return collected.done()


def _metric(name: str, used: str) -> str:
    """A metric and a filter, as lm-eval names them: `exact_match,strict-match`; without a filter, the metric."""
    return name if used == _NO_FILTER else f"{name},{used}"


def _result(log: Log, line: _Line, outcome: TrialOutcome, metric: str) -> ImportedResult:
    fields = line.doc if isinstance(line.doc, dict) else {}
    hashed = f"-{line.doc_hash[:8]}" if line.doc_hash else ""
    return ImportedResult(
        task=task_in(fields) or f"{line.doc_id}{hashed}",
        outcome=outcome,
        why="" if outcome == TrialOutcome.CORRECT else f"{metric}: 0",
        cluster=label_of(fields, log.options.cluster),
        tags=tags_in(fields),
        answer=_text(line.resps),
    )


def _text(responses: list[Any]) -> str:
    """The model's first answer; empty where its likelihoods were asked."""
    first = responses[0] if responses else ""
    while isinstance(first, list) and first:
        first = first[0]
    return first if isinstance(first, str) and len(responses) == 1 else ""
