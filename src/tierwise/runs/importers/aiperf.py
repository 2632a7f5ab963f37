"""Imports records of AIPerf: `profile_export.jsonl`, with `inputs.json` and the summary beside it.

A load tool has no verdicts: every answered request is an answer to a task without a check.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import Collected, Imported, ImportedResult, asked_in, safe_name, task_of
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.runs.importers.log import Log

_PHASE = "profiling"
"""What is measured; other phases warm up."""
_RECORDS = "profile_export"
_INPUTS = "inputs.json"
_PARTS = (
    "_aiperf",
    "_aiperf_timeslices",
    "_timeslices",
    "_raw",
    "_gpu_telemetry",
    "_server_metrics",
    "_network_latency",
)
"""What AIPerf appends to the name of the records for its other exports."""
_OTHERS = ("gpu_telemetry_export", "server_metrics_export")
"""Exports beside records without `--profile-export-prefix`."""


class _Metadata(msgspec.Struct):
    x_request_id: str
    request_start_ns: int
    conversation_id: str = ""
    turn_index: int = 0
    benchmark_phase: str = _PHASE
    was_cancelled: bool = False


class _Metric(msgspec.Struct):
    value: Any
    unit: str = ""


class _Message(msgspec.Struct):
    message: str


class _Response(msgspec.Struct):
    error: _Message


class _Error(msgspec.Struct):
    message: str | None = None
    code: int | None = None

    @property
    def why(self) -> str:
        """The message, without the response around it."""
        said = self.message or f"status {self.code}"
        try:
            return msgspec.json.decode(said, type=_Response).error.message
        except msgspec.DecodeError:
            return said.partition("\n")[0]


class _Record(msgspec.Struct):
    metadata: _Metadata
    metrics: dict[str, _Metric] = {}
    error: _Error | None = None

    def seconds(self, name: str) -> float | None:
        found = self.metrics.get(name)
        return found.value / 1000 if found and found.unit == "ms" and isinstance(found.value, int | float) else None

    def tokens(self, name: str) -> int | None:
        found = self.metrics.get(name)
        return int(found.value) if found and isinstance(found.value, int | float) else None


class _Session(msgspec.Struct):
    session_id: str
    payloads: list[dict[str, Any]] = []


class _Inputs(msgspec.Struct):
    data: list[_Session] = []


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    items: list[_Model] = []


class _Dataset(msgspec.Struct):
    name: str = ""
    path: str | None = None


class _Config(msgspec.Struct):
    models: _Models = msgspec.field(default_factory=_Models)
    datasets: list[_Dataset] = []


class _Count(msgspec.Struct):
    avg: float = 0.0


class _Summary(msgspec.Struct):
    input_config: _Config = msgspec.field(default_factory=_Config)
    is_complete: bool = True
    was_cancelled: bool = False
    request_count: _Count | None = None
    error_request_count: _Count | None = None

    @property
    def requests(self) -> int:
        return round(sum(one.avg for one in (self.request_count, self.error_request_count) if one is not None))


def is_companion(log: Log) -> bool:
    """Whether it is the summary or the inputs of a run, or another of its exports."""
    path = log.path
    bases = [path.stem.removesuffix(part) for part in _PARTS if path.stem.endswith(part)]
    bases += [_RECORDS] * (path.stem in _OTHERS)
    if any(path.with_name(f"{base}.jsonl").is_file() for base in bases):
        return True
    return (path.name == _INPUTS and log.has("data")) or (
        not log.is_lines and log.has("aiperf_version", "input_config")
    )


def _summary(path: PurePath) -> str:
    """The name of the summary: that of the records, if the user chose it."""
    return f"{_RECORDS}_aiperf.json" if path.stem == _RECORDS else f"{path.stem}.json"


def read(log: Log) -> list[Imported] | None:
    """One run of one model; None if these are no records of AIPerf.

    Raises:
        ConfigErrors: they are, and lines are invalid; each error names its line.
        SpecError: they are, and the run did not end, or lacks records.
    """
    if not log.is_lines or not log.has("metadata", "metrics") or "x_request_id" not in log.value["metadata"]:
        return None
    beside = log.beside(_summary(log.path))
    told = beside.path.name
    if not beside.path.is_file():
        raise SpecError(f"{log.path} has no {told} beside it, so the run did not end; profile again")
    summary = beside.convert(_Summary)
    rows = [row for row in log.lines(_Record) if row[1].metadata.benchmark_phase == _PHASE]
    if not summary.is_complete or summary.was_cancelled:
        raise SpecError(f"{log.path} is not complete: {told} says so after {len(rows)} requests; profile again")
    if len(rows) != summary.requests or not rows:
        raise SpecError(f"{log.path} has {len(rows)} requests, and {told} says {summary.requests}; copy it again")
    config = summary.input_config
    models = [one.name for one in config.models.items]
    if len(models) > 1:
        raise SpecError(f"{log.path} mixes {len(models)} models ({', '.join(models)}); profile one at a time")
    tier = models[0] if models else log.path.resolve().parent.name
    data = config.datasets[0] if config.datasets else _Dataset()
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(log.path.resolve().parent.name),
            tier=tier,
            suite=PurePath(data.path).stem if data.path else data.name or "AIPerf",
            size=None,
            results=_results(rows, _asked(log)),
        )
    ]


def _asked(log: Log) -> Mapping[str, Sequence[dict[str, Any]]]:
    """The requests of each conversation; its ids are drawn anew in every run, so they name no task."""
    beside = log.beside(_INPUTS)
    if not beside.path.is_file():
        return {}
    return {one.session_id: one.payloads for one in beside.convert(_Inputs).data}


def _results(
    rows: list[tuple[str, _Record]], asked: Mapping[str, Sequence[dict[str, Any]]]
) -> tuple[ImportedResult, ...]:
    collected = Collected()
    seen: dict[str, str] = {}
    repeats: Counter[str] = Counter()
    for place, row in sorted(rows, key=lambda pair: pair[1].metadata.request_start_ns):
        about = row.metadata
        if about.x_request_id in seen:
            collected.wrong(place, f"request {about.x_request_id} is already in {seen[about.x_request_id]}; remove one")
            continue
        seen[about.x_request_id] = place
        task = _task(about, asked.get(about.conversation_id, ()))
        collected.add(_result(row, task, repeats[task]), place)
        repeats[task] += 1
    return collected.done()


def _task(about: _Metadata, payloads: Sequence[dict[str, Any]]) -> str:
    """Told by the requests of the conversation up to this turn."""
    if about.turn_index >= len(payloads):
        return f"{about.conversation_id}-{about.turn_index}"
    return task_of([asked_in(one) for one in payloads[: about.turn_index + 1]])


def _result(row: _Record, task: str, repeat: int) -> ImportedResult:
    began = row.metadata.request_start_ns / 1e9
    if row.error is not None or row.metadata.was_cancelled:
        why = row.error.why if row.error is not None else "the request was cancelled"
        return ImportedResult(task=task, outcome=TrialOutcome.ERROR, why=why, repeat=repeat, began=began)
    return ImportedResult(
        task=task,
        outcome=TrialOutcome.UNLABELLED,
        why="the tool does not grade",
        repeat=repeat,
        began=began,
        seconds=row.seconds("request_latency"),
        first_output=row.seconds("time_to_first_token"),
        prompt_tokens=row.tokens("usage_prompt_tokens"),
        cached_tokens=row.tokens("usage_prompt_cache_read_tokens"),
        completion_tokens=row.tokens("usage_completion_tokens"),
    )
