"""GSM8K (Cobbe et al., 2021; MIT): grade-school word problems, from the user's copy of the data."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import json_document, numbered_lines, text_of
from tierwise.verifiers import Number
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.suites.suite import MadeTasks, pinned_bytes
from tierwise.workloads.task import Task

if TYPE_CHECKING:
    from pathlib import Path

ROW = SuiteRow(
    name="gsm8k",
    title="GSM8K",
    tasks=1_319,
    size="1,319 word problems: the test split",
    average=Convention(how="one greedy answer", source="Cobbe et al. 2021"),
    maximum=Convention(
        how="majority vote of 40 samples (maj@40)", temperature=0.7, source="Wang et al. 2022, self-consistency"
    ),
    runner="here",
    how="tierwise workload make gsm8k --file test.jsonl --out gsm8k.jsonl",
    licence="MIT",
    caveats=(
        "close to solved by current models, and its items are in training data",
        "the grader decides: the last number, or the one after `####`, are different scores",
    ),
)

PROMPT = "{question}\n\nReason step by step, and end with one line: `#### ` and the number."


class _Problem(msgspec.Struct):
    question: str
    answer: str


class Gsm8k(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Word problems whose answers are numbers."""

    file: str
    """The data in OpenAI's format: `question` and `answer`, which ends in `#### 42`."""
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-fA-F]{64}$")] | None = None
    """Required hash of the file."""
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Use the first `count` problems; all by default."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 512

    def make(self, base: Path) -> MadeTasks:
        path = base / self.file
        raw = pinned_bytes(path, self.sha256, "GSM8K")
        errors: list[SpecError] = []
        tasks: list[Task] = []
        for number, line in numbered_lines(text_of(raw, f"GSM8K {path}")):
            document = json_document(line, path.name, line=number)
            row = document.convert(_Problem)
            try:
                tasks += [] if row is None else [self._task(len(tasks), row)]
            except ValueError as error:
                document.wrong("answer", str(error))
            errors += document.placed()
        if errors:
            raise ConfigErrors(errors)
        if not tasks or (self.count or 0) > len(tasks):
            raise SpecError(
                f"{path} has {len(tasks)} problems, fewer than the {self.count or 1} requested", field="count"
            )
        unpinned = "the file is not pinned; give --sha256 to identify the problems"
        notes = () if self.sha256 else (unpinned,)
        files = {path.name: hashlib.sha256(raw).hexdigest()}
        return MadeTasks(tasks=tuple(tasks[: self.count]), version=path.name, notes=notes, files=files)

    def _task(self, number: int, row: _Problem) -> Task:
        _, mark, value = row.answer.rpartition("####")
        if not mark:
            raise ValueError("the answer does not end in `#### ` and a number")
        return Task(
            id=f"gsm8k/{number:04}",
            messages=[{"role": "user", "content": PROMPT.format(question=row.question)}],
            check=CheckChoice(number=Number(equals=float(value.strip().replace(",", "")))),
            tags=["gsm8k"],
            max_tokens=self.max_tokens,
        )
