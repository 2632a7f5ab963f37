"""Imports logs of Inspect (`.eval`): a zip file with one JSON file per sample and epoch."""

from __future__ import annotations

import io
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tierwise.runs.importers.imported import (
    FINISHES,
    Collected,
    Imported,
    ImportedResult,
    label_of,
    outcome_of,
    safe_name,
    tags_in,
)
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError
from tierwise.spec.files import decode_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from zipfile import ZipFile

    from tierwise.runs.importers.log import Log

T = TypeVar("T")

_ATTACHMENT = "attachment://"
_OUTCOMES = {"C": TrialOutcome.CORRECT, "I": TrialOutcome.INCORRECT, "N": TrialOutcome.NO_ANSWER}
"""Inspect's letters. `P`, partially correct, is none of them."""


class _Dataset(msgspec.Struct):
    sample_ids: list[str | int] | None = None


class _Config(msgspec.Struct):
    epochs: int | None = None


class _Eval(msgspec.Struct):
    task: str
    model: str
    dataset: _Dataset = msgspec.field(default_factory=_Dataset)
    config: _Config = msgspec.field(default_factory=_Config)


class _Header(msgspec.Struct):
    eval: _Eval
    status: str = "started"


class _Score(msgspec.Struct):
    value: Any


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_cache_write: int | None = None
    input_tokens_cache_read: int | None = None
    total_cost: float | None = None


class _Choice(msgspec.Struct):
    stop_reason: str = ""


class _Output(msgspec.Struct):
    completion: str = ""
    choices: list[_Choice] = []


class _Error(msgspec.Struct):
    message: str = ""


class _Sample(msgspec.Struct):
    id: str | int
    epoch: int = 1
    metadata: dict[str, Any] | None = None
    scores: dict[str, _Score] | None = None
    output: _Output = msgspec.field(default_factory=_Output)
    model_usage: dict[str, _Usage] = {}
    role_usage: dict[str, _Usage] = {}
    attachments: dict[str, str] = {}
    started_at: str | None = None
    working_time: float | None = None
    error: _Error | None = None


def read(log: Log) -> list[Imported] | None:
    """One run; None if this is no log of Inspect.

    Raises:
        SpecError: it is one, and is damaged or incomplete; the message names the file in it.
    """
    if not log.is_zip:
        return None
    with _opened(log) as file:
        names = set(file.namelist())
        if not {"header.json", "_journal/start.json"} & names:
            return None
        samples = sorted(name for name in names if name.startswith("samples/"))
        if "header.json" not in names:
            raise _stopped(log, "started", len(samples))
        header = _decoded(log, file, "header.json", _Header)
        if header.status != "success":
            raise _stopped(log, header.status, len(samples))
        results = _results(log, header, [(name, _decoded(log, file, name, _Sample)) for name in samples])
    ids = header.eval.dataset.sample_ids
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(log.path.stem),
            tier=header.eval.model,
            suite=header.eval.task,
            size=None if ids is None else len(ids),
            results=results,
        )
    ]


def _stopped(log: Log, status: str, samples: int) -> SpecError:
    return SpecError(
        f"{log.path} is not complete: its status is {status!r} after {samples} samples. Finish it with "
        f"`inspect eval-retry {log.path.name}`, and import the log that this writes"
    )


def _opened(log: Log) -> ZipFile:
    import zipfile  # noqa: PLC0415 - heavy, and only some logs are zip files

    opens: Any = zipfile
    if sys.version_info < (3, 14):
        try:
            from backports.zstd import zipfile as opens  # noqa: PLC0415 - Inspect compresses with Zstandard
        except ImportError:
            opens = zipfile
    try:
        file: ZipFile = opens.ZipFile(io.BytesIO(log.raw))
    except opens.BadZipFile as error:
        raise SpecError(f"{log.path} is not a whole zip file ({error}); copy or download it again") from error
    return file


def _decoded(log: Log, file: ZipFile, name: str, kind: type[T]) -> T:
    place = f"{log.path}/{name}"
    try:
        raw = file.read(name)
    except NotImplementedError as error:
        raise SpecError(f"{place} is compressed with Zstandard; pip install 'tierwise[bench]' reads it") from error
    except Exception as error:  # a damaged file raises what the decompressor raises
        raise SpecError(f"{place} is damaged ({error}); copy or download the log again") from error
    return decode_json(raw, kind, place)


def _results(log: Log, header: _Header, samples: list[tuple[str, _Sample]]) -> tuple[ImportedResult, ...]:
    if not samples:
        raise SpecError(f"{log.path} has no samples; run Inspect with `--log-samples`")
    found = dict.fromkeys(name for _, sample in samples if sample.error is None for name in sample.scores or ())
    metric = log.choose(list(found)) if found else ""
    collected = Collected()
    for name, sample in samples:
        place = f"{log.path}/{name}"
        outcome, why = _outcome(sample, metric)
        if outcome is None:
            collected.wrong(place, why)
        else:
            collected.add(_result(log, sample, outcome, why), place)
    ids, epochs = header.eval.dataset.sample_ids, header.eval.config.epochs or 1
    if ids is not None and len(samples) != len(ids) * epochs:
        what = f"has {len(samples)} samples, and its header lists {len(ids)}, {epochs} times; copy it again"
        collected.wrong(str(log.path), what)
    return collected.done()


def _outcome(sample: _Sample, metric: str) -> tuple[TrialOutcome | None, str]:
    """The outcome with its reason; None, with what is wrong, if there is none."""
    if sample.error is not None:
        said = [line for line in sample.error.message.splitlines() if line.strip()]
        return TrialOutcome.ERROR, said[-1] if said else "Inspect reports an error without a message"
    score = (sample.scores or {}).get(metric)
    if score is None:
        return None, f"has no score {metric!r}" if metric else "has no score; import a log that was scored"
    value = score.value
    outcome = _OUTCOMES.get(value) if isinstance(value, str) else outcome_of(value)
    if outcome is None:
        return None, f"score {metric!r} is {value!r}; allowed are C, I, N, 0 and 1, because a task is solved or not"
    why = {TrialOutcome.INCORRECT: f"{metric}: {value}", TrialOutcome.NO_ANSWER: "no answer was found"}
    return outcome, why.get(outcome, "")


def _result(log: Log, sample: _Sample, outcome: TrialOutcome, why: str) -> ImportedResult:
    metadata = sample.metadata or {}
    answer = sample.output.completion
    if answer.startswith(_ATTACHMENT):
        answer = sample.attachments.get(answer.removeprefix(_ATTACHMENT), answer)
    finish = sample.output.choices[0].stop_reason if sample.output.choices else ""
    return ImportedResult(
        task=str(sample.id),
        outcome=outcome,
        why=why,
        cluster=label_of(metadata, log.options.cluster),
        tags=tags_in(metadata),
        repeat=sample.epoch - 1,
        answer=answer,
        finish=FINISHES.get(finish, finish),
        began=0.0 if sample.started_at is None else datetime.fromisoformat(sample.started_at).timestamp(),
        seconds=sample.working_time,
        **_spent(sample.model_usage.values(), sample.role_usage),
    )


def _spent(usages: Iterable[_Usage], roles: Mapping[str, _Usage]) -> dict[str, Any]:
    """Tokens and dollars of all models, without those that graded."""
    found = list(usages)
    if not found:
        return {}
    grader = roles.get("grader", _Usage(total_cost=0.0))
    costs = [usage.total_cost for usage in (*found, grader)]
    cached = sum(one.input_tokens_cache_read or 0 for one in found) - (grader.input_tokens_cache_read or 0)
    return {
        "prompt_tokens": sum(map(_prompt, found)) - _prompt(grader),
        "cached_tokens": cached,
        "completion_tokens": sum(one.output_tokens for one in found) - grader.output_tokens,
        "dollars": None if None in costs else sum(cost or 0.0 for cost in costs[:-1]) - (costs[-1] or 0.0),
    }


def _prompt(usage: _Usage) -> int:
    return usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
