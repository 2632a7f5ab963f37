"""MBPP (Austin et al., 2021; CC-BY-4.0): short Python functions from a sentence and three assertions.

The user brings Google's `mbpp.jsonl` or `sanitized-mbpp.json`. By convention the prompt shows the assertions, which are
also the check: they give the function's name.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from tierwise.verifiers import PythonTests
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.data import FromFiles, Row
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.task import Task

ROW = SuiteRow(
    name="mbpp",
    title="MBPP",
    tasks=500,
    size="500 Python functions: the test split of 974; 257 of them in the sanitized file",
    average=Convention(
        how="mean of 5 samples a task, on the sanitized test split",
        samples=5,
        temperature=0.5,
        source="inspect-evals 0.26; the paper samples 80 per task, with three examples in the prompt",
    ),
    maximum=Convention(
        how="share of tasks that any of 80 samples solves: coverage, which no tier can serve",
        temperature=0.5,
        source="Austin et al. 2021",
    ),
    runner="here",
    how="tierwise workload make mbpp --file mbpp.jsonl --out mbpp.jsonl",
    licence="CC-BY-4.0",
    caveats=(
        "the prompt shows the assertions that grade, so special-casing passes",
        "in training data since 2021; some sentences and assertions of the full file contradict each other",
        "scores with no, one or three examples in the prompt, full or sanitized, do not compare",
    ),
)

TEST_SPLIT = range(11, 511)
"""Task ids of the test split; 1 to 10 are examples, 511 to 600 validation, and the others training."""

SIZES = {"test": (500, 257), "all": (974, 427)}
"""Rows of `mbpp.jsonl` and of `sanitized-mbpp.json`."""

PROMPT = (
    "You are an expert Python programmer, and here is your task: {text}\nYour code should pass these tests:\n\n"
    "```python\n{tests}\n```\n\nAnswer with one code block that holds the whole program."
)


class _Function(msgspec.Struct):
    """A row of either file."""

    task_id: int
    test_list: list[str]
    text: str = ""
    prompt: str = ""
    test_setup_code: str = ""
    test_imports: list[str] = []


class Mbpp(FromFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Functions to write from a sentence and assertions."""

    ROW: ClassVar[SuiteRow] = ROW
    FILES: ClassVar[tuple[str, ...]] = (
        *("mbpp.jsonl", "sanitized-mbpp.json"),
        *("test.parquet", "test-*-of-*.parquet", "*mbpp*.parquet"),
    )
    PART: ClassVar[str] = "its ids are not 11 to 510, the test split; `split: all` in a workload.yaml asks every row"

    split: Literal["test", "all"] = "test"
    """Task ids 11 to 510, or every row."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=300)] = 10.0
    """CPU seconds of one task's tests."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1024

    def task_of(self, row: Row) -> Task | None:
        found = row.read(_Function)
        if found is None or (self.split == "test" and found.task_id not in TEST_SPLIT):
            return None
        try:
            return self._task(found)
        except ValueError as error:
            row.document.wrong("test_list", str(error))
            return None

    def notes(self, tasks: int) -> tuple[str, ...]:
        known = SIZES[self.split]
        if tasks in known:
            return ()
        return (f"{tasks} functions; MBPP has {known[0]}, sanitized {known[1]}: another version, or half a download",)

    def _task(self, row: _Function) -> Task:
        shown = "\n".join(row.test_list)
        setup = "\n".join([row.test_setup_code, *row.test_imports]).strip()
        tests = PythonTests(tests=f"{shown}\n", setup=setup, seconds=self.seconds)
        return Task(
            id=f"mbpp/{row.task_id}",
            messages=[{"role": "user", "content": PROMPT.format(text=(row.text or row.prompt).strip(), tests=shown)}],
            check=CheckChoice(python_tests=tests),
            tags=["mbpp"],
            max_tokens=self.max_tokens,
        )
