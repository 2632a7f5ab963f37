"""Exports a row as a bundle of NeMo Evaluator, which `nel report`, `nel compare`, `nel gate` and `nel export` read.

It has no place for the time of the first output.
"""

from __future__ import annotations

import hashlib
import re
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise import __version__
from tierwise.runs.exporters.exported import labels, named_outcome, percentile
from tierwise.runs.importers.imported import DOLLARS_KEY, WHY_KEY
from tierwise.runs.importers.nemo import INFRA, REPORTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.runs.exporters.exported import ExportedRow
    from tierwise.runs.records import TrialRecord

_CONFIDENCE = 0.95
_METHOD = "tierwise"
_EXAMPLES = 3
_NUMBER_BYTES = 6
"""So few that a double holds the number, and so many that no two of 100,000 tasks are likely to share one."""


def check(row: ExportedRow) -> str:  # noqa: ARG001 - it has a place for all that counts
    """Nothing is lost that counts."""
    return ""


def files(row: ExportedRow) -> Mapping[str, bytes]:
    """`TIER/SUITE/eval-TIME-SUITE.json`, with `results.jsonl` and `inference_log.jsonl` beside it."""
    suite = re.sub(r"[^a-zA-Z0-9_.-]", "_", row.suite)
    run = f"eval-{row.began:%Y%m%dT%H%M%SZ}-{suite}"
    config = f"sha256:{row.manifest.config.sha256}"
    bundle = {
        "run_id": run,
        "config_hash": config,
        "sdk_version": f"tierwise-{__version__}",
        "timestamp": row.began.isoformat(),
        "config": {"benchmark": row.suite, "model": row.model, "base_url": row.manifest.url, "repeats": row.repeats},
        "benchmark": {
            "name": row.suite,
            "samples": len(row.names),
            "repeats": row.repeats,
            "scores": _scores(row),
        },
        "n_results": len(row.records),
    }
    lines = msgspec.json.Encoder().encode_lines
    results = [_result(row, one) for one in row.records]
    requests = [_request(row, one) for one in row.records if one.is_graded]
    folder = f"{row.name}/{suite}"
    return {
        f"{folder}/{run}.json": msgspec.json.format(msgspec.json.encode(bundle), indent=2) + b"\n",
        f"{folder}/results.jsonl": lines(results),
        f"{folder}/inference_log.jsonl": lines([{"config_hash": config, "_type": "meta"}, *requests]),
    }


def _scores(row: ExportedRow) -> dict[str, Any]:
    """NeMo Evaluator's own figures: an infrastructure error is a reward of 0 in them."""
    solved = Counter(one.task for one in row.records if one.is_solved)
    shares = [solved[name] / row.repeats for name in row.names]
    share = statistics.fmean(shares)
    rewards = [float(one.is_solved) for one in row.records]
    scores: dict[str, Any] = {"pass@1": {"value": share, **_interval(shares, row.repeats)}}
    if row.repeats > 1:
        scores[f"pass@{row.repeats}"] = {"value": statistics.fmean(float(one > 0) for one in shares)}
    scores["summary"] = {
        "mean": share,
        "std": statistics.stdev(rewards) if len(rewards) > 1 else 0.0,
        "min": min(rewards),
        "max": max(rewards),
        "median": statistics.median(rewards),
        "n": len(rewards),
    }
    return scores | {"runtime": _runtime(row.records), "failures": _failures(row)}


def _interval(shares: Sequence[float], repeats: int) -> dict[str, float]:
    """How precise the repeats make the score on these tasks, as NeMo Evaluator computes it; empty without repeats."""
    if repeats == 1:
        return {}
    spread = sum(share * (1 - share) / (repeats - 1) for share in shares) ** 0.5 / len(shares)
    half = statistics.NormalDist().inv_cdf((1 + _CONFIDENCE) / 2) * spread
    share = statistics.fmean(shares)
    return {"ci_lower": share - half, "ci_upper": share + half}


def _runtime(records: Sequence[TrialRecord]) -> dict[str, Any]:
    prompt, completion = (
        sum(getattr(one, name) or 0 for one in records if one.is_graded)
        for name in ("prompt_tokens", "completion_tokens")
    )
    latencies = [one.seconds * 1000 for one in records if one.is_graded and one.seconds is not None]
    percents = {f"p{percent}": percentile(latencies, percent) for percent in (50, 90, 99)} if latencies else {}
    return {
        "total_steps": len(records),
        "total_tokens": prompt + completion,
        "total_prompt_tokens": prompt,
        "total_completion_tokens": completion,
        "latency_percentiles_ms": percents,
        "model_errors": sum(not one.is_graded for one in records),
        "finish_reason_counts": Counter(one.finish for one in records if one.finish),
    }


def _failures(row: ExportedRow) -> dict[str, Any]:
    failed = [one for one in row.records if not one.is_graded]
    share = len(failed) / len(row.records)
    examples = [{**_place(one), "error": one.why} for one in failed[:_EXAMPLES]]
    found = {INFRA: {"count": len(failed), "percentage": share, "exemplars": examples}} if failed else {}
    return {
        "total_steps": len(row.records),
        "total_failures": len(failed),
        "failure_rate": share,
        "categories": found,
    }


def _place(one: TrialRecord) -> dict[str, int]:
    """`nel compare` pairs the results of two bundles by these numbers, so the problem's follows from the task's id."""
    number = int.from_bytes(hashlib.sha256(one.task.encode()).digest()[:_NUMBER_BYTES])
    return {"problem_idx": number, "repeat": one.repeat}


def _result(row: ExportedRow, one: TrialRecord) -> dict[str, Any]:
    return {
        **_place(one),
        "reward": float(one.is_solved),
        "scorer_rewards": {},
        "prompt": row.question(one.task),
        "model_response": one.answer,
        "extracted_answer": one.answer if one.is_graded else None,
        "expected_answer": row.target(one.task),
        "scoring_details": _details(one),
        "metadata": _metadata(row, one),
        "tokens": _tokens(one),
        "latency_ms": 0.0 if one.seconds is None or not one.is_graded else one.seconds * 1000,
    }


def _details(one: TrialRecord) -> dict[str, Any]:
    if not one.is_graded:
        return {"error": one.why, "error_category": INFRA, "method": INFRA}
    return {"method": _METHOD, "correct": one.is_solved, WHY_KEY: one.why, **named_outcome(one)}


def _metadata(row: ExportedRow, one: TrialRecord) -> dict[str, Any]:
    return {"source": _METHOD, "benchmark": row.suite, "id": one.task, **labels(one)}


def _tokens(one: TrialRecord) -> int:
    return (one.prompt_tokens or 0) + (one.completion_tokens or 0) if one.is_graded else 0


def _request(row: ExportedRow, one: TrialRecord) -> dict[str, Any]:
    usage = {
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "total_tokens": _tokens(one),
        "cached_tokens": one.cached_tokens,
        "token_provenance": REPORTED,
    }
    dollars = {} if one.dollars is None else {DOLLARS_KEY: one.dollars}
    return {
        **_place(one),
        "response": one.answer,
        "tokens": _tokens(one),
        "latency_ms": 0.0 if one.seconds is None else one.seconds * 1000,
        "model": one.tier,
        "finish_reason": one.finish,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "prompt": row.question(one.task),
        "expected_answer": row.target(one.task),
        "seed_metadata": _metadata(row, one),
        "model_stats": {"usage": usage, **dollars},
    }
