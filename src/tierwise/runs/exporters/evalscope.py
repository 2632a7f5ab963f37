"""Exports a row as results of EvalScope: the report, the reviews and the predictions that its dashboard shows."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.exporters.exported import STOPS, labels, named_outcome, percentile
from tierwise.runs.importers.evalscope import INPUT, MAIN
from tierwise.runs.importers.imported import DOLLARS_KEY, TASK_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.runs.exporters.exported import ExportedRow
    from tierwise.runs.records import TrialRecord

_SUBSET = "default"
_IDENTITY = {"name": MAIN, "aggregation": "mean", "dimensions": {}}
_ACCURACY = {
    "semantic_id": "quality.accuracy.ratio",
    "metric_name": "Accuracy",
    "kind": "quality",
    "direction": "higher_is_better",
    "value_range": {"min": 0.0, "max": 1.0},
    "display_kind": "percent",
    "display_multiplier": 100.0,
    "display_unit": "%",
    "display_precision": 1,
}
"""How EvalScope shows an accuracy, as its reports say it."""
_SECONDS = {
    "semantic_id": "perf.latency.seconds",
    "metric_name": "Latency",
    "kind": "quality",
    "direction": "lower_is_better",
    "raw_unit": "s",
    "display_kind": "number",
    "display_unit": "s",
    "display_precision": 3,
}
_RATE = {**_SECONDS, "direction": "higher_is_better", "display_precision": 2}
_OUTPUT = {"semantic_id": "perf.throughput.tokens_per_second", "metric_name": "Output Throughput"}
_REQUESTS = {"semantic_id": "perf.throughput.requests_per_second", "metric_name": "Request Throughput"}
_MEASURED = {
    "latency": _SECONDS,
    "ttft": {**_SECONDS, "metric_name": "TTFT", "display_multiplier": 1000.0, "display_unit": "ms"},
    "throughput.avg_output_tps": {**_RATE, **_OUTPUT, "raw_unit": "tok/s", "display_unit": "tok/s"},
    "throughput.avg_req_ps": {**_RATE, **_REQUESTS, "raw_unit": "req/s", "display_unit": "req/s"},
}
"""How it shows what has a unit."""
_UNSCORED = "transport_error"
"""Status of a review without a score, because the infrastructure failed."""


def check(row: ExportedRow) -> str:
    """Why its files could not hold a row."""
    return "" if any(one.is_graded for one in row.records) else "no action was graded, and a report needs a score"


def files(row: ExportedRow) -> Mapping[str, bytes]:
    """`TIME/reports/TIER/SUITE.json`, with `predictions/`, `reviews/` and `configs/` beside `reports/`.

    The rows of a run share the folder and its configuration.
    """
    folder, model, name = row.began.strftime("%Y%m%d_%H%M%S"), row.name, f"{row.suite}_{_SUBSET}.jsonl"
    lines = msgspec.json.Encoder().encode_lines
    groups = {task: number for number, task in enumerate(row.names)}
    reviews = [_review(row, number, groups[one.task], one) for number, one in enumerate(row.records)]
    config = {"datasets": [row.suite], "repeats": row.repeats}
    return {
        f"{folder}/configs/task_config.yaml": _indented(config),
        f"{folder}/predictions/{model}/{name}": lines(
            [_prediction(row, number, one) for number, one in enumerate(row.records)]
        ),
        f"{folder}/reviews/{model}/{name}": lines(reviews),
        f"{folder}/reports/{model}/{row.suite}.json": _indented(_report(row)),
    }


def _indented(value: Any) -> bytes:
    """JSON is YAML too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=4) + b"\n"


def _report(row: ExportedRow) -> dict[str, Any]:
    solved = [one.is_solved for one in row.records if one.is_graded]
    score = sum(solved) / len(solved)
    counts = {"requested": len(row.records), "succeeded": len(solved), "errored": len(row.records) - len(solved)}
    figures = {"num": len(solved), "score": score, "macro_score": score}
    subset = {"name": _SUBSET, "num": len(solved), "score": score, "is_aggregate": False}
    category = {"name": ["default"], **figures, "subsets": [subset]}
    return {
        "schema_version": 2,
        "name": f"{row.model}@{row.suite}",
        "dataset_name": row.suite,
        "dataset_pretty_name": row.suite,
        "dataset_description": "",
        "model_name": row.model,
        "metrics": [{"identity": _IDENTITY, **figures, "categories": [category], "semantics": _ACCURACY}],
        "analysis": "N/A",
        "perf_metrics": _performance(row.records),
        "primary_metric_identity": _IDENTITY,
        "execution_summary": {
            **counts,
            "incomplete": len(solved) < len(row.records),
            "subsets": {_SUBSET: counts},
        },
        "num": len(solved),
    }


def _performance(records: Sequence[TrialRecord]) -> dict[str, Any] | None:
    """Seconds and tokens of the answers that have all of them; None if none has."""
    known = [
        one for one in records if one.is_graded and None not in (one.seconds, one.prompt_tokens, one.completion_tokens)
    ]
    if not known:
        return None
    seconds = [one.seconds or 0.0 for one in known]
    prompts, completions = [one.prompt_tokens or 0 for one in known], [one.completion_tokens or 0 for one in known]
    total, spent = sum(completions), sum(seconds)
    rate = 1 / spent if spent else 0.0
    first = [one.first_output for one in known if one.first_output is not None]
    tokens = {
        "input_tokens": _described(prompts),
        "output_tokens": _described(completions),
        "total_tokens": _described([sum(one) for one in zip(prompts, completions, strict=True)]),
        "total_input_tokens": sum(prompts),
        "total_output_tokens": total,
        "total_tokens_count": sum(prompts) + total,
    }
    summary = {
        "n_samples": len(known),
        "latency": _described(seconds),
        "throughput": {"avg_output_tps": total * rate, "avg_req_ps": len(known) * rate},
        "usage": tokens,
        **({"ttft": _described(first)} if first else {}),
    }
    return {
        "summary": summary,
        "metric_semantics": _MEASURED,
        "coverage": {"requests_with_metrics": len(known), "total_requests": len(records)},
    }


def _described(values: Sequence[float]) -> dict[str, float | None]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        **{f"{percent}%": percentile(values, percent) for percent in (25, 50, 75, 90, 99)},
        "max": max(values),
    }


def _review(row: ExportedRow, number: int, group: int, one: TrialRecord) -> dict[str, Any]:
    target = row.target(one.task)
    score = {
        "value": {MAIN: float(one.is_solved)} if one.is_graded else {},
        "status": "success" if one.is_graded else _UNSCORED,
        "extracted_prediction": one.answer,
        "prediction": one.answer,
        "explanation": one.why,
        "metadata": named_outcome(one),
        "main_score_name": MAIN,
    }
    return {
        "index": number,
        "target": [target] if target else None,
        "messages": [*_asked(row, one), _answer(one)],
        "agent_trace": None,
        "sample_score": {
            "score": score,
            "sample_id": number,
            "group_id": group,
            "generation_index": one.repeat,
            "sample_metadata": {TASK_KEY: one.task, **labels(one)},
        },
    }


def _prediction(row: ExportedRow, number: int, one: TrialRecord) -> dict[str, Any]:
    answer = _answer(one)
    output = {
        "model": one.tier,
        "choices": [{"message": answer, "stop_reason": STOPS.get(one.finish, "unknown")}] if one.finish else [],
        "usage": _usage(one),
        "time": one.seconds,
        "metadata": None if one.dollars is None else {DOLLARS_KEY: one.dollars},
        "error": None if one.is_graded else one.why,
    }
    return {
        "index": number,
        "model": one.tier,
        "model_output": output,
        "messages": [*_asked(row, one), answer],
        "agent_trace": None,
        "metadata": {TASK_KEY: one.task, **labels(one)},
    }


def _asked(row: ExportedRow, one: TrialRecord) -> list[dict[str, Any]]:
    return [{**message, "source": INPUT} for message in row.messages(one.task)]


def _answer(one: TrialRecord) -> dict[str, Any]:
    """The answer, with what it took: EvalScope reads what is left out as 0, and refuses null."""
    measured = {
        "latency": one.seconds,
        "ttft": one.first_output,
        "input_tokens": one.prompt_tokens,
        "output_tokens": one.completion_tokens,
    }
    known = {name: value for name, value in measured.items() if value is not None}
    return {
        "role": "assistant",
        "content": one.answer,
        "source": "generate",
        "model": one.tier,
        "perf_metrics": known if known and one.is_graded else None,
    }


def _usage(one: TrialRecord) -> dict[str, int | None] | None:
    if one.prompt_tokens is None or one.completion_tokens is None:
        return None
    return {
        "input_tokens": one.prompt_tokens,
        "output_tokens": one.completion_tokens,
        "total_tokens": one.prompt_tokens + one.completion_tokens,
        "input_tokens_cache_read": one.cached_tokens,
    }
