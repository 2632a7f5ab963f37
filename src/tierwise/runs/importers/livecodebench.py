"""Imports evaluations of LiveCodeBench's runner: `*_eval_all.json`, a list of problems with a verdict per sample."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.runs.importers.imported import Collected, Imported, ImportedResult, label_of, outcome_of, safe_name
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import SpecError
from tierwise.spec.files import decode_json

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.runs.importers.log import Log

_ALL = "_eval_all"
_TEST_RUNNER = -5
"""The code of an error of LiveCodeBench's own test process."""
_KILLED = "IndexError('list index out of range')"
"""That error after the answer's process died, or was killed at the limit of time: nothing was left to read."""
_NAME = re.compile(r"(?P<model>.*?)_?Scenario\.(?P<scenario>[a-z]+)_(?P<rest>.+)")


class _Problem(msgspec.Struct):
    question_id: str
    graded_list: list[Any]
    output_list: list[str | None] = []
    code_list: list[Any] = []
    metadata: Any = None
    """One JSON text per sample, on what its tests said."""
    test_id: int | str | None = None
    id: str | None = None

    @property
    def task(self) -> str:
        part = self.test_id if self.test_id is not None else self.id
        return self.question_id if part is None else f"{self.question_id}-{part}"


def is_companion(log: Log) -> bool:
    """Whether it is a file of answers, or of figures, of an evaluation beside it."""
    stem = log.path.stem.removesuffix("_eval")
    return log.path.with_name(f"{stem}{_ALL}.json").is_file() and not log.path.stem.endswith(_ALL)


def read(log: Log) -> list[Imported] | None:
    """One run of one scenario; None if this is no evaluation of LiveCodeBench.

    Raises:
        ConfigErrors: it is one, and problems are invalid; each error names its problem.
        SpecError: it has answers without verdicts.
    """
    value = None if log.is_lines else log.value
    first = value[0] if isinstance(value, list) and value else None
    if not isinstance(first, dict) or "question_id" not in first:
        return None
    if "graded_list" not in first:
        if "output_list" not in first:
            return None
        raise SpecError(
            f"{log.path} has answers to LiveCodeBench without verdicts; run its runner with --evaluate, and give the "
            f"file *{_ALL}.json that it writes"
        )
    named = _NAME.fullmatch(log.path.stem.removesuffix(_ALL))
    model = (named["model"] if named else "") or log.path.resolve().parent.name
    scenario, rest = (named["scenario"], named["rest"]) if named else ("", log.path.stem)
    return [
        Imported(
            path=log.path,
            sha256=log.sha256,
            name=safe_name(model, scenario, rest),
            tier=model,
            suite=f"LiveCodeBench {scenario}".strip(),
            size=None,
            results=_results(log, log.convert(list[_Problem]), value or []),
        )
    ]


def _results(log: Log, problems: list[_Problem], fields: list[dict[str, Any]]) -> tuple[ImportedResult, ...]:
    collected = Collected()
    for number, (problem, values) in enumerate(zip(problems, fields, strict=True)):
        place = f"{log.path}: [{number}] {problem.task}"
        answers = problem.output_list or [None] * len(problem.graded_list)
        if not problem.graded_list or len(answers) != len(problem.graded_list):
            collected.wrong(
                place, f"has {len(answers)} answers and {len(problem.graded_list)} verdicts; evaluate again"
            )
            continue
        told = _told(problem, log.path)
        for repeat, (graded, answer) in enumerate(zip(problem.graded_list, answers, strict=True)):
            outcome = outcome_of(graded)
            if outcome is None:
                collected.wrong(place, f"`graded_list` has {graded!r}; allowed are true and false")
                continue
            if outcome == TrialOutcome.INCORRECT:
                outcome, why = _failed(told.get(repeat, {}))
            else:
                why = ""
            collected.add(_result(log, problem.task, values, repeat, outcome, why, answer or ""), place)
    return collected.done()


def _result(
    log: Log, task: str, fields: dict[str, Any], repeat: int, outcome: TrialOutcome, why: str, answer: str
) -> ImportedResult:
    return ImportedResult(
        task=task,
        outcome=outcome,
        why=why,
        cluster=label_of(fields, log.options.cluster),
        tags=tuple(tag for tag in (label_of(fields, "difficulty"), label_of(fields, "platform")) if tag),
        repeat=repeat,
        answer=answer,
    )


def _failed(told: dict[str, Any]) -> tuple[TrialOutcome, str]:
    """The outcome of a sample that is not right, and why. The runner counts its own errors as wrong answers."""
    message = told.get("error_message")
    why = message.partition("\n")[0] if isinstance(message, str) else "a test failed"
    if told.get("error_code") != _TEST_RUNNER:
        return TrialOutcome.INCORRECT, why
    if told.get("error") == _KILLED:
        return TrialOutcome.INCORRECT, "the program died, or did not end within the limit of time"
    return TrialOutcome.ERROR, f"{why}: {told.get('error', 'no reason is given')}"


def _told(problem: _Problem, path: Path) -> dict[int, dict[str, Any]]:
    """What the tests said of each sample, by its number."""
    told = problem.metadata if isinstance(problem.metadata, list) else []
    found = {}
    for number, text in enumerate(told):
        said = decode_json(text.encode(), dict[str, Any], f"{path}: {problem.task}") if isinstance(text, str) else text
        if isinstance(said, dict):
            found[number] = said
    return found
