"""Imports results of SWE-bench and SWE-bench Pro, in three published formats.

{instance: resolved}                            `eval_results.json` of SWE-bench Pro, with `infra_errors.json`,
                                                {instance: reason}, beside it
{resolved_ids, unresolved_ids, error_ids, …}    the report of `swebench.harness.run_evaluation`
{instance: {resolved, tests_status, …}}         its `report.json`, one instance or many
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tierwise.runs.importers.imported import MOST_SHOWN, Imported, ImportedResult
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import ConfigErrors, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tierwise.runs.importers.log import Log

PRO = 731
"""Number of instances in SWE-bench Pro's public set."""

_PRO = re.compile(r"instance_(?P<owner>.+?)__(?P<name>.+)-[0-9a-f]{40}(-v.*)?")
_CLASSIC = re.compile(r"(?P<owner>[^_].*?)__(?P<name>.+)-\d+")

_INFRA = "infra_failure_ids"
"""Instances whose container or network failed. The harness may also list them as unresolved."""

_PRO_RESULTS, _PRO_INFRA = "eval_results.json", "infra_errors.json"
"""SWE-bench Pro keeps the instances that never ran, with their reasons, in a file of their own."""

_LISTS: dict[str, tuple[TrialOutcome, str]] = {
    "resolved_ids": (TrialOutcome.CORRECT, ""),
    "unresolved_ids": (TrialOutcome.INCORRECT, "tests failed"),
    "empty_patch_ids": (TrialOutcome.NO_ANSWER, "the patch is empty"),
    "error_ids": (TrialOutcome.ERROR, "the evaluation failed"),
    _INFRA: (TrialOutcome.ERROR, "the evaluation's infrastructure failed"),
}
"""A report's lists, with the outcome and reason of each; `incomplete_ids` were not run."""


def repository(instance: str) -> str | None:
    """The repository in an instance id, such as `ansible/ansible`; None if the id is invalid."""
    found = _PRO.fullmatch(instance) or _CLASSIC.fullmatch(instance)
    return f"{found['owner']}/{found['name']}" if found else None


def is_companion(log: Log) -> bool:
    """Whether it is the file of SWE-bench Pro that is read with its results."""
    return log.path.name == _PRO_INFRA and log.path.with_name(_PRO_RESULTS).is_file()


def read(log: Log) -> list[Imported] | None:
    """One run; None if this is not a SWE-bench result.

    Raises:
        ConfigErrors: it is one, with invalid instances.
    """
    path, value = log.path, None if log.is_lines else log.value
    if not isinstance(value, dict) or not value:
        return None
    if "resolved_ids" in value:
        return [_report(log, value)]
    if not any(repository(str(name)) for name in value):
        return None
    if path.name == _PRO_INFRA:
        raise SpecError(
            f"{path} has the instances that never ran; give {_PRO_RESULTS} beside it, which is read with it"
        )
    wrong, results = [], []
    for name, outcome in value.items():
        fields: dict[str, Any] = outcome if isinstance(outcome, dict) else {"resolved": outcome}
        resolved = fields.get("resolved")
        cluster = repository(name)
        if cluster is None:
            wrong.append(SpecError("is not an instance id; use OWNER__REPOSITORY-NUMBER", field=f"{path}: {name}"))
        elif fields.get("infra_failure") is True and resolved is not True:
            results.append(_infra(name, fields.get("infra_failure_reason")))
        elif not isinstance(resolved, bool):
            wrong.append(SpecError(f"must be true or false, not {resolved!r}", field=f"{path}: {name}"))
        else:
            results.append(_result(name, *_LISTS["resolved_ids" if resolved else "unresolved_ids"]))
    results += _never_run(log, value, wrong)
    if wrong:
        raise ConfigErrors(wrong[:MOST_SHOWN])
    return [_imported(log, results)]


def _never_run(log: Log, scored: dict[str, Any], wrong: list[SpecError]) -> Iterable[ImportedResult]:
    """The instances of SWE-bench Pro's other file."""
    beside = log.beside(_PRO_INFRA)
    if log.path.name != _PRO_RESULTS or not beside.path.is_file():
        return
    for name, reason in beside.convert(dict[str, str]).items():
        if repository(name) is None or name in scored:
            said = f"is also in {_PRO_RESULTS}" if name in scored else "is not an instance id"
            wrong.append(SpecError(f"{said}; evaluate again", field=f"{beside.path}: {name}"))
        else:
            yield _infra(name, reason)


def _report(log: Log, value: dict[str, Any]) -> Imported:
    path = log.path
    seen: dict[str, str] = {}
    wrong: list[SpecError] = []
    infra = set(_ids(path, value, _INFRA, []))
    told = value.get("failure_reasons")
    reasons: dict[str, Any] = told if isinstance(told, dict) else {}
    results: list[ImportedResult] = []
    for key, (outcome, why) in _LISTS.items():
        for name in _ids(path, value, key, wrong):
            if name in infra and key in ("unresolved_ids", "error_ids"):
                continue
            if name in seen:
                wrong.append(SpecError(f"{name} is also in {seen[name]!r}", field=f"{path}: {key}"))
            seen[name] = key
            results.append(_infra(name, reasons.get(name)) if key == _INFRA else _result(name, outcome, why))
    absent = tuple(name for name in _ids(path, value, "incomplete_ids", wrong) if name not in seen)
    if wrong:
        raise ConfigErrors(wrong[:MOST_SHOWN])
    total = value.get("total_instances")
    return _imported(log, results, absent, total if isinstance(total, int) else None)


def _ids(path: Path, value: dict[str, Any], key: str, wrong: list[SpecError]) -> Iterable[str]:
    names = value.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        wrong.append(SpecError("must be a list of instance ids", field=f"{path}: {key}"))
        return []
    return names


def _infra(name: str, reason: object) -> ImportedResult:
    outcome, why = _LISTS[_INFRA]
    return _result(name, outcome, f"{why}: {reason}" if isinstance(reason, str) and reason else why)


def _result(name: str, outcome: TrialOutcome, why: str) -> ImportedResult:
    return ImportedResult(task=name, outcome=outcome, why=why, cluster=repository(name) or "")


def _imported(
    log: Log, results: list[ImportedResult], absent: tuple[str, ...] = (), size: int | None = None
) -> Imported:
    if not results:
        raise SpecError(f"{log.path} has no evaluated instance")
    name = log.path.resolve().parent.name if log.path.name == _PRO_RESULTS else log.path.stem
    is_pro = all(_PRO.fullmatch(result.task) for result in results)
    return Imported(
        path=log.path,
        sha256=log.sha256,
        name=name,
        tier=name,
        suite="SWE-bench Pro" if is_pro else "SWE-bench",
        size=PRO if is_pro else size,
        results=tuple(results),
        absent=absent,
    )
