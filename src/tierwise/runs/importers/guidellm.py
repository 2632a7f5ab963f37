"""Imports reports of guidellm (`--output kind=json`): one run per benchmark in it.

A load tool has no verdicts: every answered request is an answer to a task without a check.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import (
    MOST_SHOWN,
    Collected,
    Imported,
    ImportedResult,
    asked_in,
    safe_name,
    task_of,
)
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import decode_json

if TYPE_CHECKING:
    from tierwise.runs.importers.log import Log

_FORMAT = 2


class _Metadata(msgspec.Struct):
    version: int


class _Backend(msgspec.Struct):
    model: str | None = None


class _Spec(msgspec.Struct):
    backend: _Backend = msgspec.field(default_factory=_Backend)
    data: list[dict[str, Any]] = []


class _Config(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Info(msgspec.Struct):
    error: str | None = None


class _Request(msgspec.Struct):
    request_id: str
    request_args: str | None = None
    output: str | None = None
    info: _Info = msgspec.field(default_factory=_Info)
    request_start_time: float | None = None
    request_latency: float | None = None
    time_to_first_token_ms: float | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None


class _Requests(msgspec.Struct):
    successful: list[_Request] | None = None
    errored: list[_Request] | None = None


class _Made(msgspec.Struct):
    successful: int = 0
    errored: int = 0


class _Scheduled(msgspec.Struct):
    requests_made: _Made = msgspec.field(default_factory=_Made)


class _Strategy(msgspec.Struct):
    type_: str = ""


class _Setting(msgspec.Struct):
    strategy: _Strategy = msgspec.field(default_factory=_Strategy)
    prefer_response_metrics: bool = True


class _Benchmark(msgspec.Struct):
    requests: _Requests
    config: _Setting = msgspec.field(default_factory=_Setting)
    scheduler_metrics: _Scheduled = msgspec.field(default_factory=_Scheduled)


class _Report(msgspec.Struct):
    metadata: _Metadata
    benchmarks: list[_Benchmark]
    config: _Config = msgspec.field(default_factory=_Config)


def read(log: Log) -> list[Imported] | None:
    """One run per benchmark; None if this is no report of guidellm.

    Raises:
        ConfigErrors: it is one, and requests are invalid; each error names its place.
        SpecError: it is one of another version, or lacks requests.
    """
    if log.is_lines or not log.has("metadata", "benchmarks") or "guidellm_version" not in log.value["metadata"]:
        return None
    version = log.value["metadata"].get("version")
    if version != _FORMAT:
        raise SpecError(f"{log.path} has version {version!r}, and {_FORMAT} is read; benchmark with guidellm 0.8")
    report = log.convert(_Report)
    if not report.benchmarks:
        raise SpecError(f"{log.path} has no benchmark, so the run did not end; benchmark again")
    many = len(report.benchmarks) > 1
    spec = report.config.spec
    path = spec.data[0].get("path") if spec.data else None
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(log.path.stem, *((str(number), one.config.strategy.type_) if many else ())),
            tier=spec.backend.model or log.path.stem,
            suite=PurePath(path).stem if isinstance(path, str) else "guidellm",
            size=None,
            results=_results(log, number, one),
        )
        for number, one in enumerate(report.benchmarks)
    ]


def _results(log: Log, number: int, benchmark: _Benchmark) -> tuple[ImportedResult, ...]:
    place = f"{log.path}: benchmarks[{number}].requests"
    served, failed = benchmark.requests.successful or [], benchmark.requests.errored or []
    made = benchmark.scheduler_metrics.requests_made
    errors = [
        SpecError(
            f"has {len(found)} requests, and guidellm made {count}; keep all of them, without a sample",
            field=f"{place}.{name}",
        )
        for name, found, count in (("successful", served, made.successful), ("errored", failed, made.errored))
        if len(found) != count
    ]
    if errors or not served + failed:
        raise ConfigErrors(errors[:MOST_SHOWN]) if errors else SpecError(f"{place} is empty; benchmark again")
    rows = [(f"{place}.successful[{at}]", one, True) for at, one in enumerate(served)]
    rows += [(f"{place}.errored[{at}]", one, False) for at, one in enumerate(failed)]
    collected, seen = Collected(), dict[str, str]()
    repeats: Counter[str] = Counter()
    for where, one, is_served in sorted(rows, key=lambda row: row[1].request_start_time or 0.0):
        if one.request_id in seen:
            collected.wrong(where, f"request {one.request_id} is already in {seen[one.request_id]}; remove one")
            continue
        seen[one.request_id] = where
        task = _task(one, where)
        is_counted = benchmark.config.prefer_response_metrics
        repeat = repeats[task]
        result = _answered(one, task, repeat, is_counted=is_counted) if is_served else _failed(one, task, repeat)
        collected.add(result, where)
        repeats[task] += 1
    return collected.done()


def _task(request: _Request, place: str) -> str:
    """Told by what is asked, which guidellm does not keep of a failed request."""
    if request.request_args is None:
        return f"request-{request.request_id}"
    asked = decode_json(request.request_args.encode(), dict[str, Any], f"{place}.request_args")
    body = asked.get("body")
    return task_of(asked_in(body if isinstance(body, dict) else asked))


def _failed(request: _Request, task: str, repeat: int) -> ImportedResult:
    why = (request.info.error or "no reason is given").partition("\\n")[0].partition("\n")[0]
    began = request.request_start_time or 0.0
    return ImportedResult(task=task, outcome=TrialOutcome.ERROR, why=why, repeat=repeat, began=began)


def _answered(request: _Request, task: str, repeat: int, *, is_counted: bool) -> ImportedResult:
    """`is_counted`: whether the server's counts of tokens go before those of guidellm's own tokenizer."""
    first = request.time_to_first_token_ms
    return ImportedResult(
        task=task,
        outcome=TrialOutcome.UNLABELLED,
        why="the tool does not grade",
        repeat=repeat,
        answer=request.output or "",
        began=request.request_start_time or 0.0,
        seconds=request.request_latency,
        first_output=None if first is None else first / 1000,
        prompt_tokens=request.prompt_tokens if is_counted else None,
        cached_tokens=request.cached_tokens if is_counted else None,
        completion_tokens=request.output_tokens if is_counted else None,
    )
