"""GPQA-Diamond (Rein et al., 2023; CC-BY-4.0): graduate-level multiple choice in biology, chemistry and physics.

The authors ask never to post items in clear, so the user brings `gpqa_diamond.csv`. It lists the correct answer first:
the choices of each question are shuffled by a seed, which is part of the task's id.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar

import msgspec

from tierwise.verifiers import Choice
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.suites.data import FromFiles, Row
from tierwise.workloads.suites.row import Convention, SuiteRow
from tierwise.workloads.task import Task

ROW = SuiteRow(
    name="gpqa-diamond",
    title="GPQA-Diamond",
    tasks=198,
    size="198 questions with four choices: the subset on which experts agree",
    average=Convention(
        how="mean of 4 askings a question, each with its choices in another order",
        samples=4,
        temperature=0.5,
        source="openai/simple-evals, gpqa_eval.py: n_repeats 4; inspect-evals 0.26: 4 epochs",
    ),
    maximum=Convention(
        how="majority vote; no number of samples is usual",
        source="cons@64 of DeepSeek-R1's README is for AIME alone",
    ),
    runner="here",
    how="tierwise workload make gpqa-diamond --file gpqa_diamond.csv --out gpqa.jsonl",
    licence="CC-BY-4.0; the authors ask never to post items in clear",
    caveats=(
        "a guess is right in 25 %: 198 questions with four choices",
        "the order of the choices changes answers: compare runs of the same seed only",
        "plain-text copies are in public repositories, so items may be in the training data",
    ),
)

PROMPT = (
    "Answer this multiple choice question. Think step by step. The last line of your answer must be `Answer: X`, where "
    "X is one of the letters A, B, C and D.\n\n{question}\n\nA) {A}\nB) {B}\nC) {C}\nD) {D}"
)
LETTERS = ("A", "B", "C", "D")
CHOICES = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


class GpqaDiamond(FromFiles, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Questions with four choices, in an order that a seed gives."""

    ROW: ClassVar[SuiteRow] = ROW
    FILES: ClassVar[tuple[str, ...]] = ("gpqa_diamond.csv", "gpqa_diamond*.parquet", "*gpqa_diamond/*-of-*.parquet")

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    """Shuffles the choices. It is the last part of each task's id."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 32_768

    def task_of(self, row: Row) -> Task | None:
        question = row.column("Question")
        choices = [row.column(name) for name in CHOICES]
        if len(set(choices)) < len(choices) and all(choices):
            row.document.wrong("", "two choices are the same text, so no letter is the correct one")
        return None if row.document.errors else self._task(row.value, question, choices)

    def notes(self, tasks: int) -> tuple[str, ...]:
        if tasks == ROW.tasks:
            return ()
        return (f"{tasks} questions; GPQA-Diamond has {ROW.tasks}: another subset, or half a download",)

    def question_of(self, task: Task) -> str:
        return str(task.messages[0]["content"]).rpartition("\n\nA) ")[0]  # the choices have an order of their own

    def _task(self, row: dict[str, Any], question: str, choices: list[str]) -> Task:
        record = str(row.get("Record ID") or "").strip() or hashlib.sha256(question.encode()).hexdigest()[:16]
        shown = shuffled(choices, f"{self.seed}/{record}")
        domains = [str(row.get(name) or "").strip()[:80] for name in ("High-level domain", "Subdomain")]
        prompt = PROMPT.format(question=question, **dict(zip(LETTERS, shown, strict=True)))
        return Task(
            id=f"gpqa-diamond/{record[:40]}/{self.seed}",
            messages=[{"role": "user", "content": prompt}],
            check=CheckChoice(choice=Choice(options=LETTERS, equals=LETTERS[shown.index(choices[0])])),
            tags=["gpqa-diamond", *dict.fromkeys(filter(None, domains))],
            max_tokens=self.max_tokens,
        )


def shuffled(choices: list[str], seed: str) -> list[str]:
    """The choices in an order that depends on the seed and on their texts alone, in every version of Python."""
    return sorted(choices, key=lambda choice: hashlib.sha256(f"{seed}\0{choice}".encode()).digest())
