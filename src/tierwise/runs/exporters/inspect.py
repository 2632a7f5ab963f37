"""Exports a row as a log of Inspect (`.eval`): what its reader, its viewer and its data frames want of one."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise import __version__
from tierwise.runs.exporters.exported import STOPS, labels
from tierwise.runs.records import TrialOutcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.runs.exporters.exported import ExportedRow
    from tierwise.runs.records import TrialRecord

SCORER = "tierwise"
_VALUES = {
    TrialOutcome.CORRECT: "C",
    TrialOutcome.INCORRECT: "I",
    TrialOutcome.NO_ANSWER: "N",
    TrialOutcome.LOST_TO_THINKING: "N",
}


def check(row: ExportedRow) -> str:  # noqa: ARG001 - it has a place for all
    """Nothing is lost that counts."""
    return ""


def files(row: ExportedRow) -> Mapping[str, bytes]:
    """One `.eval` file."""
    samples = [_sample(row, one) for one in row.records]
    summaries = [_summary(one) for one in samples]
    head = {"version": 2, "eval": _eval(row), "plan": {"name": "plan", "steps": [], "config": {}}}
    whole = {
        **head,
        "status": "success",
        "results": _results(samples),
        "stats": {
            "started_at": row.began.isoformat(),
            "completed_at": row.manifest.ended or row.manifest.began,
            "model_usage": _total(samples),
        },
    }
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        _put(file, "_journal/start.json", head)
        for one in samples:
            _put(file, f"samples/{_file_name(one['id'])}_epoch_{one['epoch']}.json", one)
        _put(file, "_journal/summaries/1.json", summaries)
        _put(file, "summaries.json", summaries)
        _put(file, "reductions.json", [])
        _put(file, "header.json", whole)
    return {f"{row.name}.eval": held.getvalue()}


def _put(file: zipfile.ZipFile, name: str, value: Any) -> None:
    """Equal runs make equal files: no entry has the time at which it was written."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(entry, msgspec.json.encode(value))


def _file_name(task: str) -> str:
    """Ids may have any characters, and a name in a zip file is a path."""
    safe = "".join(one if one.isalnum() or one in "-_." else "-" for one in task)
    return safe if safe == task else f"{safe[:80]}-{_id(task)[:8]}"


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:22]


def _eval(row: ExportedRow) -> dict[str, Any]:
    run = row.manifest.run
    return {
        "eval_id": _id(run, row.name),
        "run_id": _id(run),
        "created": row.began.isoformat(),
        "task": row.suite,
        "task_id": _id(row.manifest.workload.sha256, row.suite),
        "task_version": 0,
        "dataset": {
            "name": row.suite,
            "samples": len(row.names),
            "sample_ids": list(row.names),
            "shuffled": False,
        },
        "model": row.planned.tier,
        "model_args": {},
        "config": {"epochs": row.repeats},
        "packages": {"tierwise": __version__},
        "scorers": [{"name": SCORER, "options": {}, "metrics": [{"name": "inspect_ai/accuracy", "options": {}}]}],
        "metadata": {"mode": row.planned.mode, "most_passes": row.planned.most_passes},
    }


def _sample(row: ExportedRow, one: TrialRecord) -> dict[str, Any]:
    began = datetime.fromtimestamp(one.began, UTC) if one.began else row.began
    messages = [
        message | {"source": "input"} if message["role"] == "user" else message for message in row.messages(one.task)
    ]
    answer = {"role": "assistant", "content": one.answer, "source": "generate", "model": one.tier}
    is_answer = one.has_answer
    usage = _usage(one)
    sample: dict[str, Any] = {
        "id": one.task,
        "epoch": one.repeat + 1,
        "input": row.question(one.task),
        "target": row.target(one.task),
        "messages": [*messages, *([answer] if is_answer else [])],
        "output": {
            "model": one.tier,
            "choices": [{"message": answer, "stop_reason": STOPS.get(one.finish, "unknown")}] if one.finish else [],
            "completion": one.answer,
        },
        "metadata": {**labels(one), "first_output": one.first_output},
        "store": {},
        "events": [],
        "attachments": {},
        "model_usage": {} if usage is None else {one.tier: usage},
        "role_usage": {},
        "uuid": _id(row.manifest.run, row.name, one.task, str(one.repeat)),
        "started_at": began.isoformat(),
    }
    if one.seconds is not None:
        ended = (began + timedelta(seconds=one.seconds)).isoformat()
        sample |= {"completed_at": ended, "total_time": one.seconds, "working_time": one.seconds}
    if one.is_graded:
        value = {"value": _VALUES[one.outcome], "answer": one.answer, "explanation": one.why, "history": []}
        return sample | {"scores": {SCORER: value}}
    return sample | {"scores": {}, "error": {"message": one.why, "traceback": one.why, "traceback_ansi": one.why}}


def _usage(one: TrialRecord) -> dict[str, Any] | None:
    """Inspect's input tokens are those that were not cached."""
    if one.prompt_tokens is None or one.completion_tokens is None:
        return None
    cached = one.cached_tokens or 0
    usage: dict[str, Any] = {
        "input_tokens": one.prompt_tokens - cached,
        "output_tokens": one.completion_tokens,
        "total_tokens": one.prompt_tokens + one.completion_tokens,
        "input_tokens_cache_read": cached,
    }
    return usage if one.dollars is None else usage | {"total_cost": one.dollars}


def _total(samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    sums: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for sample in samples:
        for model, usage in sample["model_usage"].items():
            for name, value in usage.items():
                sums[model][name] = sums[model].get(name, 0) + value
    return dict(sums)


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "epoch", "input", "target", "metadata", "scores", "model_usage", "role_usage", "uuid", "started_at")
    times = ("completed_at", "total_time", "working_time")
    error = {"error": sample["error"]["message"]} if "error" in sample else {}
    of = {name: sample[name] for name in (*kept, *times) if name in sample}
    return {**of, **error, "completed": True, "retries": 0, "message_count": len(sample["messages"])}


def _results(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = list(_scores(samples))
    metrics = {"accuracy": {"name": "accuracy", "value": sum(values) / len(values), "params": {}}} if values else {}
    return {
        "total_samples": len(samples),
        "completed_samples": len(values),
        "scores": [
            {
                "name": SCORER,
                "scorer": SCORER,
                "scored_samples": len(values),
                "unscored_samples": 0,
                "params": {},
                "metrics": metrics,
            }
        ],
    }


def _scores(samples: Sequence[Mapping[str, Any]]) -> Iterator[float]:
    for sample in samples:
        if SCORER in sample["scores"]:
            yield float(sample["scores"][SCORER]["value"] == "C")
