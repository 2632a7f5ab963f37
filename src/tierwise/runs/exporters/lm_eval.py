"""Exports a row as samples of lm-evaluation-harness, with the file of figures beside them.

They have scores and answers, and no place for tokens, seconds and dollars.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.exporters.exported import labels
from tierwise.runs.importers.imported import TASK_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.runs.exporters.exported import ExportedRow
    from tierwise.runs.records import TrialRecord

METRIC = "correct"


def check(row: ExportedRow) -> str:
    """Why the samples could not hold a row."""
    if row.repeats > 1:
        return f"each task was asked {row.repeats} times, and lm-eval has one score of a document"
    if errors := [one.task for one in row.records if not one.is_graded]:
        return f"{len(errors)} actions ended in infrastructure errors ({errors[0]}, …), which lm-eval does not have"
    return ""


def files(row: ExportedRow) -> Mapping[str, bytes]:
    """`TIER/samples_SUITE_TIME.jsonl` and `TIER/results_TIME.json`."""
    time = row.began.strftime("%Y-%m-%dT%H-%M-%S.%f")
    samples = [_sample(row, number, one) for number, one in enumerate(row.records)]
    values = [one[METRIC] for one in samples]
    share = sum(values) / len(values)
    error = (share * (1 - share) / (len(values) - 1)) ** 0.5 if len(values) > 1 else "N/A"
    figures = {
        "results": {row.suite: {"alias": row.suite, f"{METRIC},none": share, f"{METRIC}_stderr,none": error}},
        "configs": {row.suite: {"task": row.suite, "output_type": "generate_until", "repeats": 1}},
        "versions": {row.suite: 0},
        "n-shot": {row.suite: 0},
        "higher_is_better": {row.suite: {METRIC: True}},
        "n-samples": {row.suite: {"original": len(values), "effective": len(values)}},
        "config": {"model": "tierwise", "model_args": {"model": row.planned.tier}},
        "model_source": "tierwise",
        "model_name": row.planned.tier,
        "start_time": row.began.timestamp(),
    }
    return {
        f"{row.name}/samples_{row.suite}_{time}.jsonl": msgspec.json.Encoder().encode_lines(samples),
        f"{row.name}/results_{time}.json": msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n",
    }


def _sample(row: ExportedRow, number: int, one: TrialRecord) -> dict[str, Any]:
    question, target = row.question(one.task), row.target(one.task)
    doc = {TASK_KEY: one.task, "question": question, **labels(one)}
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": question, "arg_1": {}}},
        "resps": [[one.answer]],
        "filtered_resps": [one.answer],
        "filter": "none",
        "metrics": [METRIC],
        "doc_hash": _hash(msgspec.json.encode(doc, order="sorted")),
        "prompt_hash": _hash(question.encode()),
        "target_hash": _hash(target.encode()),
        METRIC: float(one.is_solved),
    }


def _hash(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()
