"""Imports results of promptfoo (`promptfoo eval -o results.json`): one run per provider and prompt."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import (
    OUTCOME_KEY,
    Collected,
    Imported,
    ImportedResult,
    label_of,
    missing_or,
    safe_name,
    tags_in,
)
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.runs.importers.log import Log

FORMAT = 3
FAILURES = {0: TrialOutcome.CORRECT, 1: TrialOutcome.INCORRECT, 2: TrialOutcome.ERROR}
"""By `failureReason`: none, an assertion, an error."""
DOLLARS = "x-tierwise-dollars"
"""Header in which a tier reports the dollars of an action."""


class _Provider(msgspec.Struct):
    id: str = ""
    label: str | None = None

    @property
    def name(self) -> str:
        return self.label or self.id


class _TestCase(msgspec.Struct):
    description: str = ""
    vars: Any = None
    metadata: dict[str, Any] = {}
    assertions: Any = msgspec.field(default=None, name="assert")


class _Tokens(msgspec.Struct):
    prompt: int = 0
    completion: int = 0


class _Response(msgspec.Struct):
    output: Any = None
    cached: bool = False
    """Whether promptfoo itself had the answer, so that nothing was asked."""
    finish_reason: str | None = msgspec.field(default=None, name="finishReason")
    metadata: dict[str, Any] | None = None
    tokens: _Tokens | None = msgspec.field(default=None, name="tokenUsage")


class _Result(msgspec.Struct, rename="camel"):
    test_idx: int
    prompt_idx: int
    provider: _Provider
    success: bool
    test_case: _TestCase
    failure_reason: int = 0
    error: str | None = None
    cost: float | None = None
    latency_ms: float | None = None
    response: _Response | None = None


class _Stats(msgspec.Struct):
    successes: int = 0
    failures: int = 0
    errors: int = 0


class _Results(msgspec.Struct):
    version: int
    results: list[_Result] = []
    stats: _Stats = msgspec.field(default_factory=_Stats)


class _File(msgspec.Struct):
    results: _Results
    config: dict[str, Any] = {}


def read(log: Log) -> list[Imported] | None:
    """One run per provider and prompt; None if this is no file of promptfoo.

    Raises:
        ConfigErrors: it is one, and results are invalid; each error names its line.
        SpecError: it is one of another version, or is incomplete.
    """
    if not log.has("evalId", "results", "config"):
        return None
    results = log.value["results"]
    version = results.get("version") if isinstance(results, dict) else None
    if version != FORMAT:
        raise SpecError(
            f"{log.path} has results of version {version!r}, and {FORMAT} is read; evaluate again with promptfoo 0.121"
        )
    file = log.convert(_File)
    found = file.results
    counted = found.stats.successes + found.stats.failures + found.stats.errors
    if not found.results or counted != len(found.results):
        raise SpecError(f"{log.path} has {len(found.results)} results, and its sums say {counted}; export it again")
    of: dict[int, list[tuple[str, _Result]]] = {}
    for number, result in enumerate(found.results):
        of.setdefault(result.prompt_idx, []).append((f"{log.path}: results.results[{number}]", result))
    of = dict(sorted(of.items()))
    names = [rows[0][1].provider.name for rows in of.values()]
    suite = file.config.get("description") or log.path.stem
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(log.path.stem, name, "" if names.count(name) == 1 else str(column)),
            tier=name,
            suite=str(suite),
            size=None,
            results=_results(log, rows),
        )
        for (column, rows), name in zip(of.items(), names, strict=True)
    ]


def _results(log: Log, rows: list[tuple[str, _Result]]) -> tuple[ImportedResult, ...]:
    rows = sorted(rows, key=lambda row: row[1].test_idx)
    names = _names([row for _, row in rows])
    has_costs = any(row.cost for _, row in rows)
    collected, seen = Collected(), set[int]()
    repeats: Counter[str] = Counter()
    for place, row in rows:
        outcome = FAILURES.get(row.failure_reason)
        if outcome is None or row.success != (outcome == TrialOutcome.CORRECT):
            what = f"`success` is {row.success} and `failureReason` {row.failure_reason}; allowed are true with 0, "
            collected.wrong(place, f"{what}false with 1 (an assertion) and false with 2 (an error)")
            continue
        if row.test_idx in seen:
            collected.wrong(place, f"test {row.test_idx} has a result already; remove one of the two")
            continue
        seen.add(row.test_idx)
        task = names[row.test_idx]
        outcome = missing_or(outcome, row.test_case.metadata.get(OUTCOME_KEY))
        collected.add(_result(log, row, task, repeats[task], outcome, has_costs=has_costs), place)
        repeats[task] += 1
    return collected.done()


def _names(rows: list[_Result]) -> dict[int, str]:
    """Task ids by number of the test: the description, or a hash of the test. Equal tests are repeats of one task."""
    tests = {row.test_idx: msgspec.json.encode([row.test_case.vars, row.test_case.assertions]) for row in rows}
    hashes = {number: hashlib.sha256(test).hexdigest()[:12] for number, test in tests.items()}
    of: dict[str, set[str]] = {}
    for row in rows:
        of.setdefault(row.test_case.description, set()).add(hashes[row.test_idx])
    return {
        row.test_idx: described
        if (described := row.test_case.description) and len(of[described]) == 1
        else f"{described}{'-' if described else ''}{hashes[row.test_idx]}"
        for row in rows
    }


def _result(
    log: Log, row: _Result, task: str, repeat: int, outcome: TrialOutcome, *, has_costs: bool
) -> ImportedResult:
    response = row.response or _Response()
    tokens = response.tokens if response.tokens is not None and not response.cached else None
    is_timed = outcome != TrialOutcome.ERROR and not response.cached and row.latency_ms is not None
    output = response.output
    return ImportedResult(
        task=task,
        outcome=outcome,
        why=(row.error or "no reason is given").partition("\n")[0] if outcome != TrialOutcome.CORRECT else "",
        cluster=label_of(row.test_case.metadata, log.options.cluster),
        tags=tags_in(row.test_case.metadata),
        repeat=repeat,
        answer=output if isinstance(output, str) else "" if output is None else msgspec.json.encode(output).decode(),
        finish=response.finish_reason or "",
        seconds=row.latency_ms / 1000 if is_timed and row.latency_ms is not None else None,
        prompt_tokens=None if tokens is None else tokens.prompt,
        completion_tokens=None if tokens is None else tokens.completion,
        dollars=_reported(response) if not has_costs else row.cost,
    )


def _reported(response: _Response) -> float | None:
    """The dollars that a tier reported. promptfoo writes a cost of 0 for a model without a known price."""
    http = (response.metadata or {}).get("http")
    headers = http.get("headers") if isinstance(http, dict) else None
    said = headers.get(DOLLARS) if isinstance(headers, dict) else None
    try:
        return float(said) if isinstance(said, str) else None
    except ValueError:
        return None
