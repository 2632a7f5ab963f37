"""Exports a row as a file of results of promptfoo, as `promptfoo eval -o FILE.json` writes it.

It has no place for tokens from the engine's cache, and none for an answer that is missing: that is a failed assertion.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.exporters.exported import labels, named_outcome
from tierwise.runs.importers.promptfoo import DOLLARS, FAILURES, FORMAT
from tierwise.runs.records import TrialOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.runs.exporters.exported import ExportedRow
    from tierwise.runs.records import TrialRecord

_PROMPT = "{{question}}"


def check(row: ExportedRow) -> str:  # noqa: ARG001 - it has a place for all that counts
    """Nothing is lost that counts."""
    return ""


def files(row: ExportedRow) -> Mapping[str, bytes]:
    """`TIER.json`, with one provider."""
    prompt = _id(_PROMPT)
    results = [_result(row, number, one, prompt) for number, one in enumerate(row.records)]
    counts = {kind: sum(_failure(one) == kind for one in row.records) for kind in FAILURES}
    solved, wrong, errors = counts.values()
    tokens = _tokens(row.records)
    metrics = {
        "score": float(solved),
        "testPassCount": solved,
        "testFailCount": wrong,
        "testErrorCount": errors,
        "assertPassCount": solved,
        "assertFailCount": wrong,
        "totalLatencyMs": sum(one.get("latencyMs", 0) for one in results),
        "tokenUsage": tokens,
        "namedScores": {},
        "namedScoresCount": {},
        "cost": sum(one.dollars or 0.0 for one in row.records),
    }
    column = {"id": prompt, "raw": _PROMPT, "label": _PROMPT, "provider": row.planned.tier, "metrics": metrics}
    began = row.began.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    file = {
        "evalId": f"eval-{_id(row.manifest.run, row.name)[:8]}-{began[:19]}",
        "results": {
            "version": FORMAT,
            "timestamp": began,
            "prompts": [column],
            "results": results,
            "stats": {"successes": solved, "failures": wrong, "errors": errors, "tokenUsage": tokens},
        },
        "config": {
            "description": row.suite,
            "prompts": [_PROMPT],
            "providers": [row.planned.tier],
            "tests": [],
        },
        "shareableUrl": None,
        "metadata": {"evaluationCreatedAt": began, "author": "tierwise"},
    }
    return {f"{row.name}.json": msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"}


def _failure(one: TrialRecord) -> int:
    """`failureReason`: 0 none, 1 an assertion, 2 an error."""
    outcome = one.outcome if one.outcome in FAILURES.values() else TrialOutcome.INCORRECT
    return next(number for number, kind in FAILURES.items() if kind == outcome)


def _result(row: ExportedRow, number: int, one: TrialRecord, prompt: str) -> dict[str, Any]:
    question, failure = row.question(one.task), _failure(one)
    assertion = {"type": "human", "value": row.target(one.task)}
    why = one.why or one.outcome.value.replace("_", " ")
    graded = {"pass": failure == 0, "score": float(failure == 0), "reason": why}
    variables = {"question": question}
    found = {
        "id": _id(row.manifest.run, row.name, str(number)),
        "testIdx": number,
        "promptIdx": 0,
        "promptId": prompt,
        "provider": {"id": row.planned.tier, "label": row.planned.tier},
        "prompt": {"raw": question, "label": _PROMPT},
        "vars": variables,
        "testCase": {
            "description": one.task,
            "vars": variables,
            "assert": [assertion],
            "metadata": labels(one) | named_outcome(one),
        },
        "success": failure == 0,
        "score": float(failure == 0),
        "failureReason": failure,
        "namedScores": {},
        "gradingResult": None
        if one.outcome == TrialOutcome.ERROR
        else {**graded, "componentResults": [{**graded, "assertion": assertion}]},
        "response": _response(one),
    }
    if failure:
        found["error"] = why
    if one.dollars is not None:
        found["cost"] = one.dollars
    if one.seconds is not None:
        found["latencyMs"] = one.seconds * 1000
    return found


def _response(one: TrialRecord) -> dict[str, Any]:
    response: dict[str, Any] = {"output": one.answer, "cached": False}
    if one.finish:
        response["finishReason"] = one.finish
    if one.prompt_tokens is not None and one.completion_tokens is not None:
        response["tokenUsage"] = _tokens([one])
    if one.dollars is not None:
        response["metadata"] = {"http": {"headers": {DOLLARS: repr(one.dollars)}}}
    return response


def _tokens(records: Sequence[TrialRecord]) -> dict[str, int]:
    prompt = sum(one.prompt_tokens or 0 for one in records)
    completion = sum(one.completion_tokens or 0 for one in records)
    return {
        "total": prompt + completion,
        "prompt": prompt,
        "completion": completion,
        "cached": 0,
        "numRequests": len(records),
    }


def _id(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
