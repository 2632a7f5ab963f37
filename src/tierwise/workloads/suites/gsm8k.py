"""GSM8K (Cobbe et al., 2021; MIT): grade-school word problems, from the user's copy of the data."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from tierwise.verifiers import Number
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.data import FromFiles, Row
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.task import Task

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


class Gsm8k(FromFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Word problems whose answers are numbers, in OpenAI's format: `question`, and `answer` that ends in `#### 42`."""

    ROW: ClassVar[SuiteRow] = ROW
    FILES: ClassVar[tuple[str, ...]] = (
        *("test.jsonl", "gsm8k*.jsonl"),
        *("test.parquet", "test-*-of-*.parquet", "gsm8k*.parquet"),
    )

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 512

    def task_of(self, row: Row) -> Task | None:
        problem = row.read(_Problem)
        try:
            return None if problem is None else self._task(row.number, problem)
        except ValueError as error:
            row.document.wrong("answer", str(error))
            return None

    def notes(self, tasks: int) -> tuple[str, ...]:
        if tasks == ROW.tasks:
            return ()
        return (f"{tasks} problems; the test split has {ROW.tasks:,}: the training split (7,473), or half a download",)

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
