r"""AIME (Mathematical Association of America): competition problems whose answers are integers from 0 to 999.

The problems are the MAA's, so the user brings them: any published table with the columns `problem` (or `question`) and
`answer`. Answers are compared as numbers in any notation by math-verify.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

import msgspec

from tierwise.verifiers.math_verify import MathVerify
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.data import FromFiles, Row
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.task import Task

R1 = "DeepSeek-R1's README: 64 responses at temperature 0.6, top-p 0.95, 32,768 tokens"

ROW = SuiteRow(
    name="aime",
    title="AIME",
    tasks=30,
    size="30 problems a year: AIME I and II, 15 each",
    average=Convention(how="mean of 64 samples a problem (avg@64)", samples=64, temperature=0.6, source=R1),
    maximum=Convention(how="majority vote of 64 samples (cons@64)", temperature=0.6, source=R1),
    runner="here",
    how="tierwise workload make aime --file aime_2025.jsonl --out aime.jsonl",
    licence="© MAA; not redistributable (a licence on a re-upload is the packager's claim)",
    caveats=(
        "n = 30: asked once, tiers that disagree on a quarter of the problems cannot be told apart; give several years",
        "repeats only average out the noise within a problem, not the choice of 30 problems",
        "problems of a year are on the web days after the contest: compare the year with the checkpoint's date",
    ),
)

PROMPT = "{problem}\n\nReason step by step, and put the final answer, an integer from 0 to 999, in \\boxed{{}}."

_ANSWER = re.compile(r"\$?\s*0*(\d{1,3})\s*(?:\^\s*\{?\\circ\}?|°)?\s*\$?")
"""`070` is 70; some copies write an angle with its degrees."""


class Aime(FromFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Problems whose answers are integers from 0 to 999."""

    ROW: ClassVar[SuiteRow] = ROW
    FILES: ClassVar[tuple[str, ...]] = (
        *("*aime*.jsonl", "*aime*.json", "*aime*.csv", "*AIME*.jsonl", "*AIME*.csv"),
        *("*aime*.parquet", "*AIME*.parquet"),
        *(f"*{name}*/{split}-*-of-*.parquet" for name in ("aime", "AIME") for split in ("test", "train")),
    )
    IS_ONE_FILE: ClassVar[bool] = False

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 32_768

    def task_of(self, row: Row) -> Task | None:
        problem = row.column("problem", "question")
        answer = row.column("answer")
        read = _ANSWER.fullmatch(answer)
        if answer and read is None:
            row.document.wrong("answer", f"{answer[:40]!r} is not an integer from 0 to 999")
        return self._task(row, problem, int(read[1])) if problem and read is not None else None

    def notes(self, tasks: int) -> tuple[str, ...]:
        if tasks % ROW.tasks == 0:
            return ()
        return (f"{tasks} problems; a year of AIME has {ROW.tasks}: a part of one, or half a download",)

    def _task(self, row: Row, problem: str, answer: int) -> Task:
        return Task(
            id=f"aime/{row.source[:40]}/{_name(row)[:30]}",
            messages=[{"role": "user", "content": PROMPT.format(problem=problem)}],
            check=CheckChoice(math_verify=MathVerify(equals=str(answer))),
            tags=["aime"],
            max_tokens=self.max_tokens,
        )


def _name(row: Row) -> str:
    """The problem's own name: `2024-I-1`, `12`; else its place."""
    lowered = {key.casefold(): value for key, value in row.value.items()}
    for key in ("id", "problem_idx"):
        value = lowered.get(key)
        if isinstance(value, str | int) and str(value).strip().isprintable() and str(value).strip():
            return str(value).strip()
    return f"{row.number:02}"
